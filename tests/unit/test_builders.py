"""Tests of declared builders: valid settings, conflicts, and how an existing builder differs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from bxcache.buildx.builder_plan import BuilderPlan, NodePlan, list_differences
from bxcache.buildx.capabilities import Builder, Node, list_exports
from bxcache.buildx.driver import find_error, find_missing_builder
from bxcache.config.builders import _DRIVERS, BuilderSettings, find_conflicts
from bxcache.config.discovery import read_config_file
from bxcache.config.loading import check_file, load_setup
from bxcache.errors import ConfigError
from bxcache.pipeline.prepare import choose_builder

if TYPE_CHECKING:
    from pathlib import Path

CONTAINER, KUBERNETES, REMOTE = "docker-container", "kubernetes", "remote"
TCP = "tcp://buildkit.example.com:1234"

# Valid and invalid values by the factories of buildx's drivers, and by what docker parses.
ANYTHING = (("x",), ())
SWITCH = (("true", "false", "1", "F"), ("yes", "", "on"))
NUMBER = (("50000", "0"), ("5.5", "many", ""))
SIZE = (("4g", "512m", "1073741824", "1.5GiB"), ("4x", "", "big"))
PAIRS = (("disk=ssd", "a=b,c=d"), ("disk", "a=b,c", "a=b=c"))
FILE = (("/certs/ca.pem",), ("ca.pem", ""))
OPTIONS: dict[str, dict[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    CONTAINER: {
        **dict.fromkeys(("cpu-period", "cpu-quota", "cpu-shares"), NUMBER),
        **dict.fromkeys(("memory", "memory-swap"), SIZE),
        **dict.fromkeys(("cpuset-cpus", "cpuset-mems", "cgroup-parent", "image"), ANYTHING),
        **dict.fromkeys(("default-load", "provenance-add-gha", "allow-untrusted-image"), SWITCH),
        "network": ANYTHING,
        "restart-policy": (
            ("no", "always", "unless-stopped", "on-failure", "on-failure:3"),
            ("never", "on-failure:x", ""),
        ),
    },
    KUBERNETES: {
        **dict.fromkeys(("image", "namespace", "serviceaccount", "schedulername"), ANYTHING),
        **dict.fromkeys(("requests.cpu", "requests.memory"), ANYTHING),
        **dict.fromkeys(("limits.cpu", "limits.memory"), ANYTHING),
        **dict.fromkeys(("requests.ephemeral-storage", "limits.ephemeral-storage"), ANYTHING),
        **dict.fromkeys(("persistent-volume-claim.requests.storage", "tolerations"), ANYTHING),
        **dict.fromkeys(("qemu.image", "buildkit-root-volume-memory"), ANYTHING),
        **dict.fromkeys(("nodeselector", "annotations", "labels"), PAIRS),
        **dict.fromkeys(("rootless", "qemu.install", "default-load"), SWITCH),
        "replicas": (("4",), ("four", "-1", "")),
        "loadbalance": (("sticky", "random"), ("round-robin", "")),
        "timeout": (("90s", "1m30s", "500ms"), ("90", "soon", "")),
    },
    REMOTE: {
        **dict.fromkeys(("cacert", "cert", "key"), FILE),
        "servername": ANYTHING,
        "default-load": SWITCH,
    },
}
TLS = {"cacert": "/ca", "cert": "/c", "key": "/k"}


def declare(driver: str, **values: Any) -> BuilderSettings:  # noqa: ANN401  # as a file has them
    if driver == REMOTE and "nodes" not in values:
        values = {"endpoint": TCP, **values}
    return BuilderSettings.model_validate({"driver": driver, **values})


def conflicts(driver: str, **values: Any) -> list[str]:  # noqa: ANN401
    found = find_conflicts(declare(driver, **values))
    return [f"{'.'.join(map(str, place))}: {message}" for place, message in found]


def test_every_option_has_valid_and_invalid_values() -> None:
    """The tables of this file name each option of each driver."""
    assert {driver: {*own} for driver, own in OPTIONS.items()} == {
        driver: {*own} for driver, own in _DRIVERS.items()
    }


@pytest.mark.parametrize(
    ("driver", "name"), [(driver, name) for driver, own in OPTIONS.items() for name in own]
)
def test_an_option_takes_what_docker_takes(driver: str, name: str) -> None:
    """A valid value of an option is accepted, an invalid one named with its key."""
    valid, invalid = OPTIONS[driver][name]
    other = {each: value for each, value in TLS.items() if driver == REMOTE}
    for value in valid:
        assert conflicts(driver, driver_options={**other, name: value}) == [], value
    for value in invalid:
        (problem,) = conflicts(driver, driver_options={**other, name: value})
        assert problem.startswith(f"driver_options.{name}: must be "), value


@pytest.mark.parametrize(
    ("driver", "option", "message"),
    [
        (CONTAINER, "imge", "is not an option of the driver `docker-container`; did you mean"),
        (CONTAINER, "namespace", "is an option of `kubernetes`, not of `docker-container`"),
        (CONTAINER, "env.", "is not an option of the driver"),
        (KUBERNETES, "cacert", "is an option of `remote`, not of `kubernetes`"),
        (REMOTE, "image", "is an option of `docker-container` and `kubernetes`, not of `remote`"),
        (REMOTE, "env.A", "is an option of `docker-container` and `kubernetes`, not of `remote`"),
    ],
)
def test_an_option_of_another_driver_is_refused(driver: str, option: str, message: str) -> None:
    """An option that a driver does not have is refused, with the drivers that have it."""
    (problem,) = conflicts(driver, driver_options={option: "1"})
    assert problem.startswith(f"driver_options.{option}: {message}")


def test_variables_of_a_container_are_free() -> None:
    """Options `env.NAME` take any value, where the driver runs BuildKit itself."""
    for driver in (CONTAINER, KUBERNETES):
        assert conflicts(driver, driver_options={"env.HTTP_PROXY": "http://a,b=c"}) == []


@pytest.mark.parametrize(
    ("driver", "endpoint", "message"),
    [
        *((REMOTE, each, "") for each in (TCP, "unix:///run/b", "ssh://me@b", "kube-pod://b")),
        (REMOTE, "", "the driver `remote` needs one"),
        (REMOTE, "buildkit.example.com:1234", "must begin with one of"),
        (REMOTE, "http://buildkit.example.com", "must begin with one of"),
        (REMOTE, "tcp://[::1", "must begin with one of"),
        (KUBERNETES, "", ""),
        (KUBERNETES, "my-cluster", "the driver `kubernetes` takes none"),
        *((CONTAINER, each, "") for each in ("", "far", "ssh://me@b", "unix:///d", "tcp://b:1")),
        (CONTAINER, "kube-pod://b", "must be a docker context, or an address"),
    ],
)
def test_an_endpoint_fits_the_driver(driver: str, endpoint: str, message: str) -> None:
    """Each driver has its own kind of endpoints."""
    found = conflicts(driver, endpoint=endpoint)
    assert [each.startswith(f"endpoint: {message}") for each in found] == [True] * bool(message)


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        (("cacert",), []),
        (("cacert", "cert", "key"), []),
        (("servername",), ["cacert"]),
        (("cert",), ["cacert", "key"]),
        (("cacert", "key"), ["cert"]),
    ],
)
def test_tls_is_complete(given: tuple[str, ...], missing: list[str]) -> None:
    """What TLS lacks is named, as `driver/remote/factory.go` of buildx requires it."""
    found = conflicts(REMOTE, driver_options=dict.fromkeys(given, "/x"))
    assert found == [f"driver_options: TLS needs `{each}` too" for each in missing]


def test_nodes_do_not_share() -> None:
    """An endpoint and a platform belong to one node; with nodes, the builder has neither."""
    nodes = [
        {"endpoint": TCP, "platforms": ["linux/amd64"]},
        {"endpoint": TCP, "platforms": ["linux/arm64", "linux/amd64"]},
    ]
    assert conflicts(REMOTE, nodes=nodes, endpoint="tcp://a:1", platforms=["linux/s390x"]) == [
        "endpoint: each node has its own; move it to `[[builder.nodes]]`",
        "platforms: each node has its own; move it to `[[builder.nodes]]`",
        f"nodes.1.endpoint: `{TCP}` belongs to `nodes[0]` already; give each to one node",
        "nodes.1.platforms: `linux/amd64` belongs to `nodes[0]` already; give each to one node",
    ]
    assert conflicts(CONTAINER, nodes=[{}, {"endpoint": "far"}]) == []
    (same,) = conflicts(CONTAINER, nodes=[{}, {}])
    assert "the current docker context belongs to `nodes[0]` already" in same
    assert conflicts(KUBERNETES, nodes=[{}, {}]) == []


def test_a_node_has_the_builders_options() -> None:
    """Options of the builder hold for each node; the node's own take precedence."""
    shared, own = {"image": "a", "network": "host"}, {"image": "b"}
    builder = declare(CONTAINER, driver_options=shared, nodes=[{}, {"driver_options": own}])
    assert [each.driver_options for each in builder.list_nodes()] == [
        {"image": "a", "network": "host"},
        {"image": "b", "network": "host"},
    ]


