"""Shortens the record of a very large build until a store accepts it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bxcache.buildx.stream.events import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bxcache.insight.record import Record, RecordedStep

_LENGTHS = (400, 100, 40)
"""The longest text in each attempt, in characters."""
_MOST_WARNINGS = 100


def fit_record(record: Record, most: int) -> Record:
    """Shorten a record to a size, which only a build of thousands of steps exceeds.

    First go the logs of steps that did not fail, other forms of layers, and the end of each long
    text; the layers go last.

    Args:
        record: the record.
        most: the largest size in bytes. A record that stays larger is returned as short as it gets.
    """
    for longest in _LENGTHS:
        if len(record.to_json()) <= most:
            return record
        record = _shorten_record(record, longest)
    if len(record.to_json()) > most:
        steps = (step.model_copy(update={"layers": ()}) for step in record.steps)
        record = record.model_copy(update={"steps": tuple(steps)})
    return record


def _shorten_record(record: Record, longest: int) -> Record:
    update = {
        "steps": tuple(_shorten_step(step, longest) for step in record.steps),
        "warnings": _shorten_each(record.warnings, longest),
        "build_warnings": _shorten_each(record.build_warnings, longest),
    }
    return record.model_copy(update=update)


def _shorten_step(step: RecordedStep, longest: int) -> RecordedStep:
    update = {
        "text": _shorten(step.text, longest),
        "error": _shorten(step.error, longest),
        "log": step.log[-longest:] if step.outcome is Outcome.FAILED else "",
        "alternatives": (),
    }
    return step.model_copy(update=update)


def _shorten_each(texts: Iterable[str], longest: int) -> tuple[str, ...]:
    return tuple(_shorten(text, longest) for text in texts)[:_MOST_WARNINGS]


def _shorten(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
