"""Checks a build against the gates of its project."""

from __future__ import annotations

from itertools import chain
from math import isclose
from typing import TYPE_CHECKING

from bxcache.buildx.stream.events import Outcome
from bxcache.config.quantities import format_apart, format_ratio, format_size
from bxcache.insight.history import view_stages
from bxcache.insight.record_parts import Verdict

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

    A failed build is not checked. A first build has nothing to reuse, so only the names of required
    stages are checked. The earlier builds are those of its scope and of the scopes that it
    imported, the last one first.
    """
    if record.exit_status:
        return ()
    stages, good = view_stages(record), [each for each in earlier if not each.exit_status]
    judged = _judge_stage_names(gate, stages)
    if gate.first or not _is_first(record, good):
        limits = _judge_limits(gate, record, good)
        judged = chain(judged, _judge_reuse(gate, record, stages), limits)
    return tuple(
        Verdict(gate=name, reason=reason, fails=name not in gate.warn) for name, reason in judged
    )


def _is_first(record: Record, good: Iterable[Record]) -> bool:
    """Whether a build imported no cache, and no build of its scope succeeded before."""
    known = {each.scope.name for each in good}
    return record.scope.name not in known and not any(each.imported for each in record.caches)


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


def _judge_limits(
    gate: GateSettings, record: Record, good: Sequence[Record]
) -> Iterator[tuple[str, str]]:
    sizes, before = _list_sizes(record), _list_sizes(_find_before(record, good))
    grown = (sizes[each] - before[each] for each in sizes.keys() & before)
    judged: tuple[tuple[str, float, float | None, str], ...] = (
        ("max_size", max(sizes.values(), default=0), gate.max_size, "the cache has"),
        ("max_growth", max(grown, default=0), gate.max_growth, "the cache grew by"),
        ("max_seconds", record.seconds, gate.max_seconds, "the build took"),
    )
    for name, value, limit, words in judged:
        if limit is not None and value > limit:
            is_time = name == "max_seconds"
            form = (_format_time, _count_decimals(limit), "s") if is_time else (format_size, 1, "B")
            shown, most = format_apart(value, limit, *form)
            yield name, f"{words} {shown}; at most {most} allowed"


def _find_before(record: Record, good: Sequence[Record]) -> Record | None:
    """The build to compare with: the last one of the scope, or of the one imported scope."""
    several = len({each.scope.name for each in good}) > 1
    own = (each for each in good if each.scope.name == record.scope.name)
    return next(own, None if several else next(iter(good), None))


def _list_sizes(record: Record | None) -> dict[tuple[str, str], int]:
    """The size of the scope in each cache that is known to contain it."""
    return {
        # In a registry each scope has a tag of its own.
        (each.backend, each.place.removesuffix(f":{each.scope}")): each.bytes
        for each in (record.caches if record is not None else ())
        if each.bytes is not None
    }


def _count_decimals(seconds: float) -> int:
    """The decimals that a limit needs to be shown as it is; at least one."""
    return next((n for n in range(1, 10) if isclose(round(seconds, n), seconds)), 10)


def _format_time(seconds: float, digits: int) -> str:
    """Seconds in the form of a limit: `12 s`, `12.3 s`."""
    return f"{round(seconds, digits):.{digits}f}".rstrip("0").rstrip(".") + " s"