def problems(text: str, folder: Path) -> list[str]:
    path = folder / "bxcache.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as raised:
        check_file(read_config_file(path))
    return [f"{each.line}: {each.key}: {each.message}" for each in raised.value.problems]


def test_all_problems_are_listed_with_their_lines(tmp_path: Path) -> None:
    """One error lists every conflict of a file, with the line of each."""
    text = """\
[builder]
driver = "remote"
driver_options = { image = "x" }
[[builder.nodes]]
endpoint = "http://a"
[[builder.nodes]]
platforms = ["linux/amd64"]
"""
    assert [each.partition(": ")[0] for each in problems(text, tmp_path)] == ["3", "5", "6"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('name = "default"', "1: builder.name: `default` is docker's own builder"),
        ('name = "1st"', "1: builder.name: a builder's name begins with a letter"),
        ('name = ""', "1: builder.name: a builder's name begins with a letter"),
        ('driver = "docker"', "1: builder.driver: the builder of the driver `docker` exists"),
        ('driver = "podman"', "1: builder.driver: must be `docker-container`, `kubernetes` or"),
        ('platforms = ["arm64"]', "1: builder.platforms[0]: `arm64` is not a platform"),
        ('platforms = ["linux/arm64,x"]', "1: builder.platforms[0]: `linux/arm64,x` is not a"),
        ("driver_options = { replicas = 2 }", "1: builder.driver_options.replicas: must be a text"),
        ('driver_options.env.A = "1"', "1: builder.driver_options.env: quote the whole name"),
        ('driver_opts = "x"', "1: builder.driver_opts: write `driver_options`"),
        ("nodes = [{ name = 'a' }]", "1: builder.nodes[0].name: is unknown"),
    ],
)
def test_a_wrong_value_is_explained(text: str, message: str, tmp_path: Path) -> None:
    """A value that no driver takes is refused with what is valid."""
    (problem,) = problems(f"builder.{text}", tmp_path)
    assert problem.startswith(message)


