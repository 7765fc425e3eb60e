"""The critical path of a build: the steps that determine how long its steps took together."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

from msgspec import Struct, field

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bxcache.buildx.stream.trace import Trace

_MOST_TRIED = 12
"""How many steps of a path are tried without their time; the slowest ones."""


class CriticalPath(Struct, frozen=True):
    """The longest chain of steps of a build, of which each needs the one before.

    Attributes:
        vertices: the first vertex of each step, from the last step to the first.
        gains: how many seconds shorter the longest chain would be if a step took no time, by the
            first vertex. This may be less than it took, since another chain is then the longest.
    """

    vertices: tuple[str, ...] = ()
    gains: Mapping[str, float] = field(default_factory=dict)


def find_critical_path(trace: Trace) -> CriticalPath:
    """Find the critical path in the times of the steps; empty if their order is unknown."""
    homes = {each: step.digests[0] for step in trace.steps for each in step.digests}
    homes |= {each.digest: each.digest for each in trace.sources}
    seconds = {step.digests[0]: step.seconds for step in trace.steps}
    seconds |= {each.digest: each.seconds for each in trace.sources}
    needs = {name: set[str]() for name in seconds}
    for step in trace.steps:
        own = {homes[each] for each in step.inputs if each in homes}
        needs[step.digests[0]] |= own - {step.digests[0]}
    try:
        order = [*TopologicalSorter(needs).static_order()]
    except CycleError:
        return CriticalPath()
    path = _find_longest(order, needs, seconds)
    whole = sum(seconds[name] for name in path)
    slowest = sorted(path, key=lambda name: -seconds[name])[:_MOST_TRIED]
    gains = {}
    for name in slowest:
        tried = seconds | {name: 0.0}
        rest = sum(tried[each] for each in _find_longest(order, needs, tried))
        gains[name] = round(whole - rest, 3)
    return CriticalPath(path, gains)


def _find_longest(
    order: list[str], needs: Mapping[str, set[str]], seconds: Mapping[str, float]
) -> tuple[str, ...]:
    """Find the longest chain, from its end to its beginning."""
    until: dict[str, float] = {}
    before: dict[str, str | None] = {}
    for name in order:
        # The order of a set differs from run to run.
        last = max(sorted(needs[name]), key=until.__getitem__, default=None)
        before[name] = last
        until[name] = seconds[name] + (until[last] if last is not None else 0.0)
    at = max(order, key=until.__getitem__, default=None)
    path = []
    while at is not None:
        if seconds[at]:
            path.append(at)
        at = before[at]
    return tuple(path)
