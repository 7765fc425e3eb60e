"""What a builder is made of, as it is declared or as docker reports it, and how the two differ."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import TYPE_CHECKING

from msgspec import Struct, field
from msgspec.structs import replace

from bxcache.buildx.capabilities import split_sections
from bxcache.redaction import MASK, is_secret_name, mask_url

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bxcache.config.builders import BuilderSettings

_OPTION = re.compile(r'(?P<name>[^\s=]+)=(?P<value>"(?:[^"\\]|\\.)*")')
# The variants that containerd leaves out, or adds:
# https://github.com/containerd/platforms/blob/v1.0.0/database.go
_PLATFORMS = {
    "linux/arm64/v8": "linux/arm64",
    "linux/amd64/v1": "linux/amd64",
    "linux/arm": "linux/arm/v7",
    "linux/aarch64": "linux/arm64",
    "linux/x86_64": "linux/amd64",
}
# https://github.com/docker/cli/blob/v28.5.1/opts/hosts.go
_TCP = re.compile(r"(?P<host>tcp://(?:\[[^]]*\]|[^:/]+))/*")
_TCP_PORT = 2375
_CONTAINER, _KUBERNETES = "docker-container", "kubernetes"
_ANYWHERE = ("", "default")
# https://github.com/docker/buildx/blob/v0.29.1/driver/docker-container/driver.go
_VOLUME = "buildx_buildkit_{}_state"
_DEFAULT_FLAG = "--allow-insecure-entitlement=network.host"
"""The flag that buildx itself gives a daemon:
https://github.com/docker/buildx/blob/v0.29.1/builder/builder.go"""
_FILE = "File#"


class NodePlan(Struct, frozen=True):
    """A node of a builder.

    Attributes:
        endpoint: where it is; empty for docker's choice.
        options: the options of its driver.
        platforms: those that it is fixed to; None if docker does not say.
        name: docker's name of it; empty if it is only declared.
        extras: the flags and the files of its daemon, which cannot be declared.
    """

    endpoint: str = ""
    options: dict[str, str] = field(default_factory=dict)
    platforms: tuple[str, ...] | None = ()
    name: str = ""
    extras: tuple[str, ...] = ()


class BuilderPlan(Struct, frozen=True):
    """What `docker buildx create` needs to know of a builder."""

    name: str
    driver: str
    nodes: tuple[NodePlan, ...]

    @classmethod
    def of(cls, settings: BuilderSettings) -> BuilderPlan:
        """Return the plan of a declared builder."""
        nodes = (
            NodePlan(
                _normalize(each.endpoint),
                dict(each.driver_options),
                tuple(_PLATFORMS.get(platform, platform) for platform in each.platforms),
            )
            for each in settings.list_nodes()
        )
        return cls(settings.name, settings.driver, tuple(nodes))

    @classmethod
    def parse(cls, text: str) -> BuilderPlan:
        """Parse the output of `docker buildx inspect`."""
        (head, _), *nodes = split_sections(text)
        # Kubernetes has a section for each pod of a node.
        found = {fields.get("Name", ""): _read_node(fields) for fields, _ in nodes}
        return cls(head.get("Name", ""), head.get("Driver", ""), tuple(found.values()))

    def list_secrets(self) -> list[str]:
        """List the values of options whose names are those of secrets."""
        options = (pair for node in self.nodes for pair in node.options.items())
        return [value for name, value in options if value and is_secret_name(name)]


def _read_node(fields: dict[str, str]) -> NodePlan:
    platforms = map(str.strip, fields.get("Platforms", "").split(","))
    fixed = tuple(each.removesuffix("*") for each in platforms if each.endswith("*"))
    options = _OPTION.finditer(fields.get("Driver Options", ""))
    flags = fields.get("BuildKit daemon flags", "").split()
    files = [each.removeprefix(_FILE) for each in fields if each.startswith(_FILE)]
    return NodePlan(
        _normalize(fields.get("Endpoint", "")),
        {each["name"]: _unquote(each["value"]) for each in options},
        None if "Error" in fields else fixed,
        fields.get("Name", ""),
        (*(each for each in flags if each != _DEFAULT_FLAG), *sorted(files)),
    )


def _unquote(text: str) -> str:
    """Read a text as Go quotes it; one that JSON quotes otherwise keeps its escapes."""
    with suppress(ValueError):
        return str(json.loads(text))
    return text[1:-1]


