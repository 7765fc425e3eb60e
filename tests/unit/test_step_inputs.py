"""What decides about a step, read from BuildKit's own description of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bxcache.buildx.metadata import Definition, parse_metadata
from bxcache.buildx.step_inputs import Described, FileRead, StepInputs, read_inputs

STREAMS = Path(__file__).parents[1] / "streams"
CONTEXT = Described({"source": {"identifier": "local://context"}})
IMAGE = Described({"source": {"identifier": "docker-image://docker.io/library/x:1@sha256:1"}})


def read(op: dict[str, Any], *inputs: str, **known: Described) -> StepInputs:
    """Read the inputs of an operation on top of an image, from the context and a stage."""
    every = {"image": IMAGE, "context": CONTEXT, "own": Described(op, inputs), **known}
    return read_inputs("own", every, "image")


def copy(**more: Any) -> dict[str, Any]:  # noqa: ANN401  # parts of a JSON document
    """Return a copy as BuildKit describes it."""
    done = {"src": "/src/a", "dest": "/b/", "followSymlink": True, "allowWildcard": True, **more}
    return {"file": {"actions": [{"input": 0, "secondaryInput": 1, "Action": {"copy": done}}]}}


def run(**meta: Any) -> dict[str, Any]:  # noqa: ANN401  # parts of a JSON document
    """Return a command as BuildKit describes it."""
    said = {"args": ["/bin/sh", "-c", "make"], "env": ["A=1", "B=x=y"], "cwd": "/app", **meta}
    mounts: list[dict[str, Any]] = [{"dest": "/"}]
    return {"exec": {"meta": said, "mounts": mounts}}


def test_a_copy_reads_the_context() -> None:
    found = read(copy(), "image", "context")
    assert found.reads == (FileRead("/src/a", "context", follows=True),)
    assert read(copy(src="/*.py"), "image", "context").reads[0].is_pattern
    assert not read(copy(src=r"/\*.py"), "image", "context").reads[0].is_pattern
    limited = read(copy(excludePatterns=["*.md"]), "image", "context").reads[0]
    assert limited.excluded == ("*.md",)


def test_a_copy_from_a_stage_needs_it() -> None:
    found = read(copy(), "image", "stage", stage=Described(run()))
    assert (found.reads, found.needs) == ((), ("stage",))


@pytest.mark.parametrize(
    ("changed", "is_same"),
    [
        ({}, True),
        # Where the file comes from does not count, only its name and content.
        ({"src": "/other/a"}, True),
        ({"src": "/src/b"}, False),
        ({"dest": "/c/"}, False),
        ({"mode": 493}, False),
    ],
)
def test_the_definition_of_a_copy(changed: dict[str, Any], *, is_same: bool) -> None:
    one, other = read(copy(), "image", "context"), read(copy(**changed), "image", "context")
    assert (one.definition == other.definition) == is_same


def test_the_content_of_a_heredoc_counts() -> None:
    def heredoc(data: str) -> StepInputs:
        made = {"file": {"actions": [{"input": -1, "Action": {"mkfile": {"data": data}}}]}}
        return read(copy(), "image", "text", text=Described(made))

    assert heredoc("a").definition != heredoc("b").definition
    assert heredoc("a").needs == ()


def test_a_command_has_variables_and_settings() -> None:
    found = read(run(user="me"), "image")
    assert found.environment == {"A": "1", "B": "x=y"}
    assert found.settings == {
        "user": "me",
        "folder": "/app",
        "shell": "/bin/sh -c",
        "network": "default",
        "security": "sandbox",
    }


@pytest.mark.parametrize(
    ("changed", "is_same"),
    [
        ({"proxyEnv": {"http_proxy": "p"}}, True),
        ({"env": ["A=2"]}, True),
        ({"user": "other"}, True),
        ({"args": ["/bin/sh", "-c", "test"]}, False),
        ({"ulimit": [{"Name": "nofile"}]}, False),
    ],
)
def test_the_definition_of_a_command(changed: dict[str, Any], *, is_same: bool) -> None:
    """Variables and settings are compared by themselves, and a proxy not at all."""
    assert (read(run(), "image").definition == read(run(**changed), "image").definition) == is_same


def test_mounts_read_files_or_bypass_the_key() -> None:
    op = run()
    op["exec"]["mounts"] += [
        {"input": 1, "dest": "/m", "selector": "/src", "output": -1},
        {"input": -1, "dest": "/s", "mountType": 1},
        {"input": -1, "dest": "/t", "mountType": 2},
        {"input": -1, "dest": "/c", "mountType": 3},
    ]
    found = read(op, "image", "context")
    assert found.reads == (FileRead("/src", "context"),)
    assert found.bypassing == ("secret", "ssh")


def test_a_linked_copy_has_the_inputs_of_its_upper_half() -> None:
    merge = {"merge": {"inputs": [{}, {"input": 1}]}}
    upper = {"file": {"actions": [{"input": -1, "secondaryInput": 0, **copied(copy())}]}}
    found = read(merge, "image", "upper", upper=Described(upper, ("context",)))
    assert found.reads == (FileRead("/src/a", "context", follows=True),)


def copied(op: dict[str, Any]) -> dict[str, Any]:
    """Return what a copy does."""
    (action,) = op["file"]["actions"]
    return {"Action": action["Action"]}


@pytest.mark.parametrize(
    "text", [{}, {"exec": 1}, {"exec": {"mounts": 1}}, {"file": {"actions": 1}}]
)
def test_a_malformed_operation_is_no_error(text: dict[str, Any]) -> None:
    assert read(text).reads == ()


def read_definition(name: str) -> Definition:
    """Read the description of a recorded build."""
    return parse_metadata((STREAMS / f"{name}.meta.json").read_text()).definitions[0]


def test_every_step_of_a_recorded_build_is_described() -> None:
    """What each step reads, as written in streams/Dockerfile."""
    definition = read_definition("cold")
    reads = {
        each.lines[0]: read_inputs(each.vertex, definition.described, each.below).reads
        for each in definition.operations
        if each.lines
    }
    text = (STREAMS / "Dockerfile").read_text().splitlines()
    copies = {at for at, line in enumerate(text, 1) if line.startswith(("COPY", "ADD"))}
    local = {at for at in copies if "--from" not in text[at - 1]}
    assert {at for at, paths in reads.items() if paths} == local
