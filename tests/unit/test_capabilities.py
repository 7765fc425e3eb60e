"""Tests of reading and checking the capabilities of docker."""

from __future__ import annotations

import json

import pytest
from msgspec.structs import replace

from bxcache.buildx.capabilities import (
    Builder,
    Capabilities,
    Node,
    check_buildx,
    check_reachable,
    explain_inline_only,
    parse_builder,
    parse_engine,
    parse_version,
)
from bxcache.errors import EngineError

# As printed by buildx 0.29.1.
DOCKER_DRIVER = """\
Name:   default
Driver: docker

Nodes:
Name:             default
Endpoint:         default
Status:           running
BuildKit version: v0.0.0+unknown
Platforms:        linux/amd64, linux/amd64/v2, linux/386
Labels:
 org.mobyproject.buildkit.worker.executor:             containerd
 org.mobyproject.buildkit.worker.snapshotter:          overlayfs
GC Policy rule#0:
 All:            false
 Filters:        type==source.local,type==exec.cachemount,type==source.git.checkout
"""
TWO_NODES = """\
Name:          multi
Driver:        docker-container
Last Activity: 2026-11-24 03:18:23 +0000 UTC

Nodes:
Name:                  multi0
Endpoint:              unix:///run/docker.sock
Status:                running
BuildKit daemon flags: --allow-insecure-entitlement=network.host
BuildKit version:      v0.25.1
Platforms:             linux/arm64*, linux/amd64

Name:     multi1
Endpoint: ssh://other
Status:   inactive
"""
DOWN = """\
Name:          default
Driver:
Last Activity: 2026-11-24 03:15:07 +0000 UTC
Error:         Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?
"""
GOOD = Capabilities("28.5.2", "28.5.2", "linux/amd64", parse_builder(DOCKER_DRIVER))
CLASSIC = Builder("default", "docker", (Node("default", "running", platforms=("linux/amd64",)),))


def test_a_builder_is_read() -> None:
    """The driver, the platforms and the label of the containerd image store are read."""
    builder = parse_builder(DOCKER_DRIVER)
    assert (builder.name, builder.driver, builder.error) == ("default", "docker", "")
    assert builder.platform == "linux/amd64"
    assert not builder.is_classic
    assert builder.nodes[0].version == "v0.0.0+unknown"


def test_every_node_is_read() -> None:
    """All nodes of a builder are read."""
    builder = parse_builder(TWO_NODES)
    assert [node.name for node in builder.nodes] == ["multi0", "multi1"]
    assert [node.status for node in builder.nodes] == ["running", "inactive"]
    assert builder.platform == "linux/arm64"
    assert not builder.is_classic


def test_a_builder_out_of_reach_has_its_error() -> None:
    """The error is read, although buildx exits with 0."""
    builder = parse_builder(DOWN)
    assert builder.error.startswith("Cannot connect to the Docker daemon at unix:///x.")
    assert (builder.driver, builder.nodes) == ("", ())


@pytest.mark.parametrize("text", ["", "\n\n", "garbage", "Name\n:::\n Labels"])
def test_any_text_gives_a_builder(text: str) -> None:
    """Fields missing in the text are empty."""
    assert parse_builder(text).platform is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("github.com/docker/buildx 0.29.1+ds1 0.29.1+ds1-4", (0, 29, 1)),
        ("github.com/docker/buildx v0.13.1 788433953af10f2a698f5c07611dddce2e08c7a0", (0, 13, 1)),
        ("28.5.2+dfsg4", (28, 5, 2)),
        ("v0.0.0+unknown", None),
        ("dev", None),
    ],
)
def test_versions_are_read(text: str, expected: tuple[int, ...] | None) -> None:
    """A version with numbers is parsed for comparison, and any other is unknown."""
    assert parse_version(text) == expected


def test_the_engine_is_read() -> None:
    """The engine's version and platform are read, and so is its absence."""
    text = json.dumps(
        {"Client": {"Version": "28"}, "Server": {"Version": "27", "Os": "linux", "Arch": "arm64"}}
    )
    assert parse_engine(text) == ("28", "27", "linux/arm64")
    assert parse_engine('{"Client": {"Version": "28"}, "Server": null}') == ("28", None, None)
    assert parse_engine("not json") == ("", None, None)


