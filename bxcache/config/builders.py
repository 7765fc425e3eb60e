"""The builder that a repository declares, and the rules of buildx's drivers for it.

What a driver takes is in its factory: `driver/docker-container/factory.go`,
`driver/kubernetes/factory.go` and `driver/remote/factory.go` of https://github.com/docker/buildx;
which endpoint it takes is in `Create` of `builder/builder.go` there.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, ClassVar, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field

from bxcache.config.declaration import Declaration
from bxcache.config.trust import Rule
from bxcache.redaction import mask_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from bxcache.config.sources import Position

DEFAULT_BUILDER: Final = "bxcache"
_CHOOSES = Rule(lambda _name, _value, _checkout: "it chooses the builder")
_DOCKER = "docker"
_RESERVED = "default"
# https://github.com/docker/buildx/blob/v0.29.1/store/util.go
_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9._-]*")
_PLATFORM = re.compile(r"[a-z0-9]+/[a-z0-9_]+(/[a-z0-9.]+)?")
# https://github.com/docker/buildx/blob/v0.29.1/driver/remote/util/endpoint.go
_REMOTE_SCHEMES = ("docker-container", "kube-pod", "npipe", "ssh", "tcp", "unix")
# https://github.com/docker/cli/blob/v28.5.1/opts/hosts.go
_DOCKER_SCHEMES = ("fd", "http", "https", "npipe", "ssh", "tcp", "unix")
_TLS = ("cacert", "cert", "key")


def check_builder_name(name: str) -> None:
    """Raise ValueError with the reason if docker takes no builder of this name."""
    if not _NAME.fullmatch(name):
        raise ValueError("a builder's name begins with a letter and has letters, digits and `.-_`")


def _check_name(name: str) -> str:
    check_builder_name(name)
    if name.lower() == _RESERVED:
        raise ValueError(f"`{_RESERVED}` is docker's own builder; choose another name")
    return name.lower()


def _check_driver(driver: object) -> object:
    if driver == _DOCKER:
        raise ValueError(
            "the builder of the driver `docker` exists in every docker context and cannot be "
            "created; name it in `build.builder`, or choose another driver"
        )
    return driver


def _check_platform(platform: str) -> str:
    if not _PLATFORM.fullmatch(platform):
        raise ValueError(f"`{platform}` is not a platform; write it like `linux/arm64`")
    return platform


def _check_option(value: object) -> object:
    if isinstance(value, dict):
        raise ValueError(  # noqa: TRY004  # pydantic collects this one
            'quote the whole name of an option with a dot, as `"env.NAME" = "value"`'
        )
    return value


Driver = Literal["docker-container", "kubernetes", "remote"]
_Platforms = Annotated[
    tuple[Annotated[str, AfterValidator(_check_platform)], ...], Field(strict=False)
]
_Options = dict[str, Annotated[str, BeforeValidator(_check_option)]]


class NodeSettings(Declaration):
    """One of several nodes of the builder."""

    endpoint: Annotated[str, _CHOOSES] = ""
    """Where the node is, as `builder.endpoint`."""

    driver_options: Annotated[_Options, _CHOOSES] = Field(default_factory=dict)
    """Options of the driver for this node; they take precedence over the builder's."""

    platforms: Annotated[_Platforms, _CHOOSES] = ()
    """The platforms to build on this node. Default: those that it reports."""