def _normalize(endpoint: str) -> str:
    found = _TCP.fullmatch(endpoint)
    return f"{found['host']}:{_TCP_PORT}" if found else endpoint.rstrip("/")


def list_differences(found: BuilderPlan, wanted: BuilderPlan) -> tuple[str, ...]:
    """List how an existing builder differs from the declared one, each in one text.

    The values of options whose names are those of secrets are masked.
    """
    return tuple(_compare(found, wanted))


def keep_endpoints(found: BuilderPlan, wanted: BuilderPlan) -> BuilderPlan:
    """Return the plan with the nodes that may be anywhere left on the engines where they are.

    Without an endpoint, docker would take its current context, which can be another one now.
    """
    if not found.driver == wanted.driver == _CONTAINER:
        return wanted
    taken = {each.endpoint for each in wanted.nodes}
    kept = [
        replace(node, endpoint=own.endpoint)
        if node.endpoint in _ANYWHERE and own.endpoint not in taken
        else node
        for own, node in zip(found.nodes, wanted.nodes, strict=False)
    ]
    return replace(wanted, nodes=(*kept, *wanted.nodes[len(kept) :]))


def find_loss(found: BuilderPlan, wanted: BuilderPlan | None = None) -> str:
    """Find what an existing builder loses when it becomes the wanted one; empty if nothing.

    Without a wanted one, it is created again as it was.
    """
    return "; ".join(_list_losses(found, wanted or found))


def _list_losses(found: BuilderPlan, wanted: BuilderPlan) -> Iterator[str]:
    if found.driver == _KUBERNETES:
        yield "what the earlier builder had built"
    elif found.driver == _CONTAINER:
        same = wanted.nodes if wanted.driver == found.driver else ()
        # A node's name is made of its number.
        for number, node in enumerate(found.nodes):
            if number >= len(same) or same[number].endpoint != node.endpoint:
                yield (
                    f"what the earlier node `{node.name}` had built, which stays in the volume "
                    f"`{_VOLUME.format(node.name)}` at `{mask_url(node.endpoint)}`"
                )
    extras = {each: None for node in found.nodes for each in node.extras}
    if extras:
        listed = ", ".join(f"`{mask_url(each)}`" for each in extras)
        yield f"settings of BuildKit that `[builder]` does not have: {listed}"


def _compare(found: BuilderPlan, wanted: BuilderPlan) -> Iterator[str]:
    if found.driver != wanted.driver:
        yield f"its driver is `{found.driver}`, declared is `{wanted.driver}`"
        return
    if len(found.nodes) != len(wanted.nodes):
        yield f"it has {_count(len(found.nodes))}, declared {_are(len(wanted.nodes))}"
        return
    several = len(wanted.nodes) > 1
    for number, (own, asked) in enumerate(zip(found.nodes, wanted.nodes, strict=True)):
        head = f"node {number + 1}: " if several else ""
        yield from (f"{head}{each}" for each in _compare_nodes(own, asked))


def _compare_nodes(found: NodePlan, wanted: NodePlan) -> Iterator[str]:
    # Docker replaces the context `default` by its address.
    if wanted.endpoint not in (*_ANYWHERE, found.endpoint):
        own, asked = mask_url(found.endpoint), mask_url(wanted.endpoint)
        yield f"its endpoint is `{own}`, declared is `{asked}`"
    for name in sorted(found.options.keys() | wanted.options.keys()):
        own, asked = (_show(name, each.options) for each in (found, wanted))
        if found.options.get(name) != wanted.options.get(name):
            yield f"its driver option `{name}` is {own}, declared is {asked}"
    if found.platforms is not None and {*found.platforms} != {*(wanted.platforms or ())}:
        own, asked = (_join(each.platforms or ()) for each in (found, wanted))
        yield f"its fixed platforms are {own}, declared are {asked}"


def _show(name: str, options: dict[str, str]) -> str:
    if name not in options:
        return "not set"
    return f"`{MASK if is_secret_name(name) else mask_url(options[name])}`"


def _join(platforms: tuple[str, ...]) -> str:
    return ", ".join(f"`{each}`" for each in platforms) or "none"


def _count(nodes: int) -> str:
    return "1 node" if nodes == 1 else f"{nodes} nodes"


def _are(nodes: int) -> str:
    return "is 1" if nodes == 1 else f"are {nodes}"