def test_sources_conflict(tmp_path: Path) -> None:
    """Values of a file and of variables have to fit together; the error names the variable."""
    (tmp_path / "bxcache.toml").write_text('[builder]\ndriver = "remote"\n')
    variables = {"BXCACHE_BUILDER_ENDPOINT": "tcp://a:1"}
    assert load_setup(tmp_path, variables).config.builder.endpoint == "tcp://a:1"
    with pytest.raises(ConfigError, match=r"BXCACHE_BUILDER_ENDPOINT: builder\.endpoint: must"):
        load_setup(tmp_path, {"BXCACHE_BUILDER_ENDPOINT": "a"})
    nodes = "endpoint=tcp://a:1,platforms=linux/amd64;endpoint=tcp://b:1,driver_options.cacert=/c"
    found = load_setup(tmp_path, {"BXCACHE_BUILDER_NODES": nodes}).config.builder.nodes
    assert [(each.endpoint, each.platforms, each.driver_options) for each in found] == [
        ("tcp://a:1", ("linux/amd64",), {}),
        ("tcp://b:1", (), {"cacert": "/c"}),
    ]


@pytest.mark.parametrize(
    ("file", "variables", "expected"),
    [
        ("", {}, ""),
        ("[builder]", {}, "bxcache"),
        ('[builder]\nname = "Fleet"', {}, "fleet"),
        ('[builder]\n[build]\nbuilder = "own"', {}, "own"),
        ("[builder]", {"BUILDX_BUILDER": "other"}, ""),
        ("[builder]", {"BXCACHE_BUILD_BUILDER": "own"}, "own"),
        ("", {"BXCACHE_BUILDER_NAME": "mine"}, "mine"),
    ],
)
def test_builds_use_the_declared_builder(
    file: str, variables: dict[str, str], expected: str, tmp_path: Path
) -> None:
    """Builds use the declared builder unless the caller or docker's variable names another."""
    (tmp_path / "bxcache.toml").write_text(file)
    setup = load_setup(tmp_path, variables)
    assert choose_builder(setup, variables).config.build.builder == expected


# As buildx 0.29 prints it: a stopped builder with a fixed platform, and one of two nodes.
ONE = """\
Name:          a
Driver:        docker-container
Last Activity: 2026-12-01 03:02:40 +0000 UTC

Nodes:
Name:                  a0
Endpoint:              unix:///run/docker.sock
Driver Options:        image="r.example.com/b:1" env.TOKEN="a \\"b\\",c" network="none"
Status:                inactive
BuildKit daemon flags: --allow-insecure-entitlement=network.host
Platforms:             linux/amd64*
"""
TWO = """\
Name:          r
Driver:        remote

Nodes:
Name:     r0
Endpoint: tcp://a:1
Status:   running
Platforms: linux/amd64*, linux/amd64/v2

Name:     r1
Endpoint: tcp://b:1
Error:    no answer
"""


