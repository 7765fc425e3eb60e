"""A record that is small enough to be kept: what is least useful is shortened first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bxcache.buildx.stream.events import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from bxcache.insight.record import Record, RecordedStep

_MOST_WARNINGS, _LONGEST_WARNING = 100, 400


def fit_record(record: Record, most: int) -> Record:
    """The record of a build as far as there is room for it.

    Only that of a build of thousands of steps is shortened. What goes first are the logs of steps
    that did not fail and other forms of layers, then most of each text; what the layers are goes
    last.

    Args:
        record: the record.
        most: how many bytes it may have. One that has more when all is shortened is given so.
    """
    for shorten in _MEASURES:
        if len(record.to_json()) <= most:
            break
        record = shorten(record)
    return record


def _drop_logs(record: Record) -> Record:
    steps = (
        step
        if step.outcome is Outcome.FAILED
        else step.model_copy(update={"log": "", "alternatives": ()})
        for step in record.steps
    )
    return record.model_copy(update={"steps": tuple(steps)})


def _drop_warnings(record: Record) -> Record:
    update = {
        "warnings": _shorten_each(record.warnings),
        "build_warnings": _shorten_each(record.build_warnings),
    }
    return record.model_copy(update=update)


def _shorten_each(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(_shorten(text, _LONGEST_WARNING) for text in texts)[:_MOST_WARNINGS]


def _shorten_texts(longest: int) -> Callable[[Record], Record]:
    def shorten(record: Record) -> Record:
        steps = (_shorten_step(step, longest) for step in record.steps)
        return record.model_copy(update={"steps": tuple(steps)})

    return shorten


def _shorten_step(step: RecordedStep, longest: int) -> RecordedStep:
    # Of a log the end counts, and there is one only of what failed.
    told = {
        "text": _shorten(step.text, longest),
        "error": _shorten(step.error, longest),
        "log": step.log[-longest:],
        "alternatives": (),
    }
    return step.model_copy(update=told)


def _shorten(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _drop_layers(record: Record) -> Record:
    steps = (step.model_copy(update={"layers": ()}) for step in record.steps)
    return record.model_copy(update={"steps": tuple(steps)})


_MEASURES = (
    _drop_logs,
    _drop_warnings,
    _shorten_texts(200),
    _shorten_texts(100),
    _shorten_texts(40),
    _drop_layers,
)
