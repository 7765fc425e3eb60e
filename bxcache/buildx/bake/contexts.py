"""A path of its own for a folder that several targets of a bake read.

buildx sends such a folder once for all of them, so that they have the very same vertices. Of two
targets that then import caches of their own, one misses its first step after those that they share:
https://github.com/docker/buildx/issues/3878. buildx goes by the path alone, and a folder has many:
above the root there is the root again.
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


def tell_apart(targets: Mapping[str, BuildSettings], directory: Path) -> Iterator[str]:
    """What bake's `--set` has to say so that no two targets read a folder by the same path.

    Args:
        targets: what each target builds.
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
    """The folders that a target reads, by what they are to it.

    Of the others only those in the working directory: naming one allows bake to read it.
    """
    named = {f"{_CONTEXT}s.{name}": path for name, path in settings.build_contexts.items()}
    for key, text in {_CONTEXT: settings.context, **named}.items():
        folder = Path(os.path.abspath(directory / text))  # noqa: PTH100  # `..` as docker has it
        if is_remote(text) or not folder.is_dir():
            continue
        if key == _CONTEXT or folder.resolve().is_relative_to(directory.resolve()):
            yield key, folder
