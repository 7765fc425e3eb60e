"""The Dockerfile lines of a failed build's steps. Pure.

A failed build has no metadata, where a successful one has the lines. Docker quotes the Dockerfile
around the failed step. The other steps are found by counting: BuildKit numbers the steps of each
stage.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

from bxcache.buildx.dockerfile import list_bases, list_stages
from bxcache.buildx.stream.events import Outcome
from bxcache.buildx.stream.names import ONLY_STAGE, StepName
from bxcache.buildx.stream.raw import ERROR

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bxcache.buildx.stream.trace import Trace

# https://github.com/moby/buildkit/blob/v0.25.2/solver/errdefs/source.go
_POSITION = re.compile(r".+:(?P<line>[0-9]+)")
_RULE = "-" * 20


def locate_steps(trace: Trace, dockerfile: str) -> Trace:
    """Add lines of the Dockerfile to the steps of a failed build, where they are certain."""
    quoted, counted = _find_quoted(trace), _count_lines(dockerfile)
    steps = []
    for step in trace.steps:
        name = step.name
        line, verb = counted.get((name.stage, name.index, name.total), (0, ""))
        # ONBUILD steps and those of other frontends do not match.
        found = (line,) if [verb] == name.text.upper().split(maxsplit=1)[:1] else ()
        steps.append(replace(step, lines=quoted.get(name) or found))
    return replace(trace, steps=tuple(steps))


def _find_quoted(trace: Trace) -> dict[StepName, tuple[int, ...]]:
    """Find the lines that docker quotes for the failed step: of several, it quotes only one."""
    lines, error = _split_quotes(trace.said)
    failed = [each for each in trace.steps if each.outcome is Outcome.FAILED and each.error]
    meant = [each.name for each in failed if error.endswith(each.error)]
    places = {(name.stage, name.index) for name in meant}
    return dict.fromkeys(meant, lines) if lines and len(places) == 1 else {}


def _split_quotes(said: Sequence[str]) -> tuple[tuple[int, ...], str]:
    """Find the first lines of the quotes from the Dockerfile, and the error that follows them."""
    lines: set[int] = set()
    for at, (line, rule) in enumerate(pairwise(said)):
        position = _POSITION.fullmatch(line)
        if rule == _RULE and position is not None:
            lines.add(int(position["line"]))
        elif lines and line == _RULE and rule.startswith(ERROR):
            return tuple(sorted(lines)), "\n".join(said[at + 1 :]).rstrip("\n")
    return (), ""


def _count_lines(text: str) -> dict[tuple[str, int, int], tuple[int, str]]:
    """Return each step's line and verb, by its stage and numbers, where these are certain."""
    stages = list_stages(text)
    names = Counter(stage.name for stage in stages)
    found: dict[tuple[str, int, int], tuple[int, str]] = {}
    for stage, base in zip(stages, list_bases(stages), strict=True):
        if "$" in stage.base or names[stage.name] > 1:
            continue
        # A single stage has no name in the stream. A base image counts as the first step.
        name = stage.name if len(stages) > 1 else ONLY_STAGE
        offset = 0 if base is not None or stage.base == "scratch" else 1
        total = offset + len(stage.steps)
        for at, step in enumerate(stage.steps, offset + 1):
            found[name, at, total] = step
    return found