class BuilderSettings(Declaration):
    """The builder of this repository's builds, which bxcache can create."""

    misplaced: ClassVar[dict[str, str]] = {
        "driver_opts": "write `driver_options`",
        "platform": "write `platforms`, a list",
        "node": "write `[[builder.nodes]]`",
        "use": "builds use the declared builder; remove this key",
    }

    name: Annotated[str, AfterValidator(_check_name), _CHOOSES] = DEFAULT_BUILDER
    """The builder's name. Builds use it unless they name another one."""

    driver: Annotated[Driver, BeforeValidator(_check_driver), _CHOOSES] = "docker-container"
    """Where BuildKit runs: in a container of a docker engine, in Kubernetes, or remote as a daemon
    that somebody else runs."""

    endpoint: Annotated[str, _CHOOSES] = ""
    """Where the builder is. For `remote`, the daemon: `tcp://…`, `unix://…` or `ssh://…`. For
    `docker-container`, a docker context or address. Default: the current docker context; for
    `kubernetes` always the current context of `KUBECONFIG`."""

    driver_options: Annotated[_Options, _CHOOSES] = Field(default_factory=dict)
    """Options of the driver, such as `image` and `network`, for all nodes."""

    platforms: Annotated[_Platforms, _CHOOSES] = ()
    """The platforms to build on the builder. Default: those that it reports."""

    nodes: Annotated[tuple[NodeSettings, ...], Field(strict=False), _CHOOSES] = ()
    """Several nodes, such as one for each platform; each has its own endpoint and platforms."""

    def list_nodes(self) -> tuple[NodeSettings, ...]:
        """List all nodes, each with all of its options."""
        own = NodeSettings(endpoint=self.endpoint, platforms=self.platforms)
        return tuple(
            each.model_copy(update={"driver_options": self.driver_options | each.driver_options})
            for each in self.nodes or (own,)
        )


def find_conflicts(builder: BuilderSettings) -> Iterator[tuple[Position, str]]:
    """Find the settings that do not fit together: the position in `[builder]`, and what is wrong.

    Each value alone is valid.
    """
    if builder.nodes:
        for key in ("endpoint", "platforms"):
            if getattr(builder, key):
                yield (key,), "each node has its own; move it to `[[builder.nodes]]`"
    yield from _check_options(builder.driver, builder.driver_options, ())
    for number, each in enumerate(builder.nodes):
        yield from _check_options(builder.driver, each.driver_options, ("nodes", number))
    endpoints: dict[str, str] = {}
    platforms: dict[str, str] = {}
    for number, node in enumerate(builder.list_nodes()):
        place: Position = ("nodes", number) if builder.nodes else ()
        yield from _check_endpoint(builder.driver, node.endpoint, place)
        if builder.driver == "remote":
            yield from _check_tls(node.driver_options, place)
        if builder.driver != "kubernetes":
            yield from _check_unique([node.endpoint], endpoints, (*place, "endpoint"))
        yield from _check_unique(node.platforms, platforms, (*place, "platforms"))


def _check_unique(
    values: Iterable[str], seen: dict[str, str], place: Position
) -> Iterator[tuple[Position, str]]:
    # Buildx refuses an endpoint, and gives a platform to the last node, without a word.
    for each in values:
        if each in seen:
            text = f"`{mask_url(each)}`" if each else "the current docker context"
            yield place, f"{text} belongs to `{seen[each]}` already; give each to one node"
        # The first node is the only one where the place has no number.
        seen.setdefault(each, f"nodes[{place[1]}]" if len(place) > 1 else "the builder")


def _check_endpoint(
    driver: Driver, endpoint: str, place: Position
) -> Iterator[tuple[Position, str]]:
    at, scheme = (*place, "endpoint"), _find_scheme(endpoint)
    if driver == "kubernetes":
        if endpoint:
            yield (
                at,
                (
                    "the driver `kubernetes` takes none; it uses the current context of "
                    "`KUBECONFIG`, and the `namespace` of `driver_options`"
                ),
            )
    elif driver == "remote":
        if not endpoint:
            yield at, "the driver `remote` needs one, such as `tcp://buildkit.example.com:1234`"
        elif scheme not in _REMOTE_SCHEMES:
            known = ", ".join(f"`{each}://`" for each in _REMOTE_SCHEMES)
            yield at, f"must begin with one of {known}"
    elif "://" in endpoint and scheme not in _DOCKER_SCHEMES:
        yield at, "must be a docker context, or an address such as `ssh://me@example.com`"


def _find_scheme(endpoint: str) -> str:
    try:
        return urlsplit(endpoint).scheme if "://" in endpoint else ""
    except ValueError:
        return ""


def _check_tls(options: Mapping[str, str], place: Position) -> Iterator[tuple[Position, str]]:
    given = {*options} & {*_TLS, "servername"}
    needed = {"cacert"} if given else set[str]()
    needed |= {"cert", "key"} if given & {"cert", "key"} else set()
    for each in _TLS:
        if each in needed - given:
            yield (*place, "driver_options"), f"TLS needs `{each}` too"


