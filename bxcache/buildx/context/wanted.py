"""Which files of a build context the instructions of a Dockerfile can read, by its text alone."""

from __future__ import annotations

import json
import posixpath
import re
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING

from bxcache.buildx.context.ignore import compile_pattern
from bxcache.buildx.dockerfile import list_instructions, list_needed, list_stages, split_words
from bxcache.buildx.step_inputs import FileRead, has_pattern

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

MAIN = "context"
"""The name of the main context."""
_REMOTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://|git@")
_ESCAPED = frozenset(".+()|{}$^")


class Wanted:
    """The paths that are read in one folder of a context."""

    def __init__(self, rests: Sequence[tuple[str, ...]]) -> None:
        """Take the parts of paths, each a name or a pattern."""
        self.rests = rests

    @classmethod
    def of_paths(cls, paths: Iterable[str]) -> Wanted:
        """Take paths relative to the context, whose parts may be patterns."""
        return cls([tuple(filter(_is_name, path.split("/"))) for path in paths])

    @property
    def is_complete(self) -> bool:
        """Whether everything in the folder is read."""
        return () in self.rests

    def enter(self, name: str) -> Wanted | None:
        """Return what is read of an entry of the folder; None if nothing is."""
        if self.is_complete:
            return self
        rests = [rest[1:] for rest in self.rests if match_part(rest[0], name)]
        return Wanted(rests) if rests else None


def list_wanted(text: str, target: str | None) -> dict[str, Wanted]:
    """List what a build may read of each context, by the context's name.

    A variable may stand for any path, so all of the folder around it is wanted. What the base
    images add by `ONBUILD` is unknown.
    """
    stages = list_stages(text)
    needed = list_needed(stages, target)
    found: dict[str, list[str]] = {}
    for line, _, instruction in list_instructions(text):
        if any(stage.line <= line <= stage.last_line for stage in needed):
            for context, path in _list_paths(instruction):
                found.setdefault(context, []).append(_cut(path))
    for stage in needed:
        # A context can be the base of a stage.
        found.setdefault(stage.base.lower(), []).append("")
    return {context: Wanted.of_paths(paths) for context, paths in found.items()}


def list_reads(instruction: str) -> list[FileRead]:
    """List what an instruction reads of contexts, unless that depends on variables."""
    verb, _ = split_words(instruction)
    return [
        FileRead(
            path=posixpath.normpath(f"/{path}"),
            context=context,
            is_pattern=verb != "RUN" and has_pattern(path),
            follows=verb != "RUN",
        )
        for context, path in _list_paths(instruction)
        if "$" not in path
    ]


def _list_paths(instruction: str) -> Iterator[tuple[str, str]]:
    verb, words = split_words(instruction)
    flags = [word for word in words if word.startswith("--")]
    if verb == "RUN":
        for flag in flags:
            if flag.startswith("--mount="):
                yield from _read_mount(flag.removeprefix("--mount="))
    elif verb in {"COPY", "ADD"}:
        sources = (flag.partition("=")[2] for flag in flags if flag.startswith("--from="))
        context = next(sources, MAIN).strip("\"'").lower()
        rest = words[len(flags) :]
        yield from ((context, path) for path in _list_sources(rest, instruction))


def _read_mount(text: str) -> Iterator[tuple[str, str]]:
    pairs = (each.partition("=") for each in text.strip("\"'").split(","))
    options = {name.strip().lower(): value for name, _, value in pairs}
    if options.get("type", "bind") == "bind":
        path = options.get("source") or options.get("src") or ""
        yield options.get("from", MAIN).lower(), path


def _list_sources(words: Sequence[str], instruction: str) -> list[str]:
    """List the paths that are copied: all but the last word, which is where they go."""
    listed = [word.strip("\"'") for word in words]
    with suppress(ValueError, IndexError):
        given = json.loads(instruction[instruction.index("[") :])
        if isinstance(given, list):
            listed = [str(each) for each in given]
    return [each for each in listed[:-1] if not each.startswith("<<") and not _REMOTE.match(each)]


def _cut(path: str) -> str:
    """Cut a path before its first part with a variable."""
    kept = []
    for name in path.split("/"):
        if "$" in name:
            break
        kept.append(name)
    return "/".join(kept)


def _is_name(part: str) -> bool:
    return part not in {"", "."}


def match_part(pattern: str, name: str) -> bool:
    """Whether a name matches a part of a pattern, as in https://pkg.go.dev/path#Match."""
    return _compile(pattern).fullmatch(name) is not None


@lru_cache(maxsize=1024)
def _compile(pattern: str) -> re.Pattern[str]:
    return compile_pattern(_translate(pattern))


def _translate(pattern: str) -> str:
    found, rest = "", pattern
    while rest:
        letter, rest = rest[0], rest[1:]
        if letter == "*":
            found += "[^/]*"
        elif letter == "?":
            found += "[^/]"
        elif letter == "\\" and rest:
            found, rest = found + re.escape(rest[0]), rest[1:]
        elif letter == "[" and "]" in rest:
            inside, _, rest = rest.partition("]")
            found += f"[{inside}]"
        else:
            found += f"\\{letter}" if letter in _ESCAPED else letter
    return found
