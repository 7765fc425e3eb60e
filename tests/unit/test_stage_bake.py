"""Tests that the bake file for stages is equivalent to the build's own flags.

https://docs.docker.com/build/bake/reference/
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bxcache.buildx.bake.stages import (
    Repetition,
    StageExport,
    explain_unbaked,
    needs_new_bake,
    render_network,
    render_stage_push,
    render_stages,
)
from bxcache.buildx.option_text import parse_options
from bxcache.config.models import BuildSettings

CONTEXT, FILE = Path("/p/app"), Path("/p/app/Dockerfile")
ENVIRONMENT = {"GIVEN": "from here", "EMPTY": "", "UNRELATED": "kept to itself"}
STAGES = [StageExport("r/app:s.build", "build", FILE), StageExport("r/app:s.last", None, FILE)]


def targets(
    settings: dict[str, Any],
    extra: tuple[str, ...] = (),
    **more: Any,  # noqa: ANN401
) -> list[dict[str, Any]]:
    """Return the targets of the bake file for two stages."""
    given: dict[str, Any] = {"cache_from": (), "insecure": False, **more}
    repetition = Repetition(
        settings=BuildSettings.model_validate(settings),
        context=CONTEXT,
        extra=extra,
        environment=ENVIRONMENT,
        **given,
    )
    document = json.loads(json.dumps(render_stages(repetition, STAGES)))
    assert document.keys() == {"target"}
    return list(document["target"].values())


ALWAYS = {
    "context": "/p/app",
    "dockerfile": "/p/app/Dockerfile",
    "cache-to": ["type=inline"],
    "attest": ["type=provenance,disabled=true", "type=sbom,disabled=true"],
    "output": ["type=image,push=true,store=false"],
}


def test_a_stage_is_a_target_that_pushes_it_with_its_cache() -> None:
    """Each stage is a target that pushes it with its cache; the last stage needs no name."""
    assert targets({}) == [
        {**ALWAYS, "tags": ["r/app:s.build"], "target": "build"},
        {**ALWAYS, "tags": ["r/app:s.last"]},
    ]


ROWS: list[tuple[str, dict[str, Any], tuple[str, ...], dict[str, Any]]] = [
    ("args", {"build_args": {"A": "1", "B": ""}}, (), {"args": {"A": "1", "B": ""}}),
    ("contexts", {"build_contexts": {"x": "./x"}}, (), {"contexts": {"x": "./x"}}),
    ("secrets", {"secrets": ["id=a,src=a.txt"]}, (), {"secret": ["id=a,src=a.txt"]}),
    ("ssh", {"ssh": ["default"]}, (), {"ssh": ["default"]}),
    ("platforms", {"platforms": ["linux/amd64"]}, (), {"platforms": ["linux/amd64"]}),
    ("network", {"network": "host"}, (), {"network": "host"}),
    ("pull", {"pull": True}, (), {"pull": True}),
    # The image's destination and names belong only to the build.
    ("tags", {"tags": ["app:1"], "push": True, "load": True}, (), {}),
    ("outputs", {"outputs": ["type=docker,dest=/x"]}, (), {}),
    ("labels", {"labels": {"a": "b"}}, ("--label", "c=d"), {}),
    # The caller's own flags, as two words and as one.
    ("arg", {}, ("--build-arg", "A=1"), {"args": {"A": "1"}}),
    ("arg=", {}, ("--build-arg=A=1=2",), {"args": {"A": "1=2"}}),
    ("arg again", {"build_args": {"A": "1"}}, ("--build-arg", "A=2"), {"args": {"A": "2"}}),
    ("context", {}, ("--build-context", "x=./x"), {"contexts": {"x": "./x"}}),
    ("host", {}, ("--add-host", "h:10.0.0.1"), {"extra-hosts": {"h": "10.0.0.1"}}),
    ("host=", {}, ("--add-host", "h=10.0.0.1"), {"extra-hosts": {"h": "10.0.0.1"}}),
    ("host6", {}, ("--add-host", "h:::1"), {"extra-hosts": {"h": "::1"}}),
    ("host6=", {}, ("--add-host=h=::1",), {"extra-hosts": {"h": "::1"}}),
    ("secret", {"secrets": ["id=a"]}, ("--secret=id=b",), {"secret": ["id=a", "id=b"]}),
    ("ssh too", {}, ("--ssh", "default"), {"ssh": ["default"]}),
    ("ulimit", {}, ("--ulimit", "nofile=9"), {"ulimits": ["nofile=9"]}),
    ("shm", {}, ("--shm-size", "1g"), {"shm-size": "1g"}),
    ("allow", {}, ("--allow", "network.host"), {"entitlements": ["network.host"]}),
    ("debug", {}, ("-D", "--debug", "--shm-size=1g"), {"shm-size": "1g"}),
    # This would add a second inline cache.
    ("inline", {"build_args": {"BUILDKIT_INLINE_CACHE": "1"}}, (), {}),
    ("provenance", {}, ("--provenance=false", "--sbom", "true"), {}),
    # A value that looks like a flag is a value.
    ("odd value", {}, ("--build-arg", "--secret"), {}),
]


@pytest.mark.parametrize(
    ("settings", "extra", "expected"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS]
)
def test_each_setting_and_each_flag_has_its_attribute(
    settings: dict[str, Any], extra: tuple[str, ...], expected: dict[str, Any]
) -> None:
    """Every stage gets the attributes of all settings and flags."""
    for found, stage in zip(targets(settings, extra), STAGES, strict=True):
        own = {"tags": [stage.ref], **({"target": stage.target} if stage.target else {})}
        assert found == {**ALWAYS, **own, **expected}


@pytest.mark.parametrize(
    ("name", "expected"),
    [("GIVEN", {"GIVEN": "from here"}), ("EMPTY", {"EMPTY": ""}), ("ABSENT", None)],
)
def test_an_argument_without_a_value_is_read_from_the_environment(
    name: str, expected: dict[str, str] | None
) -> None:
    """A build argument without a value is read from the environment, and omitted if unset."""
    for found in (
        *targets({"build_args": {name: None}}),
        *targets({}, ("--build-arg", name)),
        *targets({"build_args": {name: "other"}}, (f"--build-arg={name}",)),
    ):
        assert found.get("args") == expected


def test_nothing_else_of_the_environment_is_written() -> None:
    """Of the environment, the file contains only values that build arguments name."""
    extra = ("--build-arg", "GIVEN", "--secret", "id=token,env=UNRELATED")
    text = json.dumps(targets({"secrets": ["id=other,env=UNRELATED"]}, extra))
    assert "from here" in text
    assert "kept to itself" not in text


def test_stages_import_the_caches_of_the_build() -> None:
    """Stages import only the caches of the build."""
    for found in targets({}, cache_from=("type=registry,ref=r/app:s",)):
        assert found["cache-from"] == ["type=registry,ref=r/app:s"]


def test_an_insecure_registry_is_marked() -> None:
    """The export to an insecure registry is marked as insecure."""
    for found in targets({}, insecure=True):
        (output,) = found["output"]
        assert dict(parse_options(output)) == {
            "type": "image",
            "push": "true",
            "store": "false",
            "registry.insecure": "true",
        }


def unescape(text: str) -> str:
    """Evaluate a template without expressions as HCL does.

    https://github.com/hashicorp/hcl/blob/v2.24.0/hclsyntax/spec.md#template-literals
    """
    for sign in "$%":
        at = 0
        while (at := text.find(f"{sign}{{", at)) >= 0:
            assert text[max(at - 1, 0) : at] == sign, f"an expression in {text!r}"
            text = text[: at - 1] + text[at:]
            at += 1
    return text


TEXTS = st.text(st.sampled_from(["$", "%", "{", "}", "a", "~", '"', "\\", "\n", "é"]), max_size=8)


@given(st.dictionaries(TEXTS.filter(bool), TEXTS, max_size=3), TEXTS.filter(bool))
def test_no_text_is_an_expression_in_bake(arguments: dict[str, str], secret: str) -> None:
    """HCL reads all names, values and list items unchanged."""
    for found in targets({"build_args": arguments, "secrets": [secret], "network": secret}):
        read = {unescape(name): unescape(value) for name, value in found.get("args", {}).items()}
        assert read == arguments
        assert [unescape(each) for each in found["secret"]] == [secret]
        assert unescape(found["network"]) == secret


@pytest.mark.parametrize(
    ("settings", "extra", "expected"),
    [
        ({}, (), True),
        ({"file": "docker/Dockerfile"}, (), True),
        ({"file": "https://example.com/Dockerfile"}, (), False),
        ({}, ("--build-arg", "A=1", "--label=a=b", "-D", "--debug"), True),
        ({}, ("--secret", "id=a", "--ssh", "default", "--ulimit", "nofile=9"), True),
        ({}, ("--allow", "network.host", "--shm-size=1g", "--add-host", "h:1.2.3.4"), True),
        ({}, ("--build-context", "a=b"), True),
        # A target of another bake is not available.
        ({"build_contexts": {"base": "target:base"}}, (), False),
        ({"build_contexts": {"base": "docker-image://busybox"}}, (), True),
        # Bake has no attribute for this flag.
        ({}, ("--cgroup-parent", "x"), False),
        ({}, ("--cgroup-parent=x",), False),
        ({}, ("--annotation", "a=b", "--provenance=false", "--sbom", "false"), True),
        ({}, ("--no-such-flag",), False),
        # A flag after a flag without a value is still checked.
        ({}, ("-D", "--cgroup-parent", "x"), False),
        # A value is not a flag, whatever it looks like.
        ({}, ("--build-arg", "--cgroup-parent"), True),
        # Docker would read it as a second context.
        ({}, ("word",), False),
    ],
)
def test_a_flag_that_bake_does_not_support_prevents_it(
    settings: dict[str, Any],
    extra: tuple[str, ...],
    expected: bool,  # noqa: FBT001
) -> None:
    """A flag that bake does not support prevents the bake, since it could change the stage."""
    assert (not explain_unbaked(BuildSettings.model_validate(settings), extra)) is expected


@pytest.mark.parametrize(
    ("settings", "extra", "expected"),
    [
        ({}, (), False),
        ({"network": "none"}, (), True),
        ({"network": ""}, (), False),
        ({}, ("--allow", "network.host"), True),
        ({}, ("--allow=network.host",), True),
        ({}, ("--build-arg", "--allow"), False),
        ({}, ("--ulimit", "nofile=9"), False),
    ],
)
def test_settings_that_need_a_new_bake_are_known(
    settings: dict[str, Any],
    extra: tuple[str, ...],
    expected: bool,  # noqa: FBT001
) -> None:
    """Network and entitlements are read from a bake file since buildx 0.17."""
    assert needs_new_bake(BuildSettings.model_validate(settings), extra) is expected


def test_the_network_of_stages_is_a_compose_file() -> None:
    """An old bake reads the network of each stage from a Compose file, below the definition."""
    services = {f"stage-{n}": {"build": {"context": ".", "network": "a$$b"}} for n in range(2)}
    assert render_network("a$b", 2) == {"services": services}
    words = render_stage_push(BuildSettings(), Path("/m"), ["stage-0"], (), [Path("/n.yml")])
    assert words[-5:] == ("--file", "/n.yml", "--file", "-", "stage-0")


def test_the_command_has_the_builder_and_the_entitlements() -> None:
    """The command has the builder, the entitlements, and the stages in order."""
    words = render_stage_push(
        BuildSettings(builder="mine"),
        Path("/t/meta.json"),
        ["stage-0", "stage-1"],
        ("--allow", "network.host", "--build-arg", "A=1", "--allow=security.insecure"),
    )
    assert words == (
        *("buildx", "bake", "--progress", "rawjson", "--metadata-file", "/t/meta.json"),
        *("--builder", "mine", "--allow", "network.host", "--allow", "security.insecure"),
        *("--file", "-", "stage-0", "stage-1"),
    )