def _check_options(
    driver: Driver, options: Mapping[str, str], place: Position
) -> Iterator[tuple[Position, str]]:
    for name, value in options.items():
        at = (*place, "driver_options", name)
        check = _find_check(driver, name)
        if check is None:
            yield at, _explain_option(driver, name)
        elif why := check(value):
            yield at, why


def _find_check(driver: str, name: str) -> Callable[[str], str] | None:
    if driver != "remote" and name.startswith("env."):
        return _accept if name != "env." else None
    return _DRIVERS[driver].get(name)


def _explain_option(driver: Driver, name: str) -> str:
    others = [each for each in _DRIVERS if each != driver and _find_check(each, name)]
    if others:
        return f"is an option of `{'` and `'.join(others)}`, not of `{driver}`"
    close = get_close_matches(name, _DRIVERS[driver], 1)
    similar = f"; did you mean `{close[0]}`?" if close else ""
    return f"is not an option of the driver `{driver}`{similar}"


def _accept(_value: str) -> str:
    return ""


def _expect(pattern: str, what: str) -> Callable[[str], str]:
    """A check of an option's value, which returns what is wrong; the value may be a secret."""
    return lambda value: "" if re.fullmatch(pattern, value) else f"must be {what}"


# What docker and BuildKit parse, by the factories: Go's truth values, numbers and durations, and
# https://github.com/docker/cli/blob/v28.5.1/opts/opts.go for sizes.
_SWITCH = _expect(r"1|t|T|true|TRUE|True|0|f|F|false|FALSE|False", "`true` or `false`")
_NUMBER = _expect(r"-?\d+", "a whole number")
_SIZE = _expect(r"-1|\d+(\.\d+)?\s*([kmgtpKMGTP]?([iI]?[bB])?)", "a size such as `4g`")
_TIME = _expect(r"0|(\d+(\.\d+)?(ns|us|µs|ms|s|m|h))+", "a time such as `90s`")
_PAIRS = _expect(r'"?[^,=]+=[^,=]*(,[^,=]+=[^,=]*)*"?', "pairs such as `disk=ssd,zone=a`")
_FILE = _expect(r"/.*", "an absolute path")
_COMMON = {"default-load": _SWITCH}
_DRIVERS: Final[dict[str, dict[str, Callable[[str], str]]]] = {
    "docker-container": {
        **dict.fromkeys(("cpu-period", "cpu-quota", "cpu-shares"), _NUMBER),
        **dict.fromkeys(("cpuset-cpus", "cpuset-mems", "cgroup-parent", "image"), _accept),
        **dict.fromkeys(("memory", "memory-swap"), _SIZE),
        **dict.fromkeys(("provenance-add-gha", "allow-untrusted-image"), _SWITCH),
        "network": _accept,
        "restart-policy": _expect(
            r"no|always|unless-stopped|on-failure(:\d+)?",
            "`no`, `always`, `unless-stopped` or `on-failure`",
        ),
        **_COMMON,
    },
    "kubernetes": {
        **dict.fromkeys(("image", "namespace", "qemu.image", "schedulername"), _accept),
        **dict.fromkeys(("requests.cpu", "requests.memory", "limits.cpu"), _accept),
        **dict.fromkeys(("limits.memory", "limits.ephemeral-storage"), _accept),
        **dict.fromkeys(("requests.ephemeral-storage", "serviceaccount"), _accept),
        **dict.fromkeys(("persistent-volume-claim.requests.storage", "tolerations"), _accept),
        **dict.fromkeys(("nodeselector", "annotations", "labels"), _PAIRS),
        **dict.fromkeys(("rootless", "qemu.install"), _SWITCH),
        "buildkit-root-volume-memory": _accept,
        "loadbalance": _expect(r"sticky|random", "`sticky` or `random`"),
        "replicas": _expect(r"\d+", "a whole number"),
        "timeout": _TIME,
        **_COMMON,
    },
    "remote": {**dict.fromkeys(_TLS, _FILE), "servername": _accept, **_COMMON},
}
"""The options of each driver, with a check of their values."""
