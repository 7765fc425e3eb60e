"""The inputs of a build: its context, Dockerfile and stage, and what to do if one is missing.

Docker still runs and decides: these words replace its own error if the build fails.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from bxcache.buildx.dockerfile import list_stages
from bxcache.buildx.extra_flags import list_flags
from bxcache.config.paths import find_dockerfile, is_remote, read_dockerfile
from bxcache.config.problems import suggest
from bxcache.config.wording import choose_words, name_call, name_option

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from bxcache.config.models import BuildSettings

_SYNTAX = re.compile(r"\s*#\s*syntax\s*=\s*(?!docker/dockerfile)", re.IGNORECASE)
"""A frontend that may name its targets in another way:
https://docs.docker.com/reference/dockerfile/#syntax"""
_DECIDING = frozenset(("--file", "-f", "--target"))


def find_missing(
    settings: BuildSettings, images: Mapping[str, object], directory: Path, extra: Sequence[str]
) -> str | None:
    """Find what is missing: the build context, the Dockerfile or its stage; None if nothing is.

    Args:
        settings: the settings of the build.
        images: the images of the config file, by name.
        directory: the working directory.
        extra: the arguments for docker, which may name other files.
    """
    file = settings.file or ""
    if (
        is_remote(settings.context)
        or is_remote(file)
        or not _DECIDING.isdisjoint(list_flags(extra))
    ):
        return None
    context = directory / settings.context
    if not context.is_dir():
        # Docker reports other files as what they are.
        return None if context.exists() else _explain_context(settings.context, images, directory)
    path = find_dockerfile(directory, settings.context, settings.file)
    if not path.exists():
        return _explain_file(path, settings.file, images)
    text = read_dockerfile(directory, settings.context, settings.file)
    return _explain_target(settings.target, text)


def _explain_context(context: str, images: Mapping[str, object], directory: Path) -> str:
    if context in images:
        call = choose_words(name_call("build", context), name_call("build", image=context))
        return (
            f"there is no directory `{context}`; the config file has an image of that name, which "
            f"`{call}` builds"
        )
    known = [each.name for each in directory.iterdir() if each.is_dir()]
    what = "the config file has no image" if images else "no config file declares an image"
    return (
        f"there is no directory `{context}`, and {what} of that name"
        f"{suggest(context, (*known, *images))}"
    )


def _explain_file(path: Path, given: str | None, images: Mapping[str, object]) -> str:
    if given is not None:
        return f"there is no Dockerfile `{path}`; a path to it is relative to the working directory"
    why = f"`{path.parent}` has no Dockerfile; name one elsewhere with `{name_option('file')}`"
    if not images:
        return why
    known = ", ".join(f"`{each}`" for each in images)
    every = choose_words("bxcache build --all", "bxcache.build_images()")
    return f"{why}, or build an image of the config file: {known}; `{every}` builds all"


def _explain_target(target: str | None, text: str) -> str | None:
    names = [each.name for each in list_stages(text)]
    if target is None or not names or _SYNTAX.match(text):
        return None
    if target.lower() in names or (target.isdecimal() and int(target) < len(names)):
        return None
    listed = ", ".join(f"`{each}`" for each in names)
    return f"the Dockerfile has no stage `{target}`; it has {listed}{suggest(target, names)}"
