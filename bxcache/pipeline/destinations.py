"""The destinations of a build besides its caches: none of them may be in a store.

Other builds read a store and trust its content.
"""

from __future__ import annotations

import os.path
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bxcache.backends.location import find_location
from bxcache.buildx.command import find_path
from bxcache.buildx.extra_flags import find_short, find_values
from bxcache.buildx.option_text import parse_options
from bxcache.config.loading import find_cache_folder
from bxcache.errors import ConfigError, Problem
from bxcache.store.surroundings import find_store

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from bxcache.buildx.bake.definition import BakeTarget
    from bxcache.config.loading import Setup

_FILES = ("--metadata-file", "--iidfile")
_LAYOUT = ("index.json", "oci-layout", "ingest", "blobs", "blobs/sha256")
"""The paths of a layout in a folder; a write follows any links that already exist there."""
_HINT = "name a place outside of the store; what a store holds is read by other builds"


@dataclass(frozen=True, slots=True)
class Destination:
    """A path that a build writes.

    Attributes:
        source: the flag, file or target that names it.
        path: the path.
        is_tree: whether it is a directory with any content, not one file.
    """

    source: str
    path: Path
    is_tree: bool = False


def check_destinations(found: Iterable[Destination], stores: Iterable[Path] = ()) -> None:
    """Refuse destinations inside a store.

    Args:
        found: the destinations.
        stores: the known stores; others are recognized by their marker file.

    Raises:
        ConfigError: a destination is in a store; lists each with its source.
    """
    known = [Path(os.path.realpath(each)) for each in stores]
    problems = [
        Problem(each.source, "", f"`{each.path}` would be written into the store `{store}`")
        for each in found
        if (store := _find_hit(each, known)) is not None
    ]
    if problems:
        raise ConfigError(dict.fromkeys(problems), hint=_HINT)


def _find_hit(each: Destination, known: Sequence[Path]) -> Path | None:
    inner = (each.path / name for name in _LAYOUT) if each.is_tree else ()
    for path in (each.path, *inner):
        marked = find_store(path)
        if marked is not None:
            return marked
    there = Path(os.path.realpath(each.path))
    for store in known:
        if there.is_relative_to(store) or (each.is_tree and store.is_relative_to(there)):
            return store
    return None


def list_stores(setup: Setup) -> list[Path]:
    """List the stores of a configuration: its own, and the folder of all default stores."""
    location = find_location(setup)
    return [find_cache_folder(), *([location.store.path] if location is not None else [])]


def check_build(setup: Setup, extra: Sequence[str], directory: Path) -> None:
    """Refuse a build that would write into a store, apart from its caches.

    Args:
        setup: the configuration.
        extra: arguments for docker.
        directory: the working directory.

    Raises:
        ConfigError: its settings or the caller's flags name a path in a store.
    """
    check_destinations(_list_all(setup, extra, directory), list_stores(setup))


def check_targets(targets: Mapping[str, BakeTarget], setup: Setup, directory: Path) -> None:
    """Refuse a bake whose targets would write into a store, apart from their caches.

    Raises:
        ConfigError: a target names a path in a store.
    """
    found = [
        each
        for name, target in targets.items()
        for each in (
            *list_outputs(f"target `{name}`", target.settings.outputs, directory),
            *list_caches(f"target `{name}`", target.cache_to, directory),
        )
    ]
    check_destinations(found, list_stores(setup))


def _list_all(setup: Setup, extra: Sequence[str], directory: Path) -> Iterator[Destination]:
    source = str(setup.source_of(("build", "outputs")))
    yield from list_outputs(source, setup.config.build.outputs, directory)
    for flag in _FILES:
        yield from (Destination(flag, directory / path) for path in find_values(extra, flag))
    outputs = (*find_values(extra, "--output"), *find_short(extra, "o"))
    yield from list_outputs("--output", outputs, directory)
    yield from list_caches("--cache-to", find_values(extra, "--cache-to"), directory)


def list_outputs(source: str, outputs: Iterable[str], directory: Path) -> Iterator[Destination]:
    """List the local paths that docker writes for `--output`."""
    for text in outputs:
        path, is_tree = find_path(text)
        if path:
            yield Destination(source, directory / path, is_tree)


def list_caches(source: str, caches: Iterable[str], directory: Path) -> Iterator[Destination]:
    """List the local paths that docker writes for `--cache-to`."""
    for text in caches:
        try:
            path = dict(parse_options(text)).get("dest", "")
        except ValueError:
            continue
        if path:
            yield Destination(source, directory / path, is_tree=True)
