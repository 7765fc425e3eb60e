"""Makes the report of a build from the records of that build and earlier ones."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from bxcache.buildx.stream.events import Outcome
from bxcache.insight.history import Stage, choose_steps, list_layers, view_stages
from bxcache.insight.record_steps import recall_seconds
from bxcache.insight.report import (
    Report,
    ReportedBuild,
    ReportedCounts,
    ReportedLayer,
    ReportedStage,
    ReportedStep,
)
from bxcache.insight.time_difference import compare_times

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from bxcache.insight.record import Record
    from bxcache.insight.record_misses import RecordedMiss
    from bxcache.insight.record_parts import RecordedStep

MOST_BUILDS = 10
"""The largest number of builds in a trend."""

_MOST_SLOWEST = 5
_MOST_GAINS = 3
_LEAST_SECONDS = 0.05
"""Steps below this time are not slow."""

_WORKED = (Outcome.EXECUTED, Outcome.FAILED)


def make_report(records: Sequence[Record], platform: str | None = None) -> Report:
    """Make the report of a build, or of its part for one platform.

    Args:
        records: its own first, then those of earlier builds of the same scope and of the imported
            scopes, the last one first.
        platform: report only on what was built for this platform.

    Raises:
        RecordError: the build was not for that platform.
    """
    record, *earlier = records
    record = record.model_copy(update={"steps": recall_seconds(record.steps, earlier)})
    views = view_stages(record, platform)
    chosen = choose_steps(record, platform)
    steps = [*map(_report_step, chosen)]
    own = (each for each in records if each.scope.name == record.scope.name)
    figures = {
        "version": "1",
        "counts": count_steps(steps),
        "shared_steps": count_shared(each.steps for each in views),
        "bytes": _measure_layers(chosen),
        "stages": tuple(_report_stages(views, chosen, steps)),
        "steps": steps,
        "misses": tuple(_move_misses(record, chosen)),
        "slowest": _find_slowest(steps),
        "gains": _find_gains(steps),
        "compared": compare_times(records, platform),
        "trend": tuple(_report_build(each, platform) for each in own)[:MOST_BUILDS][::-1],
    }
    return Report.model_validate(dict(record) | figures)


def _move_misses(record: Record, chosen: Sequence[RecordedStep]) -> Iterator[RecordedMiss]:
    """The misses of the chosen steps, with the positions of these."""
    places = {id(step): position for position, step in enumerate(chosen)}
    moved = {at: places[id(each)] for at, each in enumerate(record.steps) if id(each) in places}
    for miss in record.misses:
        later = tuple(moved[at] for at in miss.later if at in moved)
        if miss.step is None or miss.step in moved:
            step = None if miss.step is None else moved[miss.step]
            yield miss.model_copy(update={"step": step, "later": later})


def count_steps(steps: Iterable[ReportedStep]) -> ReportedCounts:
    """Count the outcomes and times of steps."""
    listed = [*steps]
    counts = Counter(step.outcome for step in listed if step.outcome is not None)
    reused = counts[Outcome.REUSED]
    saved = [step.saved for step in listed if step.saved is not None]
    return ReportedCounts(
        reused=reused,
        executed=counts[Outcome.EXECUTED],
        failed=counts[Outcome.FAILED],
        hit_ratio=round(reused / counts.total(), 4) if counts else None,
        spent=round(sum(step.seconds for step in listed), 3),
        fetched=round(sum(step.fetched or 0.0 for step in listed), 3),
        saved=round(sum(saved), 3),
        unknown=reused - len(saved),
    )


def _report_step(step: RecordedStep) -> ReportedStep:
    if step.outcome is not Outcome.REUSED:
        return ReportedStep(**dict(step))
    saved = None if step.ran is None else round(step.ran - step.seconds, 3)
    return ReportedStep(**dict(step), fetched=step.seconds, saved=saved)


def count_shared(stages: Iterable[Iterable[RecordedStep]]) -> int:
    """Count the steps of several stages: equal instructions on equal results run once."""
    having = Counter(id(step) for steps in stages for step in steps if step.outcome is not None)
    return sum(count > 1 for count in having.values())


def _report_stages(
    views: Iterable[Stage], recorded: Sequence[RecordedStep], steps: Sequence[ReportedStep]
) -> Iterator[ReportedStage]:
    """The stages, and finally the steps of unknown stages."""
    # Steps that look alike can be different ones.
    places = {id(step): position for position, step in enumerate(recorded)}
    left, known = set(places.values()), set[str]()
    for view in views:
        positions = tuple(places[id(step)] for step in view.steps)
        left.difference_update(positions)
        yield _report_stage(view, positions, steps, known)
    if left:
        yield _report_stage(Stage(""), tuple(sorted(left)), steps, known)


def _report_stage(
    view: Stage, positions: tuple[int, ...], steps: Sequence[ReportedStep], known: set[str]
) -> ReportedStage:
    layers = tuple(_report_layers(positions, steps, known))
    executed = (at for at in positions if steps[at].outcome is Outcome.EXECUTED)
    follows = any(step.outcome is Outcome.EXECUTED for step in view.inherited)
    return ReportedStage(
        name=view.name,
        line=view.line,
        base=view.base,
        needed=view.needed,
        counts=count_steps(steps[position] for position in positions),
        steps=positions,
        first_executed=None if follows else next(executed, None),
        layers=layers,
        bytes=sum(layer.size for layer in layers if not layer.shared),
        shared_bytes=sum(layer.size for layer in layers if layer.shared),
    )


def _report_layers(
    positions: Iterable[int], steps: Sequence[ReportedStep], known: set[str]
) -> Iterator[ReportedLayer]:
    """The layers of steps; each becomes known."""
    for position in positions:
        for layer in steps[position].layers:
            shared = layer.digest in known
            known.add(layer.digest)
            yield ReportedLayer(digest=layer.digest, size=layer.size, step=position, shared=shared)


def _find_slowest(steps: Sequence[ReportedStep]) -> tuple[int, ...]:
    worked = (at for at, step in enumerate(steps) if step.outcome in _WORKED)
    slow = [at for at in worked if steps[at].seconds >= _LEAST_SECONDS]
    return tuple(sorted(slow, key=lambda at: -steps[at].seconds)[:_MOST_SLOWEST])


def _find_gains(steps: Sequence[ReportedStep]) -> tuple[int, ...]:
    worked = (at for at, step in enumerate(steps) if step.outcome in _WORKED)
    gaining = [at for at in worked if steps[at].gain >= _LEAST_SECONDS]
    return tuple(sorted(gaining, key=lambda at: -steps[at].gain)[:_MOST_GAINS])


def _measure_layers(steps: Iterable[RecordedStep]) -> int | None:
    layers = list_layers(steps)
    # No layer is empty: an engine without the containerd image store does not report sizes.
    return sum(layer.size for layer in layers) or None


def _report_build(record: Record, platform: str | None) -> ReportedBuild:
    chosen = choose_steps(record, platform)
    return ReportedBuild(
        started=record.started,
        seconds=record.seconds,
        exit_status=record.exit_status,
        refused=not record.exit_status and any(gate.fails for gate in record.gates),
        hit_ratio=count_steps(map(_report_step, chosen)).hit_ratio,
        bytes=_measure_layers(chosen),
    )
