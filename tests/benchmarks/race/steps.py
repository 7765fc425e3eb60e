"""The steps of a build, by what docker prints: BuildKit's stream, or the classic builder's text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

_STEP = re.compile(r"\[(?!internal)(?:[^\]]* )?\d+/\d+\] (?!FROM )")
_CLASSIC = re.compile(r"Step \d+/\d+ : (\w+)")
_IMAGE = re.compile(r" ---> ([0-9a-f]{12,})")
# The instructions of the classic builder that make a layer.
_MAKING = ("RUN", "COPY", "ADD", "WORKDIR")


@dataclass(frozen=True)
class Steps:
    """How many steps of a build were reused, and how many were executed or failed."""

    reused: int
    executed: int


def read_streams(streams: Iterable[Iterable[str]]) -> Steps:
    """Count the steps in BuildKit's streams of the builds of one commit, each once.

    A step counts as executed if it was in any of the builds: later ones find it in the builder.
    """
    outcomes: dict[str, bool] = {}
    for stream in streams:
        for state in _read_states(stream):
            outcomes[state.name] = outcomes.get(state.name, True) and state.reused
    reused = sum(outcomes.values())
    return Steps(reused, len(outcomes) - reused)


def _read_states(lines: Iterable[str]) -> Iterable[_State]:
    states: dict[str, _State] = {}
    for line in lines:
        for vertex in json.loads(line).get("vertexes") or () if line.startswith("{") else ():
            if _STEP.match(vertex["name"]) and vertex.get("completed"):
                digest = vertex["digest"]
                states[digest] = _follow(states.get(digest), vertex)
    return states.values()


@dataclass(frozen=True)
class _State:
    """What is known of a step: its name, whether it was reused, and whether that was looked up."""

    name: str
    reused: bool
    hit: bool


def _follow(known: _State | None, vertex: dict[str, str]) -> _State:
    """Return what is known of a step after one more message on it.

    A step whose layer is fetched later is reported once more, without the mark. One that nothing
    needed so far is marked too, begun and ended at the same moment, and may still be executed.
    """
    name = vertex["name"]
    if vertex.get("error"):
        return _State(name, reused=False, hit=False)
    if vertex.get("cached"):
        hit = vertex.get("started") != vertex["completed"]
        return _State(name, reused=True, hit=hit or bool(known and known.hit))
    hit = bool(known and known.hit)
    return _State(name, reused=hit, hit=hit)


def read_classic(text: str) -> Steps:
    """Count the steps in the classic builder's output."""
    reused = executed = 0
    for part in re.split(r"^(?=Step \d+/\d+ : )", text, flags=re.MULTILINE):
        match = _CLASSIC.match(part)
        if match and match[1] in _MAKING:
            if "\n ---> Using cache\n" in part:
                reused += 1
            else:
                executed += 1
    return Steps(reused, executed)


def scrape_images(text: str) -> tuple[str, ...]:
    """Return the ids of the images that the classic builder made or found, oldest first."""
    found = (match[1] for match in map(_IMAGE.fullmatch, text.splitlines()) if match)
    return tuple(dict.fromkeys(found))
