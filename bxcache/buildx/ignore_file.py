"""Docker's ignore file, and a warning about a store that it does not exclude.

Rules of the file: https://docs.docker.com/build/concepts/context/#dockerignore-files
How docker reads it: https://github.com/moby/patternmatcher/blob/v0.6.0/ignorefile/ignorefile.go
How docker matches its patterns: https://github.com/moby/patternmatcher/blob/v0.6.0/patternmatcher.go
"""

from __future__ import annotations

import os
import posixpath
import re
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

from bxcache.config.paths import find_dockerfile, is_remote
from bxcache.oci.documents import INDEX_NAME

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bxcache.config.models import BuildSettings

_NAME = ".dockerignore"
_ESCAPED = frozenset(".+()|{}$")
_SPECIAL = re.compile(r"[*?\[\]\\]")
_CHANGING = (INDEX_NAME, f"blobs/sha256/{'0' * 64}", ".bxcache/version")
"""Files of a store that builds change."""


def note_sent(directory: Path, settings: BuildSettings, store: Path) -> Iterator[str]:
    """Yield a note if the store is part of a build context.

    A step that copies the folder around the store runs in every build, because the store changes.
    """
    for name, context in {"": settings.context, **settings.build_contexts}.items():
        if is_remote(context):
            continue
        folder, path = (Path(os.path.realpath(each)) for each in (directory / context, store))
        if path == folder or not path.is_relative_to(folder):
            continue
        inside = path.relative_to(folder).as_posix()
        file = _find_file(directory, folder, None if name else settings)
        if not all(excludes(_read(file), f"{inside}/{each}") for each in _CHANGING):
            what = f"the build context `{name}`" if name else "the build context"
            yield (
                f"the store {path} is in {what}, so a step that copies the folder around it is "
                f"never reused; add `{_escape(inside)}` as the last line of {file}"
            )


def _find_file(directory: Path, folder: Path, settings: BuildSettings | None) -> Path:
    """Find the ignore file that counts: the Dockerfile's own, or else the context's."""
    if settings is not None and not is_remote(settings.file or ""):
        dockerfile = find_dockerfile(directory, folder, settings.file)
        own = dockerfile.with_name(f"{dockerfile.name}{_NAME}")
        if own.is_file():
            return own
    return folder / _NAME


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
    except OSError:
        # Docker cannot read it either, and reports that.
        return ""


def excludes(text: str, path: str) -> bool:
    """Whether an ignore file's text excludes a path in the context, with slashes.

    The last pattern that matches counts. One that matches a folder matches everything in it.
    """
    above = list(accumulate(path.split("/"), "{}/{}".format))
    excluded = False
    for line in text.removeprefix("\ufeff").split("\n"):
        pattern = _clean(line)
        negates = pattern.startswith("!")
        # Skip patterns that cannot change the result.
        if not pattern or negates != excluded:
            continue
        if any(_matches(pattern.removeprefix("!"), each) for each in above):
            excluded = not negates
    return excluded


def _clean(line: str) -> str:
    """Return a line's pattern, with `!` in front if it negates; empty for comments."""
    pattern = "" if line.startswith("#") else line.strip()
    mark = pattern[:1] if pattern.startswith("!") else ""
    rest = pattern.removeprefix("!").strip()
    return f"{mark}{re.sub('^/+(?=.)', '', posixpath.normpath(rest))}" if rest else ""


def _matches(pattern: str, path: str) -> bool:
    if pattern.startswith("**") and not _SPECIAL.search(pattern[2:]):
        end = pattern[2:]
        return path.endswith(end) or (end.startswith("/") and path == end[1:])
    try:
        return re.fullmatch(_translate(pattern), path, re.DOTALL) is not None
    except re.error:
        # Docker refuses the file, and reports that.
        return False


def _translate(pattern: str) -> str:
    """Translate a pattern to a regular expression, character by character, as docker does."""
    found, rest = "", pattern
    while rest:
        letter, rest = rest[0], rest[1:]
        if letter == "*" and rest.startswith("*"):
            # Collapse repeated ones, which would make matching slow.
            rest = re.sub(r"^(/?\*\*)+", "", rest[1:]).removeprefix("/")
            found += "(.*/)?" if rest else ".*"
        elif letter == "*":
            found += "[^/]*"
        elif letter == "?":
            found += "[^/]"
        elif letter == "\\" and rest:
            found, rest = found + letter + rest[0], rest[1:]
        else:
            found += f"\\{letter}" if letter in _ESCAPED else letter
    return found


def _escape(path: str) -> str:
    """Escape a path as a pattern that matches only it."""
    pattern = re.sub(r"([*?\[\]\\])", r"\\\1", path)
    return f"/{pattern}" if pattern[0] in "!#" else pattern
