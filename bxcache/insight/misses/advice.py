"""Habits that make builds execute steps again and again, found in the last records of a scope."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bxcache.insight.causes import Cause
from bxcache.insight.earlier import LAST_BUILDS
from bxcache.insight.record_misses import RecordedAdvice

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bxcache.insight.record import Record

_LEAST_TIMES = 3
_LEAST_SECONDS = 1.0
_MOST = 3
_HABITUAL = frozenset(
    (Cause.ARGUMENT, Cause.ENVIRONMENT, Cause.CONTENT, Cause.MODE, Cause.BASE, Cause.REMOTE)
)
_Key = tuple[Cause, str]


def list_advice(records: Sequence[Record]) -> tuple[RecordedAdvice, ...]:
    """List the habits that cost most time, for the last records of one scope, newest first.

    A habit is a cause that recurs: a build argument with another value in each build, a file that
    changes each time, a base image that moves.
    """
    known = [each for each in records[:LAST_BUILDS] if not each.exit_status]
    if not known or not known[0].misses:
        return ()
    current = {key for key, _ in _list_causes(known[0])}
    costs: dict[_Key, list[float]] = {}
    for record in known:
        for key, seconds in _list_causes(record):
            costs.setdefault(key, []).append(seconds)
    found = [
        RecordedAdvice(
            cause=cause,
            name=name,
            times=len(seconds),
            builds=len(known),
            seconds=round(sum(seconds), 3),
            alternates=cause is Cause.ARGUMENT and _alternates(name, known),
        )
        for (cause, name), seconds in costs.items()
        if (cause, name) in current and len(seconds) >= _LEAST_TIMES
    ]
    worth = [each for each in found if each.seconds >= _LEAST_SECONDS]
    return tuple(sorted(worth, key=lambda each: -each.seconds)[:_MOST])


def _list_causes(record: Record) -> Iterator[tuple[_Key, float]]:
    """List the habitual causes of a build, each once, with the seconds that it cost."""
    seconds: dict[_Key, float] = {}
    for miss in record.misses:
        for key in {(each.cause, each.name or each.after) for each in miss.changes}:
            if key[0] in _HABITUAL:
                name = key[1].partition("@")[0].removeprefix("FROM ")
                seconds[key[0], name] = seconds.get((key[0], name), 0.0) + miss.seconds
    yield from seconds.items()


def _alternates(name: str, records: Sequence[Record]) -> bool:
    """Whether an argument has values in turn that it had before, as in a matrix of builds."""
    keys = {each.arguments.key for each in records}
    values = [each.arguments.values.get(name) for each in records]
    return len(keys) == 1 and len(set(values)) < len(values)
