"""What changed in time between a build and an earlier one, and why, from their records alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bxcache.buildx.stream.events import Outcome
from bxcache.insight.history import choose_steps
from bxcache.insight.report import ComparedBuild, ComparedPhase

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from bxcache.insight.record import Record
    from bxcache.insight.record_parts import RecordedStep


def compare_times(records: Sequence[Record], platform: str | None = None) -> ComparedBuild | None:
    """Compare a build with the last one of its scope, or else with the last one of the others.

    Failed builds are left out, since they ended early. `make_report` explains the arguments.
    """
    record, *earlier = records
    good = [each for each in earlier if not each.exit_status]
    own = (each for each in good if each.scope.name == record.scope.name)
    before = next(own, next(iter(good), None))
    if record.exit_status or before is None:
        return None
    steps, steps_before = (choose_steps(each, platform) for each in (record, before))
    place = before.place
    return ComparedBuild(
        started=before.started,
        scope=before.scope.name,
        branch=place.branch or place.tag or before.scope.branch or "",
        commit=place.commit,
        seconds=before.seconds,
        slower=round(record.seconds - before.seconds, 3),
        phases=tuple(_compare_phases(record, before)),
        more_executed=_count_executed(steps) - _count_executed(steps_before),
        first_executed=_find_first(steps, steps_before),
    )


def _compare_phases(record: Record, before: Record) -> Iterator[ComparedPhase]:
    """Yield the phases that differ, the most different one first; none if either has no phases."""
    if not (record.phases and before.phases):
        return
    now, then = ({p.name: p.seconds for p in each.phases} for each in (record, before))
    slower = {name: round(now.get(name, 0.0) - then.get(name, 0.0), 3) for name in now | then}
    for name in sorted(slower, key=lambda each: -abs(slower[each])):
        if slower[name]:
            yield ComparedPhase(name=name, slower=slower[name])


def _count_executed(steps: Iterable[RecordedStep]) -> int:
    return sum(step.outcome is Outcome.EXECUTED for step in steps)


def _find_first(steps: Sequence[RecordedStep], before: Iterable[RecordedStep]) -> int | None:
    """Find the position of the first executed step that was reused before."""
    outcomes: dict[tuple[object, ...], set[Outcome | None]] = {}
    for step in before:
        outcomes.setdefault(_name_step(step), set()).add(step.outcome)
    executed = (at for at, step in enumerate(steps) if step.outcome is Outcome.EXECUTED)
    was_reused = {Outcome.REUSED}
    return next((at for at in executed if outcomes.get(_name_step(steps[at])) == was_reused), None)


def _name_step(step: RecordedStep) -> tuple[object, ...]:
    return step.stage, step.text, step.platforms
