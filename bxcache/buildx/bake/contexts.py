"""A separate path for a folder that several targets of a bake read.

buildx sends such a folder only once, so the targets share vertices. If two of them import caches of
their own, one misses its first step after the shared ones:
https://github.com/docker/buildx/issues/3878. buildx compares only paths, and a folder has many,
because the parent of the root is the root.
https://github.com/docker/buildx/blob/v0.29.1/build/build.go
"""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from bxcache.config.paths import is_remote

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bxcache.config.models import BuildSettings

_CONTEXT = "context"


def give_own_paths(targets: Mapping[str, BuildSettings], directory: Path) -> Iterator[str]:
    """Yield values of bake's `--set` that give each target its own path for a shared folder.

    Args:
        targets: each target's settings.
        directory: the working directory.
    """
    readers: dict[tuple[str, Path], list[str]] = defaultdict(list)
    for name, settings in targets.items():
        for key, folder in _list_folders(settings, directory):
            readers[key, folder].append(name)
    top = os.pardir + os.sep
    steps = max(len(path.parts) for path in (directory.absolute(), directory.resolve()))
    for (key, folder), names in readers.items():
        for number, name in enumerate(names[1:]):
            yield f"{name}.{key}={top * (steps + number)}{folder.relative_to(folder.anchor)}"


def _list_folders(settings: BuildSettings, directory: Path) -> Iterator[tuple[str, Path]]:
    """Yield the folders that a target reads, with their keys.

    Named contexts count only in the working directory: to name a folder allows bake to read it.
    """
    named = {f"{_CONTEXT}s.{name}": path for name, path in settings.build_contexts.items()}
    for key, text in {_CONTEXT: settings.context, **named}.items():
        folder = Path(os.path.abspath(directory / text))  # noqa: PTH100  # handles `..` as docker does
        if is_remote(text) or not folder.is_dir():
            continue
        if key == _CONTEXT or folder.resolve().is_relative_to(directory.resolve()):
            yield key, folder
