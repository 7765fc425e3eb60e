"""The content that all forms of a report share, as texts and tables."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import compress
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from bxcache.buildx.stream.events import Outcome
from bxcache.config.quantities import format_count, format_ratio, format_seconds, format_size
from bxcache.console.phases import PHASE_NAMES
from bxcache.console.tables import clean_log, clean_text, cut_digest

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator, Sequence

    from bxcache.insight.record_parts import RecordedCache, Verdict
    from bxcache.insight.report import (
        Report,
        ReportedBuild,
        ReportedCounts,
        ReportedStage,
        ReportedStep,
    )

NO_STAGE = "(no stage)"
UNKNOWN = "-"
"""Shown for an unknown figure."""
_UNKNOWN_TIME = "?"
_WHY_UNKNOWN = "no record of a build that executed these steps"
_WHY_LOST = "fetching took longer than running"
_KINDS = {"from": "base image", "critical": "on the critical path", "around": "no step"}


class Quoted(str):
    """A text from a Dockerfile, a log or a name, which may contain anything."""

    __slots__ = ()


class Table(Struct, frozen=True):
    """A table whose first columns are texts and whose others are figures."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    """Foreign texts are `Quoted`."""
    texts: int = 1
    """The number of columns with texts."""
    note: str | None = None


def summarize_build(report: Report) -> str:
    """Show how the build ended, and how long it took."""
    verb = "failed after" if report.exit_status else "built in"
    refusals = len(list_refusals(report))
    end = f", failed by {format_count(refusals, 'gate')}" if refusals else ""
    return f"{verb} {format_seconds(report.seconds)}{end}"


def summarize_pushed(report: Report, quote: Callable[[str], str] = clean_text) -> str | None:
    """Show by which names the image was pushed, each `quote`d, and its digest; or None."""
    if not report.pushed:
        return None
    names = ", ".join(map(quote, report.pushed))
    return f"pushed {names} {quote(cut_digest(report.image_digest or ''))}".rstrip()


def list_refusals(report: Report) -> list[str]:
    """List the gates that fail the build."""
    return [_show_gate(each) for each in report.gates if each.fails]


def list_warnings(report: Report) -> list[str]:
    """List the gates that only warn, bxcache's warnings, and BuildKit's."""
    gates = [_show_gate(each) for each in report.gates if not each.fails]
    return [*gates, *report.warnings, *report.build_warnings]


def _show_gate(gate: Verdict) -> str:
    return f"gate {gate.gate}: {gate.reason}"


def summarize_counts(counts: ReportedCounts) -> str:
    """Show how many steps had each outcome."""
    total = counts.reused + counts.executed + counts.failed
    if not total:
        return "no steps"
    reused = f"{counts.reused} of {format_count(total, 'step')} reused"
    failed = f", {counts.failed} failed" if counts.failed else ""
    ratio = format_known_ratio(counts.hit_ratio)
    return f"{reused} ({ratio}), {counts.executed} executed{failed}"


def show_outcomes(counts: Counter[Outcome]) -> str:
    """Show how many steps had each outcome; a build without failed ones needs no word of them."""
    shown = [each for each in Outcome if counts[each] or each is not Outcome.FAILED]
    return ", ".join(f"{counts[each]} {each}" for each in shown)


def explain_shared(count: int) -> str | None:
    """Explain why the stages' counts exceed the build's steps, if they do."""
    if not count:
        return None
    verb = "is" if count == 1 else "are"
    return f"{format_count(count, 'step')} {verb} shared by several stages and counted in each"


def show_saved(counts: ReportedCounts) -> str | None:
    """Show the time that the reused steps saved, if it is known for any; it can be negative."""
    if counts.reused <= counts.unknown:
        return None
    sign = "-" if _is_lost(counts.saved) else ""
    return f"{sign}{format_seconds(abs(counts.saved))}"


def summarize_saved(counts: ReportedCounts) -> str | None:
    """Show the time that the reused steps saved, and for how many it is unknown."""
    if not counts.reused:
        return None
    if counts.unknown == counts.reused:
        return f"time saved unknown: {_WHY_UNKNOWN}"
    unknown = f", unknown for {format_count(counts.unknown, 'step')}" if counts.unknown else ""
    why = f", since {_WHY_LOST}" if _is_lost(counts.saved) else ""
    return f"{format_saved(counts.saved)}{why}{unknown}"


def format_saved(seconds: float) -> str:
    """Format the time that reuse saved or cost.

    >>> format_saved(75.2), format_saved(-2.0)
    ('1 m 15 s saved', '2.0 s lost')
    """
    if _is_lost(seconds):
        return f"{format_seconds(-seconds)} lost"
    return f"{format_seconds(max(0.0, seconds))} saved"


def _is_lost(seconds: float) -> bool:
    return round(seconds, 1) < 0


def name_kind(step: ReportedStep) -> str:
    """Return the kind of a step: its outcome, `from` for a base image, or `unknown`."""
    if step.kind == "from":
        return "from"
    return step.outcome or "unknown"


def name_outcome(kind: str) -> str:
    """Name the outcome of steps of a kind."""
    return _KINDS.get(kind, kind)


def show_phase(name: str) -> str:
    """Name a phase; one of a later version of bxcache, or of a stranger's record, is quoted."""
    return PHASE_NAMES.get(name) or Quoted(name)


