"""How long steps took when they were last executed, from the records of earlier builds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bxcache.buildx.stream.events import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from bxcache.insight.record import Record, RecordedStep


def recall_seconds(
    steps: Iterable[RecordedStep], earlier: Iterable[Record]
) -> tuple[RecordedStep, ...]:
    """Return steps, with the time of the last execution in those that were reused.

    Args:
        steps: the steps of a build.
        earlier: the records of earlier builds, the last one first.
    """
    past = Past(earlier)
    return tuple(
        step.model_copy(update={"saved": past.find_seconds(step)})
        if step.outcome is Outcome.REUSED and step.saved is None
        else step
        for step in steps
    )


class Past:
    """The times of steps in earlier builds."""

    def __init__(self, records: Iterable[Record]) -> None:
        """Take the records of builds, the last one first."""
        self._builds = [_list_times(record) for record in records]

    def find_seconds(self, step: RecordedStep) -> float | None:
        """How long a step took in the last build that knows it; None if no build does.

        A step is identified by its layers, or else by its stage and text. Two steps can make the
        same layer, such as a `RUN` and a `COPY` of its whole result. So a step with the same layers
        and text comes first, then one of the same kind.
        """
        keys = [*_list_keys(step)]
        for times in self._builds:
            for key in keys:
                if key in times:
                    return times[key]
        return None


def _list_times(record: Record) -> Mapping[tuple[object, ...], float]:
    """The time of the last execution of each step, as far as a build knows it, by all its keys."""
    times: dict[tuple[object, ...], float] = {}
    for step in record.steps:
        took = step.seconds if step.outcome is Outcome.EXECUTED else step.saved
        if took is not None:
            for key in _list_keys(step):
                times.setdefault(key, took)
    return times


def _list_keys(step: RecordedStep) -> Iterator[tuple[object, ...]]:
    """The keys that identify a step in other builds, best first."""
    forms = [digests for digests in _list_forms(step) if digests]
    named = (step.stage, step.text, step.platforms)
    yield from ((*named, digests) for digests in forms)
    kind = step.text.partition(" ")[0]
    yield from ((kind, digests) for digests in forms)
    yield named


def _list_forms(step: RecordedStep) -> Iterator[tuple[str, ...]]:
    for layers in (step.layers, *step.alternatives):
        yield tuple(layer.digest for layer in layers)
