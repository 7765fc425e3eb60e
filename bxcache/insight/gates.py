"""Whether a build is as a project wants its builds to be. Pure: records in, verdicts out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bxcache.buildx.events import Outcome
from bxcache.config.quantities import format_apart, format_ratio, format_size
from bxcache.insight.history import view_stages

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bxcache.config.models import GateSettings
    from bxcache.insight.history import Stage
    from bxcache.insight.record import Record

_INSTRUCTION = "instruction"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A gate that a build does not pass.

    Attributes:
        gate: its key in `[gate]`.
        reason: what was wanted, and what is.
        fails: it makes the build fail; else it is only told.
    """

    gate: str
    reason: str
    fails: bool

    def __str__(self) -> str:
        return f"the gate `{self.gate}` is not passed: {self.reason}"


def judge_gates(
    gate: GateSettings, record: Record, earlier: Sequence[Record]
) -> tuple[Verdict, ...]:
    """The gates that a build does not pass.

    A build that started from nothing, of a scope that nothing is known of, is not judged by what it
    could not reach: how much it reused.

    Args:
        gate: what is wanted.
        record: what the build left; of one that failed nothing is judged.
        earlier: what earlier builds of the scope left, the last one's first.
    """
    if record.exit_status:
        return ()
    stages = view_stages(record)
    first = not earlier and not any(cache.imported for cache in record.caches)
    judged = (
        *_judge_stage_names(gate, stages),
        *(_judge_reuse(gate, record, stages) if gate.first or not first else ()),
        *_judge_sizes(gate, record, earlier),
        *_judge_time(gate, record),
    )
    return tuple(Verdict(name, reason, name not in gate.warn) for name, reason in judged)


def _judge_stage_names(gate: GateSettings, stages: Sequence[Stage]) -> Iterator[tuple[str, str]]:
    known = [stage.name for stage in stages]
    for name in gate.require_cached:
        if known and name.lower() not in known:
            listed = ", ".join(f"`{each}`" for each in known)
            yield "require_cached", f"there is no stage `{name}`; the stages are {listed}"


def _judge_reuse(
    gate: GateSettings, record: Record, stages: Sequence[Stage]
) -> Iterator[tuple[str, str]]:
    steps = [step for step in record.steps if step.kind == _INSTRUCTION]
    reused = sum(step.outcome is Outcome.REUSED for step in steps)
    wanted = gate.min_hit_ratio
    if wanted is not None and steps and reused / len(steps) < wanted:
        share, least = format_apart(reused / len(steps), wanted, format_ratio, 0)
        count = f"{reused} of {len(steps)} steps were reused ({share})"
        yield "min_hit_ratio", f"{count}, and at least {least} are wanted"
    names = {name.lower() for name in gate.require_cached}
    for stage in stages:
        own = [step for step in stage.steps if step.kind == _INSTRUCTION]
        executed = [step for step in own if step.outcome is not Outcome.REUSED]
        if stage.name in names and executed:
            count = f"{len(executed)} of {len(own)}"
            first = executed[0].text.partition("\n")[0][:80]
            yield "require_cached", f"`{stage.name}` executed {count} steps, first `{first}`"


def _judge_sizes(
    gate: GateSettings, record: Record, earlier: Sequence[Record]
) -> Iterator[tuple[str, str]]:
    sizes = _list_sizes(record)
    size = max(sizes.values(), default=0)
    if gate.max_size is not None and size > gate.max_size:
        has, most = format_apart(size, gate.max_size, format_size, 1, "B")
        yield "max_size", f"the cache has {has}, and may have {most}"
    before = _list_sizes(next((each for each in earlier if not each.exit_status), None))
    grown = max((sizes[each] - before[each] for each in sizes.keys() & before), default=0)
    if gate.max_growth is not None and grown > gate.max_growth:
        grew, most = format_apart(grown, gate.max_growth, format_size, 1, "B")
        yield "max_growth", f"the cache grew by {grew}, and may grow by {most}"


def _list_sizes(record: Record | None) -> dict[tuple[str, str], int]:
    """How large the scope is in each cache that is known to have it."""
    caches = record.caches if record is not None else ()
    return {(each.backend, each.place): each.bytes for each in caches if each.bytes is not None}


def _judge_time(gate: GateSettings, record: Record) -> Iterator[tuple[str, str]]:
    if gate.max_seconds is not None and record.seconds > gate.max_seconds:
        took, most = format_apart(record.seconds, gate.max_seconds, _format_time, 1, "s")
        yield "max_seconds", f"the build took {took}, and may take {most}"


def _format_time(seconds: float, digits: int) -> str:
    """Seconds as a person writes a limit: `12 s`, `12.3 s`."""
    return f"{round(seconds, digits):.{digits}f}".rstrip("0").rstrip(".") + " s"
