"""All builders of a docker client, and which of them a repository's builds use."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from bxcache.buildx import builders
from bxcache.buildx.capabilities import (
    Builder,
    Node,
    list_exports,
    name_up,
    parse_builder,
    parse_engine,
)
from bxcache.buildx.driver import Docker, find_error
from bxcache.buildx.instances import CONTEXT_BUILDER, read_instances
from bxcache.config.json_documents import make_document, pick
from bxcache.pipeline.prepare import BUILDX_BUILDER, choose_builder
from bxcache.place.trust import explain_refused, open_setup
from bxcache.redaction import mask_url

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bxcache.config.loading import Setup
    from bxcache.place.trust import Trust

_SECONDS_TO_LIST = 4
_DOCKER = "docker"
_VERSION = ("version", "--format", "{{json .}}")


class ListedBuilder(Struct, frozen=True):
    """A builder in a list.

    Attributes:
        builder: the builder, as docker describes it.
        exports: the kinds of caches that it can export; None if that is unknown.
        is_declared: whether `[builder]` declares it.
        is_used: whether builds in this repository use it.
    """

    builder: Builder
    exports: tuple[str, ...] | None
    is_declared: bool
    is_used: bool

    def to_dict(self) -> dict[str, Any]:
        """Return its part of the document that `builder ls --json` prints."""
        found = self.builder
        return {
            **pick(found, "name", "driver"),
            "declared": self.is_declared,
            "used": self.is_used,
            "exports": self.exports,
            "error": found.error or None,
            "nodes": [*map(describe_node, found.nodes)],
        }


class BuilderList(Struct, frozen=True):
    """All builders of a docker client.

    Attributes:
        builders: each builder, sorted by name.
        notes: what is missing or unknown.
    """

    builders: tuple[ListedBuilder, ...]
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the document that `builder ls --json` prints."""
        listed = [each.to_dict() for each in self.builders]
        return make_document({"builders": listed, "notes": self.notes})


def describe_node(node: Node) -> dict[str, Any]:
    """Return the part of a document that describes a node."""
    return {
        **pick(node, "name", "platforms"),
        "endpoint": mask_url(node.endpoint),
        "status": node.status or None,
        "version": node.version or None,
        "error": node.error or None,
    }


def open_own(
    config_file: str | os.PathLike[str] | None, directory: str | os.PathLike[str]
) -> tuple[Setup, Trust]:
    """Open the configuration that counts in a directory, or raise ConfigError."""
    file = None if config_file is None else Path(config_file)
    return open_setup(Path(directory).absolute(), os.environ, file=file)


def note_setup(setup: Setup, trust: Trust) -> Iterator[str]:
    """Note what is wrong with the configuration as far as the builder is concerned."""
    yield from setup.notes
    refused = [each for each in trust.refused if each.key.startswith("builder")]
    if refused:
        yield explain_refused(refused)


def list_builders(
    *,
    config_file: str | os.PathLike[str] | None = None,
    directory: str | os.PathLike[str] = "",
) -> BuilderList:
    """List all builders with their nodes, and which of them builds in this repository use.

    One that does not answer within a few seconds is listed with what is known without it.

    Args:
        config_file: as for `bring_up_builder`.
        directory: as for `bring_up_builder`.

    Raises:
        ConfigError: the configuration is wrong.
        EngineError: docker is missing, or cannot list its builders.
        PlaceError: git does not answer what bxcache has to know.
    """
    own, trust = open_own(config_file, directory)
    docker = Docker.find()
    used = choose_builder(own, os.environ).config.build.builder or os.environ.get(BUILDX_BUILDER)
    declared = own.config.builder.name if own.declares_builder else None
    with ThreadPoolExecutor(1) as pool:
        listing = pool.submit(_list_all, docker)
        asked = (_VERSION, *(() if used else (("buildx", "inspect"),)))
        version, *current = docker.ask_together(asked, _SECONDS_TO_LIST)
        found = listing.result()
    used = used or parse_builder(current[0].stdout).name
    _, engine, _ = parse_engine(version.stdout)
    listed = tuple(
        ListedBuilder(each, list_exports(each, engine), each.name == declared, each.name == used)
        for each in found
    )
    names = {each.name for each in found}
    return BuilderList(listed, (*note_setup(own, trust), *_note_missing(used, declared, names)))


def _note_missing(used: str, declared: str | None, names: set[str]) -> Iterator[str]:
    create = f"`{name_up()}` creates it"
    if not used:
        yield "docker does not say in time which builder builds use"
    elif used not in names:
        yield f"builds use `{used}`, which does not exist{f'; {create}' * (used == declared)}"
    if declared and declared not in (used, *names):
        yield f"`[builder]` declares `{declared}`, which does not exist; {create}"


def _list_all(docker: Docker) -> tuple[Builder, ...]:
    """List all builders; where one does not answer, each one alone."""
    try:
        found = builders.list_builders(docker, _SECONDS_TO_LIST)
    except builders.LateError:
        known = read_instances(os.environ)
        known.setdefault(CONTEXT_BUILDER, Builder(CONTEXT_BUILDER, _DOCKER))
        return _ask_each(docker, known)
    # Only one builder's own answer says what is wrong with it.
    broken = {each.name: each for each in found if _lacks_reason(each)}
    asked = {each.name: each for each in _ask_each(docker, broken)} if broken else {}
    return tuple(asked.get(each.name, each) for each in found)


def _lacks_reason(builder: Builder) -> bool:
    states = [each.status or each.error for each in builder.nodes]
    return not states or any(each in ("", "error") for each in states)


def _ask_each(docker: Docker, known: dict[str, Builder]) -> tuple[Builder, ...]:
    questions = [("buildx", "inspect", name) for name in sorted(known)]
    answers = docker.ask_together(questions, _SECONDS_TO_LIST)
    return tuple(
        parse_builder(answer.stdout)
        if answer.status == 0
        else replace(known[name], error=find_error(answer.stderr))
        for name, answer in zip(sorted(known), answers, strict=True)
    )