def show_lines(step: ReportedStep) -> str:
    """Show where a step is in the Dockerfile; empty if unknown.

    >>> from bxcache.insight.report import ReportedStep
    >>> show_lines(ReportedStep(text="RUN false", lines=(14, 20)))
    'Dockerfile:14, 20'
    """
    return f"Dockerfile:{', '.join(map(str, step.lines))}" if step.lines else ""


def explain_failure(step: ReportedStep) -> str:
    """Return the end of a failed step's log, and its error."""
    texts = (clean_log(step.log), clean_log(step.error))
    return "\n".join(filter(None, texts)) or "no details are known"


def label_stage(stage: str, platforms: Sequence[str]) -> str:
    """Name a stage, with its platforms if the build was for several.

    >>> label_stage("deps", ["linux/arm64"]), label_stage("deps", [])
    ('deps (linux/arm64)', 'deps')
    """
    return f"{stage} ({', '.join(platforms)})" if platforms else stage


def list_needed(report: Report) -> list[ReportedStage]:
    """List the stages that were part of the build."""
    return [stage for stage in report.stages if stage.needed]


def tabulate_stages(report: Report) -> Table:
    """Tabulate the stages with their steps' outcomes."""
    rows = [_write_stage(stage) for stage in list_needed(report)]
    head = ("Stage", "Reused", "Executed", "Failed", "Time", "Saved", "Layers", "Size")
    notes = (*_explain_saved(report), explain_shared(report.shared_steps))
    return drop_empty(Table("Stages", head, rows, note="; ".join(filter(None, notes)) or None))


def _explain_saved(report: Report) -> Iterator[str]:
    """Explain the times saved that are unknown or negative."""
    counts = [stage.counts for stage in list_needed(report)]
    if any(each.unknown for each in counts):
        yield f"saved {_UNKNOWN_TIME}: {_WHY_UNKNOWN}"
    if any(_is_lost(each.saved) for each in counts):
        yield f"saved below 0: {_WHY_LOST}"


def tabulate_work(report: Report) -> Table:
    """Tabulate the stages without their contents."""
    whole = tabulate_stages(report)
    count = sum(name not in ("Layers", "Size") for name in whole.head)
    return replace(whole, head=whole.head[:count], rows=[row[:count] for row in whole.rows])


def _write_stage(stage: ReportedStage) -> tuple[str, ...]:
    counts = stage.counts
    saved = (show_saved(counts), _UNKNOWN_TIME if counts.unknown else None)
    more = f" + {format_size(stage.shared_bytes)} shared" if stage.shared_bytes else ""
    return (
        Quoted(stage.name) if stage.name else NO_STAGE,
        str(counts.reused),
        str(counts.executed),
        str(counts.failed or ""),
        format_seconds(counts.spent),
        " + ".join(filter(None, saved)),
        str(len(stage.layers) or ""),
        f"{format_size(stage.bytes)}{more}" if stage.layers else "",
    )


def tabulate_caches(report: Report) -> Table:
    """Tabulate the caches and their use."""
    rows = [
        (
            *map(Quoted, (each.place, each.backend, each.scope)),
            _show_cache(each),
            format_size(each.bytes) if each.bytes is not None else "",
        )
        for each in report.caches
    ]
    return drop_empty(Table("Caches", ("Place", "Kind", "Scope", "What", "Size"), rows, 4))


def _show_cache(cache: RecordedCache) -> str:
    if cache.salvaged:
        steps = format_count(cache.salvaged, "finished step")
        return f"{'imported, ' if cache.imported else ''}{steps} saved"
    if cache.imported and cache.exported and cache.new_bytes == 0:
        return "imported, nothing new"
    uses = compress(("imported", "saved"), (cache.imported, cache.exported))
    return " and ".join(uses) or "not written"


def tabulate_trend(report: Report) -> Table:
    """Tabulate the last builds, this one first."""
    rows = [
        (
            format_moment(each.started),
            name_end(each),
            format_seconds(each.seconds),
            format_known_ratio(each.hit_ratio),
            format_known_size(each.bytes),
        )
        for each in reversed(report.trend)
    ]
    return Table("Last builds", ("Started", "Outcome", "Time", "Reused", "Size"), rows, 2)


def name_end(build: ReportedBuild) -> str:
    """Show how one of the last builds ended."""
    if build.exit_status:
        return "failed"
    return "gate failed" if build.refused else "built"


def list_unneeded(report: Report) -> list[str]:
    """List the stages that were not part of the build."""
    return [stage.name for stage in report.stages if not stage.needed]


def list_failed(report: Report) -> list[ReportedStep]:
    """List the steps that failed."""
    return [step for step in report.steps if step.outcome is Outcome.FAILED]


def drop_empty(table: Table) -> Table:
    """Drop columns without any content."""
    kept = [*map(any, zip(*table.rows, strict=True))]
    head, *rows = (tuple(compress(cells, kept)) for cells in (table.head, *table.rows))
    return replace(table, head=head, rows=rows, texts=sum(kept[: table.texts]))


def format_moment(seconds: float) -> str:
    """Format a time in UTC.

    >>> format_moment(1_700_000_000)
    '2023-11-14 22:13 UTC'
    """
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (ValueError, OverflowError, OSError):
        return f"{seconds:.0f} s after 1970"


def format_known_ratio(ratio: float | None) -> str:
    """Format a ratio, or show that it is unknown."""
    return UNKNOWN if ratio is None else format_ratio(ratio)


def format_known_size(size: int | None) -> str:
    """Format a size, or show that it is unknown."""
    return UNKNOWN if size is None else format_size(size)
