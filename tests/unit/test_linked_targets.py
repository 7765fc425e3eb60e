"""Tests that a build on the result of another build is shown with its own Dockerfile."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from bxcache.buildx.bake.stream import BakeReader
from bxcache.buildx.metadata import parse_bake_metadata, parse_metadata
from bxcache.buildx.stream.raw import join_documents
from bxcache.buildx.stream.trace import Trace
from bxcache.insight.bases import find_base_lines
from bxcache.insight.history import Stage, view_stages
from bxcache.insight.record import Record
from bxcache.insight.record_parts import RecordedScope
from bxcache.insight.record_steps import Account, list_recorded_stages, list_recorded_steps
from bxcache.redaction import Redactor

STREAMS = Path(__file__).parents[1] / "streams" / "bake"
TEXT = (STREAMS / "two-dockerfiles.meta.json").read_text()
BUILDKIT = "https://mobyproject.org/buildkit@v1#metadata"
BASE, APP = (
    "FROM busybox AS base\nRUN base\n",
    "FROM base AS src\nFROM busybox\nCOPY --from=src / /\n",
)


def view(target: str) -> dict[str, Stage]:
    """Return the stages of a target of the recorded bake."""
    reader = BakeReader(("base", "app"))
    for line in join_documents((STREAMS / "two-dockerfiles.ndjson").read_text().splitlines()):
        list(reader.feed(line))
    metadata = parse_bake_metadata(TEXT, [target])[target]
    trace = reader.finish(target, metadata.operations)
    account = Account(trace, trace, metadata)
    record = Record(
        version=1,
        scope=RecordedScope(name=target, image=target, platforms=("linux/amd64",)),
        started=0.0,
        seconds=1.0,
        steps=list_recorded_steps(account, Redactor()),
        stages=list_recorded_stages(account, Redactor()),
    )
    return {stage.name: stage for stage in view_stages(record)}


def list_texts(stage: Stage) -> list[str]:
    return [step.text for step in stage.steps]


def test_each_target_has_the_stages_of_its_own_dockerfile() -> None:
    """Each target has the stages that streams/README.md lists, and no steps of the other target."""
    app, base = view("app"), view("base")
    assert list_texts(app["compile"]) == ["FROM base", "RUN echo compile-lk > /c"]
    copied = ["FROM base", "COPY --from=compile /c /c", "RUN echo app-lk > /a"]
    assert list_texts(app["stage-1"]) == copied
    assert (list(app), list(base)) == (["compile", "stage-1"], ["tools", "final"])
    assert list_texts(base["final"]) == ["RUN echo final-lk > /f"]


def test_a_base_that_another_build_made_has_all_its_layers() -> None:
    """A base has the layers of its image and instructions, which BuildKit lists on the last one."""
    provenance = json.loads(TEXT)["app"]["buildx.build.provenance"]
    [chain] = provenance["metadata"][BUILDKIT]["layers"]["step2:0"]
    base, *others = view("app")["stage-1"].steps
    assert [layer.digest for layer in base.layers] == [layer["digest"] for layer in chain]
    assert len(chain) == 3
    assert [len(step.layers) for step in others] == [1, 1]


def make_provenance(*texts: str, places: list[list[tuple[int, int]]]) -> dict[str, Any]:
    """Make provenance of steps, the second on the first, with their files and lines."""
    located = {
        f"step{at}": {
            "locations": [
                {"sourceIndex": file, "ranges": [{"start": {"line": line}}]} for file, line in each
            ]
        }
        for at, each in enumerate(places)
    }
    infos = [{"data": base64.b64encode(text.encode()).decode()} for text in texts]
    listed: list[dict[str, Any]] = [{"id": f"step{at}"} for at in range(len(places))]
    op = {"exec": {"mounts": [{"dest": "/", "input": 0}]}}
    listed[1:2] = [{**each, "inputs": ["step0:0"], "op": {"Op": op}} for each in listed[1:2]]
    return {
        "buildx.build.provenance": {
            "buildConfig": {
                "digestMapping": {f"v{at}": f"step{at}" for at in range(len(places))},
                "llbDefinition": listed,
            },
            "invocation": {"parameters": {"args": {"context:base": "input:0-base"}}},
            "metadata": {BUILDKIT: {"source": {"infos": infos, "locations": located}}},
        }
    }


def test_a_stage_without_steps_is_known_by_the_name_of_its_context() -> None:
    """A stage `FROM base AS src`, which is only copied from, has the linked context as its base."""
    document = make_provenance(BASE, APP, places=[[(0, 1)], [(0, 2)], [(1, 3)]])
    [definition] = parse_metadata(json.dumps(document)).definitions
    assert definition.dockerfile == APP
    assert [each.is_linked for each in definition.operations] == [True, True, False]
    assert find_base_lines(definition, {}, None) == {"v1": (1,)}


def test_a_dockerfile_that_is_listed_twice_counts_once() -> None:
    """A Dockerfile that BuildKit lists twice counts as one, so its lines are not linked."""
    document = make_provenance(BASE, BASE, places=[[(0, 1)], [(0, 2)], [(1, 2)]])
    [definition] = parse_metadata(json.dumps(document)).definitions
    assert [each.lines for each in definition.operations] == [(1,), (2,), (2,)]
    assert not any(each.is_linked for each in definition.operations)


def test_a_missing_source_file_has_no_text() -> None:
    """A source number without a file is not an error: its Dockerfile is empty."""
    document = make_provenance(BASE, places=[[(7, 1)]])
    [definition] = parse_metadata(json.dumps(document)).definitions
    assert definition.dockerfile == ""
    account = Account(Trace(), Trace(), parse_metadata(json.dumps(document)))
    assert list_recorded_steps(account, Redactor()) == ()
