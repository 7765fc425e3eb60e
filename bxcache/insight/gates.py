"""Checks a build against the gates of its project."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from bxcache.buildx.stream.events import Outcome
from bxcache.config.quantities import format_apart, format_ratio, format_size
from bxcache.insight.history import view_stages
from bxcache.insight.record import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from bxcache.config.models import GateSettings
    from bxcache.insight.history import Stage
    from bxcache.insight.record import Record

_INSTRUCTION = "instruction"


def judge_gates(
    gate: GateSettings, record: Record, earlier: Sequence[Record]
) -> tuple[Verdict, ...]:
    """Return the gates that a build failed.

    A first build has nothing to reuse, so only the names of required stages are checked.

    Args:
        gate: the requirements.
        record: the record of the build; a failed build is not checked.
        earlier: the records of earlier builds of its scope and of the scopes that it imported, the
            last one first.
    """
    if record.exit_status:
        return ()
    stages, good = view_stages(record), [each for each in earlier if not each.exit_status]
    judged = _judge_stage_names(gate, stages)
    if gate.first or not _is_first(record, good):
        judged = chain(
            judged,
            _judge_reuse(gate, record, stages),
            _judge_size(gate, record),
            _judge_growth(gate, record, good),
            _judge_time(gate, record),
        )
    return tuple(
        Verdict(gate=name, reason=reason, fails=name not in gate.warn) for name, reason in judged
    )


def _is_first(record: Record, good: Iterable[Record]) -> bool:
    """Whether a build imported no cache, and no build of its scope succeeded before."""
    is_known = any(each.scope.name == record.scope.name for each in good)
    return not is_known and not any(cache.imported for cache in record.caches)


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
        count = f"{reused} of {len(steps)} steps reused ({share})"
        yield "min_hit_ratio", f"{count}; at least {least} required"
    names = {name.lower() for name in gate.require_cached}
    for stage in stages:
        own = [step for step in stage.steps if step.kind == _INSTRUCTION]
        executed = [step for step in own if step.outcome is not Outcome.REUSED]
        if stage.name in names and executed:
            count = f"{len(executed)} of {len(own)}"
            first = executed[0].text.partition("\n")[0][:80]
            yield "require_cached", f"`{stage.name}` executed {count} steps, first `{first}`"


def _judge_size(gate: GateSettings, record: Record) -> Iterator[tuple[str, str]]:
    size = max(_list_sizes(record).values(), default=0)
    if gate.max_size is not None and size > gate.max_size:
        has, most = format_apart(size, gate.max_size, format_size, 1, "B")
        yield "max_size", f"the cache has {has}; at most {most} allowed"


def _judge_growth(
    gate: GateSettings, record: Record, good: Sequence[Record]
) -> Iterator[tuple[str, str]]:
    sizes, before = _list_sizes(record), _list_sizes(_find_before(record, good))
    grown = max((sizes[each] - before[each] for each in sizes.keys() & before), default=0)
    if gate.max_growth is not None and grown > gate.max_growth:
        grew, most = format_apart(grown, gate.max_growth, format_size, 1, "B")
        yield "max_growth", f"the cache grew by {grew}; at most {most} allowed"


def _find_before(record: Record, good: Sequence[Record]) -> Record | None:
    """The build to compare with: the last one of the scope, or of the one imported scope."""
    own = [each for each in good if each.scope.name == record.scope.name]
    if own:
        return own[0]
    scopes = {each.scope.name for each in good}
    return good[0] if len(scopes) == 1 else None


def _list_sizes(record: Record | None) -> dict[tuple[str, str], int]:
    """The size of the scope in each cache that is known to contain it."""
    caches = record.caches if record is not None else ()
    return {
        # In a registry each scope has a tag of its own.
        (each.backend, each.place.removesuffix(f":{each.scope}")): each.bytes
        for each in caches
        if each.bytes is not None
    }


def _judge_time(gate: GateSettings, record: Record) -> Iterator[tuple[str, str]]:
    if gate.max_seconds is not None and record.seconds > gate.max_seconds:
        took, most = format_apart(record.seconds, gate.max_seconds, _format_time, 1, "s")
        yield "max_seconds", f"the build took {took}; at most {most} allowed"


def _format_time(seconds: float, digits: int) -> str:
    """Seconds in the form of a limit: `12 s`, `12.3 s`."""
    return f"{round(seconds, digits):.{digits}f}".rstrip("0").rstrip(".") + " s"