@pytest.mark.parametrize(
    ("found", "message", "command"),
    [
        pytest.param(
            replace(GOOD, engine=None, builder=parse_builder(DOWN)),
            "does not answer: Cannot connect",
            "systemctl start docker",
            id="engine down",
        ),
        pytest.param(
            replace(GOOD, builder=Builder("far", "remote", (Node("far0", "inactive"),))),
            "the builder `far` does not answer",
            "docker buildx inspect --bootstrap far",
            id="builder down",
        ),
    ],
)
def test_an_unreachable_builder_is_refused_with_a_remedy(
    found: Capabilities, message: str, command: str
) -> None:
    """The error contains the problem and the command that fixes it."""
    with pytest.raises(EngineError) as caught:
        check_reachable(found)
    assert message in caught.value.message
    assert command in caught.value.hint


OLD = Builder("old", "docker-container", (Node("old0", "running", "v0.11.6"),))


@pytest.mark.parametrize(
    ("found", "why"),
    [
        pytest.param(replace(GOOD, builder=CLASSIC), "docker's classic image store", id="classic"),
        pytest.param(
            replace(GOOD, engine="20.10.24"), "docker engine 20.10.24 is too old", id="engine"
        ),
        pytest.param(
            replace(GOOD, builder=OLD), "BuildKit 0.11.6 of the builder `old`", id="buildkit"
        ),
    ],
)
def test_a_builder_without_cache_export_still_builds(found: Capabilities, why: str) -> None:
    """A builder that cannot save a cache causes only a warning, with the command that fixes it."""
    check_reachable(found)
    seen = explain_inline_only(found, "bxcache")
    assert seen is not None
    assert why in seen
    assert seen.count("`bxcache.bring_up_builder()`") == 1


@pytest.mark.parametrize(
    ("driver", "advice"),
    [
        ("docker-container", '`bxcache.remove_builder("old")`, then `bxcache.bring_up_builder()`'),
        ("kubernetes", '`bxcache.remove_builder("old")`, then `bxcache.bring_up_builder()`'),
        ("remote", "update `buildkitd` on its nodes"),
    ],
)
def test_a_builder_that_is_up_keeps_its_old_buildkit(driver: str, advice: str) -> None:
    """Bringing up the builder that is up already would not help, so it has to be created anew."""
    seen = explain_inline_only(replace(GOOD, builder=replace(OLD, driver=driver)), "old")
    assert seen is not None
    assert seen.endswith(advice)


def test_a_fully_capable_builder_causes_no_warning() -> None:
    """A containerd image store or an unknown version causes no warning."""
    assert not explain_inline_only(GOOD, "bxcache")
    assert not explain_inline_only(replace(GOOD, engine="dev"), "bxcache")


@pytest.mark.parametrize(
    ("driver", "status", "expected"),
    [
        ("docker-container", "inactive", True),
        ("docker-container", "stopped", True),
        ("docker-container", "running", False),
        ("kubernetes", "inactive", True),
        ("remote", "inactive", False),
        ("docker", "running", False),
    ],
)
def test_a_sleeping_builder_is_accepted(
    driver: str,
    status: str,
    expected: bool,  # noqa: FBT001
) -> None:
    """A builder that a build would start is not refused."""
    builder = Builder("b", driver, (Node("b0", status),))
    assert builder.sleeps is expected
    if expected:
        check_reachable(replace(GOOD, builder=builder))


@pytest.mark.parametrize(
    "text", ["github.com/docker/buildx v0.12.1 abc", "github.com/docker/buildx 0.8.2"]
)
def test_an_old_buildx_is_refused(text: str) -> None:
    """A buildx before 0.13, without `rawjson`, is refused."""
    with pytest.raises(EngineError, match=r"is too old; bxcache needs 0\.13 or later"):
        check_buildx(text)


@pytest.mark.parametrize(
    "text", ["github.com/docker/buildx v0.13.0 x", "github.com/docker/buildx dev"]
)
def test_a_new_or_unknown_buildx_is_accepted(text: str) -> None:
    """A build from source without a version is accepted."""
    check_buildx(text)
