"""The destinations of a build besides its caches: none of them may be in a store.

Other builds read a store and trust its content.
"""

from __future__ import annotations

import os.path
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from bxcache.backends.location import find_location
from bxcache.buildx.command import find_path
from bxcache.buildx.extra_flags import find_short, find_values
from bxcache.buildx.option_text import parse_options
from bxcache.config.paths import find_cache_folder
from bxcache.config.wording import choose_words, name_option
from bxcache.errors import ConfigError, Problem
from bxcache.store.directory import find_store

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from bxcache.buildx.bake.definition import BakeTarget
    from bxcache.config.loading import Setup

FILES = ("--metadata-file", "--iidfile")
"""Arguments for docker that name a file that every build writes."""
_LAYOUT = ("index.json", "oci-layout", "ingest", "blobs", "blobs/sha256")
"""The paths of a layout in a folder; a write follows any links that already exist there."""
_HINT = "name a place outside of the store; what a store holds is read by other builds"


class Destination(Struct, frozen=True):
    """A path that a build writes, with `is_tree` a folder of any content, and what names it."""

    source: str
    path: Path
    is_tree: bool = False


def check_destinations(found: Iterable[Destination], stores: Iterable[Path] = ()) -> None:
    """Raise a `ConfigError` that lists each destination in a store: a known or a marked one."""
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
    there, tree = Path(os.path.realpath(each.path)), each.is_tree
    marked = map(find_store, (each.path, *inner))
    hit = (s for s in known if there.is_relative_to(s) or (tree and s.is_relative_to(there)))
    return next(filter(None, chain(marked, hit)), None)


def check_build(setup: Setup, extra: Sequence[str], directory: Path) -> None:
    """Raise a `ConfigError` if a build would write into a store, apart from its caches."""
    source, caches = str(setup.source_of(("build", "outputs"))), find_values(extra, "--cache-to")
    outputs = (*find_values(extra, "--output"), *find_short(extra, "o"))
    files = (
        Destination(name_flag(flag), directory / path)
        for flag in FILES
        for path in find_values(extra, flag)
    )
    found = (
        *_list_outputs(source, setup.config.build.outputs, directory),
        *files,
        *_list_outputs(name_flag("--output"), outputs, directory),
        *_list_caches(choose_words("--cache-to", name_option("extra")), caches, directory),
    )
    check_destinations(found, _list_stores(setup))


def name_flag(flag: str) -> str:
    """Name the option of a flag, which is the same behind `--`."""
    return name_option({"--output": "outputs"}.get(flag, flag[2:].replace("-", "_")))


def check_targets(targets: Mapping[str, BakeTarget], setup: Setup, directory: Path) -> None:
    """Raise a `ConfigError` if a target would write into a store, apart from its caches."""
    found: list[Destination] = []
    for name, target in targets.items():
        found += _list_outputs(f"target `{name}`", target.settings.outputs, directory)
        found += _list_caches(f"target `{name}`", target.cache_to, directory)
    check_destinations(found, _list_stores(setup))


def _list_stores(setup: Setup) -> list[Path]:
    """List the stores of a configuration: its own, and the folder of all default stores."""
    location = find_location(setup)
    return [find_cache_folder(), *([location.store.path] if location is not None else [])]


def _list_outputs(source: str, outputs: Iterable[str], directory: Path) -> Iterator[Destination]:
    """List the local paths that docker writes for `--output`."""
    for text in outputs:
        path, is_tree = find_path(text)
        if path:
            yield Destination(source, directory / path, is_tree)


def _list_caches(source: str, caches: Iterable[str], directory: Path) -> Iterator[Destination]:
    """List the local paths that docker writes for `--cache-to`."""
    for text in caches:
        with suppress(ValueError):
            path = dict(parse_options(text)).get("dest", "")
            if path:
                yield Destination(source, directory / path, is_tree=True)
