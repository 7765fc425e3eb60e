"""How long steps took when they were last executed, from the records of earlier builds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bxcache.buildx.stream.events import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bxcache.insight.record import Record, RecordedStep

_Key = tuple[object, ...]


def recall_seconds(
    steps: Iterable[RecordedStep], earlier: Iterable[Record]
) -> tuple[RecordedStep, ...]:
    """Return steps, with the time of the last execution in those that were reused.

    Args:
        steps: the steps of a build.
        earlier: the records of earlier builds, the last one first.
    """
    builds = [_list_times(record) for record in earlier]
    return tuple(
        step.model_copy(update={"saved": _find_seconds(step, builds)})
        if step.outcome is Outcome.REUSED and step.saved is None
        else step
        for step in steps
    )


def _find_seconds(step: RecordedStep, builds: Iterable[dict[_Key, float]]) -> float | None:
    """How long a step took in the last build that knows it; None if no build does."""
    keys = [*_list_keys(step)]
    return next((times[key] for times in builds for key in keys if key in times), None)


def _list_times(record: Record) -> dict[_Key, float]:
    """The time of the last execution of each step, as far as a build knows it, by all its keys."""
    times: dict[_Key, float] = {}
    for step in record.steps:
        took = step.seconds if step.outcome is Outcome.EXECUTED else step.saved
        if took is not None:
            for key in _list_keys(step):
                times.setdefault(key, took)
    return times


def _list_keys(step: RecordedStep) -> Iterator[_Key]:
    """The keys that identify a step in other builds, best first.

    A step is identified by its layers, or else by its stage and text. Two steps can make the same
    layer, such as a `RUN` and a `COPY` of its whole result. So a step with the same layers and text
    comes first, then one of the same kind.
    """
    forms = [tuple(layer.digest for layer in form) for form in step.forms if form]
    named = (step.stage, step.text, step.platforms)
    yield from ((*named, digests) for digests in forms)
    kind = step.text.partition(" ")[0]
    yield from ((kind, digests) for digests in forms)
    yield named