def test_a_plan_is_read_from_docker() -> None:
    """Docker's description of a builder has its endpoints, options and fixed platforms."""
    assert BuilderPlan.parse(ONE) == BuilderPlan(
        *("a", CONTAINER),
        (
            NodePlan(
                "unix:///run/docker.sock",
                {"image": "r.example.com/b:1", "env.TOKEN": 'a "b",c', "network": "none"},
                ("linux/amd64",),
                "a0",
            ),
        ),
    )
    assert [(each.endpoint, each.platforms) for each in BuilderPlan.parse(TWO).nodes] == [
        ("tcp://a:1", ("linux/amd64",)),
        ("tcp://b:1", None),
    ]
    # Of a node that does not answer, docker does not say to which platforms it is fixed.
    nodes = [
        {"endpoint": "tcp://a:1", "platforms": AMD64},
        {"endpoint": "tcp://b:1", "platforms": ["linux/arm64"]},
    ]
    wanted = BuilderPlan.of(declare(REMOTE, name="r", nodes=nodes))
    assert list_differences(BuilderPlan.parse(TWO), wanted) == ()


SAME = {"image": "r.example.com/b:1", "env.TOKEN": 'a "b",c', "network": "none"}
AMD64 = ["linux/amd64"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, []),
        ({"endpoint": "unix:///run/docker.sock"}, []),
        ({"endpoint": "default"}, []),
        (
            {"endpoint": "far"},
            ["its endpoint is `unix:///run/docker.sock`, declared is `far`"],
        ),
        (
            {"platforms": ["linux/amd64", "linux/arm64/v8"]},
            [
                "its fixed platforms are `linux/amd64`, declared are `linux/amd64`, `linux/arm64`",
            ],
        ),
        (
            {"driver_options": {"image": "r.example.com/b:2", "env.TOKEN": "new"}},
            [
                "its driver option `env.TOKEN` is `***`, declared is `***`",
                "its driver option `image` is `r.example.com/b:1`, declared is `r.example.com/b:2`",
                "its driver option `network` is `none`, declared is not set",
            ],
        ),
        ({"nodes": [{}, {"endpoint": "far"}]}, ["it has 1 node, declared are 2"]),
    ],
)
def test_differences_are_named(values: dict[str, Any], expected: list[str]) -> None:
    """What differs is named with both values; those of secrets are masked."""
    asked = {"driver_options": SAME, "platforms": [] if "nodes" in values else AMD64, **values}
    wanted = BuilderPlan.of(declare(CONTAINER, **asked))
    assert [*list_differences(BuilderPlan.parse(ONE), wanted)] == expected


def test_another_driver_is_the_only_difference() -> None:
    """A builder of another driver shares nothing with the declared one."""
    wanted = BuilderPlan.of(declare(REMOTE))
    assert list_differences(BuilderPlan.parse(ONE), wanted) == (
        "its driver is `docker-container`, declared is `remote`",
    )


@pytest.mark.parametrize("endpoint", ["tcp://a", "tcp://a:2375", "tcp://a/"])
def test_docker_completes_an_address(endpoint: str) -> None:
    """An address without a port gets docker's, which is then no difference."""
    plans = [
        BuilderPlan.of(declare(CONTAINER, endpoint=each)) for each in (endpoint, "tcp://a:2375")
    ]
    assert list_differences(*plans) == ()


CLASSIC = Builder("default", "docker", (Node("default", "running"),))
SNAPSHOTTER = "org.mobyproject.buildkit.worker.snapshotter"
MODERN = Builder("default", "docker", (Node("default", "running", labels=(SNAPSHOTTER,)),))


@pytest.mark.parametrize(
    ("builder", "expected"),
    [
        (CLASSIC, ("inline",)),
        (MODERN, ("local", "registry", "inline", "gha")),
        (
            Builder("b", CONTAINER, (Node("b0", "running", "v0.25.0"), Node("b1", "stopped"))),
            ("local", "registry", "inline", "gha", "s3", "azblob"),
        ),
        (Builder("b", CONTAINER, (Node("b0", "running", "v0.11.6"),)), ("inline",)),
        (Builder("b", CONTAINER, (Node("b0", "stopped"),)), None),
        (Builder("b", REMOTE, error="no answer"), None),
    ],
)
def test_a_builder_exports_what_its_buildkit_has(
    builder: Builder, expected: tuple[str, ...] | None
) -> None:
    """The kinds of caches depend on driver, image store and version; asleep, they are unknown."""
    assert list_exports(builder, "28.5.2") == expected


def test_the_reason_of_docker_is_found() -> None:
    """The reason is docker's own error, not the last line that sums up a removal."""
    removal = (
        'failed to remove x: no builder "x" found\nERROR: failed to remove one or more builders\n'
    )
    assert find_error(removal) == 'no builder "x" found'
    assert find_missing_builder(removal) == "x"
    assert find_missing_builder("ERROR: no endpoint") is None
    assert find_error("WARNING: a\nERROR: b\n") == "b"
