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
    from collections.abc import Iterable, Iterator

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
        file = find_ignore_file(directory, folder, None if name else settings)
        rules = IgnoreRules(read_ignore_file(file))
        if not all(rules.excludes(f"{inside}/{each}") for each in _CHANGING):
            what = f"the build context `{name}`" if name else "the build context"
            yield (
                f"the store {path} is in {what}, so a step that copies the folder around it is "
                f"never reused; add `{_escape(inside)}` as the last line of {file}"
            )


def find_ignore_file(directory: Path, folder: Path, settings: BuildSettings | None) -> Path:
    """Find the ignore file that counts: the Dockerfile's own, or else the context's."""
    if settings is not None and not is_remote(settings.file or ""):
        dockerfile = find_dockerfile(directory, folder, settings.file)
        own = dockerfile.with_name(f"{dockerfile.name}{_NAME}")
        if own.is_file():
            return own
    return folder / _NAME


def read_ignore_file(file: Path) -> str:
    """Read an ignore file's text; a missing file counts as empty."""
    try:
        return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
    except OSError:
        # Docker cannot read it either, and reports that.
        return ""


class IgnoreRules:
    """The patterns of an ignore file's text; all paths are relative to the context, with slashes.

    The last pattern that matches counts. One that matches a folder matches everything in it.
    """

    def __init__(self, text: str) -> None:
        cleaned = map(_clean, text.removeprefix("\ufeff").split("\n"))
        self.patterns = tuple(filter(None, cleaned))
        self._negates = [each.startswith("!") for each in self.patterns]
        self._matchers = [_compile(each.removeprefix("!")) for each in self.patterns]
        joined = "|".join(f"(?:{each.pattern})" for each in self._matchers)
        self._any = re.compile(joined, re.DOTALL)
        self.has_exceptions = any(self._negates)

    @classmethod
    def of_patterns(cls, patterns: Iterable[str]) -> IgnoreRules:
        """Take the patterns alone."""
        return cls("\n".join(patterns))

    def excludes(self, path: str) -> bool:
        """Whether a path is excluded."""
        matched = 0
        for each in accumulate(path.split("/"), "{}/{}".format):
            matched = self.match(each, matched)
        return self.is_excluding(matched)

    def match(self, path: str, matched: int) -> int:
        """Return which patterns match a path or a folder above it, as bits.

        `matched` is that of the folder that contains the path, or 0 at the top.
        """
        if self._any.fullmatch(path) is None:
            return matched
        for at, matcher in enumerate(self._matchers):
            if matcher.fullmatch(path) is not None:
                matched |= 1 << at
        return matched

    def is_excluding(self, matched: int) -> bool:
        """Whether a path is excluded that these patterns match."""
        return bool(matched) and not self._negates[matched.bit_length() - 1]


def _clean(line: str) -> str:
    """Return a line's pattern, with `!` in front if it negates; empty for comments."""
    pattern = "" if line.startswith("#") else line.strip()
    mark = pattern[:1] if pattern.startswith("!") else ""
    rest = pattern.removeprefix("!").strip()
    return f"{mark}{re.sub('^/+(?=.)', '', posixpath.normpath(rest))}" if rest else ""


def _compile(pattern: str) -> re.Pattern[str]:
    if pattern.startswith("**") and not _SPECIAL.search(pattern[2:]):
        end = pattern[2:]
        # Docker compares such an end as it is.
        above = "(?:.*/)?" if end.startswith("/") else ".*"
        return re.compile(f"{above}{re.escape(end.removeprefix('/'))}", re.DOTALL)
    return compile_pattern(_translate(pattern))


def compile_pattern(expression: str) -> re.Pattern[str]:
    """Compile a translated pattern; an invalid one, which docker refuses, matches nothing."""
    try:
        return re.compile(expression, re.DOTALL)
    except re.error:
        return re.compile(r"(?!)")


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
