"""Habits that make builds execute steps again and again, found in the last records of a scope."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec import Struct

from bxcache.insight.causes import OF_FILES, Cause
from bxcache.insight.earlier import LAST_BUILDS
from bxcache.insight.misses.installs import read_install
from bxcache.insight.record_misses import RecordedAdvice

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from bxcache.insight.record import Record
    from bxcache.insight.record_misses import RecordedChange, RecordedMiss

_LEAST_TIMES = 3
_LEAST_SECONDS = 1.0
_MOST = 3
_HABITUAL = frozenset(
    (
        *(Cause.ARGUMENT, Cause.ENVIRONMENT, Cause.CONTENT, Cause.MODE, Cause.BASE, Cause.REMOTE),
        *(Cause.ADDED, Cause.GONE, Cause.TEXT, Cause.FRONTEND),
    )
)
_STAMP = re.compile(
    r"\d{4}-\d\d-\d\d(?:[T ]\d\d:?\d\d(?::?\d\d)?(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)?)?"
    r"|\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|\b\d{8,}\b|\b(?=[a-f]*\d)[0-9a-f]{7,64}\b"
)
"""A moment, a UUID, or the hash of a commit."""
_PASSABLE = ("COPY ", "ADD ", "WORKDIR ")


class _Habit(Struct, frozen=True):
    """What can recur: a cause, or a step that runs again although nothing that it reads changed.

    `step` is the text of that step, and `files` those that it reads; `name` is the instruction
    above it whose files changed.
    """

    cause: Cause
    name: str
    step: str = ""
    files: tuple[str, ...] = ()


def list_advice(records: Sequence[Record]) -> tuple[RecordedAdvice, ...]:
    """List the habits that cost most time, for the last records of one scope, newest first.

    A habit is a cause that recurs: a build argument with another value in each build, a file that
    changes each time, a base image that moves, packages that are installed below a COPY.
    """
    known = [each for each in records[:LAST_BUILDS] if not each.exit_status]
    if not known or not known[0].misses:
        return ()
    current = {habit for habit, _ in _list_habits(known[0])}
    costs: dict[_Habit, list[float]] = {}
    for record in known:
        for habit, seconds in _list_habits(record):
            costs.setdefault(habit, []).append(seconds)
    found = [
        RecordedAdvice(
            cause=habit.cause,
            name=habit.name,
            step=habit.step,
            files=habit.files,
            times=len(seconds),
            builds=len(known),
            seconds=round(sum(seconds), 3),
            alternates=habit.cause is Cause.ARGUMENT and _alternates(habit.name, known),
        )
        for habit, seconds in costs.items()
        if habit in current and len(seconds) >= _LEAST_TIMES
    ]
    worth = [each for each in found if each.seconds >= _LEAST_SECONDS]
    return tuple(sorted(worth, key=lambda each: -each.seconds)[:_MOST])


def _list_habits(record: Record) -> Iterator[tuple[_Habit, float]]:
    """List what may recur in a build, each once, with the seconds that it cost."""
    seconds: dict[_Habit, float] = {}
    for miss in record.misses:
        early = dict(_list_early(record, miss))
        habits = early or dict.fromkeys(_list_causes(miss.changes), miss.seconds)
        for habit, took in habits.items():
            seconds[habit] = seconds.get(habit, 0.0) + took
    yield from seconds.items()


def _list_causes(changes: Iterable[RecordedChange]) -> Iterator[_Habit]:
    for each in changes:
        if each.cause is Cause.TEXT:
            before, after = (_STAMP.sub("…", text) for text in (each.before, each.after))
            # People edit instructions, too: only what a script writes there is a habit.
            if before == after:
                yield _Habit(Cause.TEXT, after)
        elif each.cause in _HABITUAL:
            name = (each.name or each.after).partition("@")[0].removeprefix("FROM ")
            # A file that only one machine has comes and goes.
            cause = Cause.ADDED if each.cause is Cause.GONE else each.cause
            yield _Habit(cause, name)


def _list_early(record: Record, miss: RecordedMiss) -> Iterator[tuple[_Habit, float]]:
    """List the steps that could be above the COPY whose files changed, and how long they ran."""
    steps = record.steps
    causes = {each.cause for each in miss.changes}
    if miss.step is None or not causes <= OF_FILES or not steps[miss.step].text.startswith("COPY "):
        return
    changed = {each.name.rpartition("/")[2] for each in miss.changes}
    known = {path.rpartition("/")[2] for each in record.files.values() for path in each.states}
    passed = {miss.step}
    for at in sorted(miss.later):
        step = steps[at]
        if step.parent not in passed:
            continue
        install = read_install(step.text)
        if install is None:
            passed |= {at} if step.text.startswith(_PASSABLE) else set()
            continue
        passed.add(at)
        files = tuple(each for each in install.manifests if each in known)
        if changed.isdisjoint(install.manifests) and bool(files) == bool(install.manifests):
            yield _Habit(Cause.CONTENT, steps[miss.step].text, step.text, files), step.seconds


def _alternates(name: str, records: Sequence[Record]) -> bool:
    """Whether an argument has values in turn that it had before, as in a matrix of builds."""
    keys = {each.arguments.key for each in records}
    values = [each.arguments.values.get(name) for each in records]
    return len(keys) == 1 and len(set(values)) < len(values)
