"""Which files of a context decide whether a step is reused, and one hash for all of them."""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from typing import TYPE_CHECKING

from msgspec import Struct

from bxcache.buildx.context.files import HASH_LENGTH, LINK, UNKNOWN, find_target
from bxcache.buildx.context.ignore import IgnoreRules
from bxcache.buildx.context.wanted import match_part

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bxcache.buildx.step_inputs import FileRead

_MOST_LINKS = 40


class Chosen(Struct, frozen=True):
    """The files that a step reads.

    Attributes:
        states: the state of each by its path in the context.
        hash: a hash of all; empty if a state is unknown.
    """

    states: Mapping[str, str]
    hash: str


class Selection:
    """The files of a context, to select some of them.

    Args:
        files: the state of each file by its path, sorted.
    """

    def __init__(self, files: Mapping[str, str]) -> None:
        self.files = files
        self._paths = sorted(files)
        self._known: dict[FileRead, Chosen] = {}

    def choose(self, read: FileRead) -> Chosen:
        """Select the files that a step reads, once."""
        if read not in self._known:
            states = self.select(read)
            self._known[read] = Chosen(states, hash_states(states))
        return self._known[read]

    def select(self, read: FileRead) -> dict[str, str]:
        """Return the state of each file that a step reads, by its path in the context."""
        path = "/".join(filter(None, read.path.split("/")))
        tops = self._match(path.split("/")) if read.is_pattern else [path]
        included, excluded = map(IgnoreRules.of_patterns, (read.included, read.excluded))

        def is_in(inside: str) -> bool:
            is_named = not (inside and read.included) or included.excludes(inside)
            return is_named and not (inside and excluded.excludes(inside))

        chosen: dict[str, str] = {}
        for top in tops:
            start = self._resolve(top) if read.follows else top
            chosen |= {
                each: self.files[each]
                for each in self._list_below(start)
                if is_in(each.removeprefix(start).lstrip("/"))
            }
        return chosen

    def _list_below(self, top: str) -> Iterator[str]:
        """List a file, or those in a folder."""
        if not top:
            yield from self._paths
            return
        if top in self.files:
            yield top
        at = bisect_left(self._paths, f"{top}/")
        while at < len(self._paths) and self._paths[at].startswith(f"{top}/"):
            yield self._paths[at]
            at += 1

    def _match(self, parts: Sequence[str]) -> list[str]:
        found: dict[str, None] = {}
        for path in self._paths:
            names = path.split("/")[: len(parts)]
            if len(names) == len(parts) and all(map(match_part, parts, names)):
                found["/".join(names)] = None
        return [*found]

    def _resolve(self, path: str) -> str:
        """Replace the symbolic links in a path."""
        done, rest = "", path.split("/")
        followed = 0
        while rest:
            part, rest = rest[0], rest[1:]
            inside = f"{done}/{part}" if done else part
            state = self.files.get(inside, "")
            if state.startswith(LINK) and followed < _MOST_LINKS:
                target = find_target(inside, state)
                if target is None:
                    return path
                followed += 1
                done, rest = "", [*target.split("/"), *rest]
            else:
                done = inside
        return done


def hash_states(states: Mapping[str, str]) -> str:
    """Hash the states of files by their paths; empty if one is unknown."""
    return "" if UNKNOWN in states.values() else hash_all(states)


def hash_all(states: Mapping[str, str]) -> str:
    """Hash states by their paths, unknown ones like any other."""
    lines = (f"{path}\0{state}\n" for path, state in sorted(states.items()))
    joined = "".join(lines).encode(errors="surrogateescape")
    return hashlib.sha256(joined).hexdigest()[:HASH_LENGTH]
