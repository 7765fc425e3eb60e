"""The result of a build as a summary for people."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from bxcache.buildx.stream.events import Outcome
from bxcache.config.quantities import (
    format_count,
    format_ratio,
    format_seconds,
    format_size,
)
from bxcache.console.phases import summarize_phases
from bxcache.console.progress import paint
from bxcache.console.report.misses import list_advice, list_misses
from bxcache.console.report.plain import render_rows
from bxcache.console.report.sections import (
    label_stage,
    show_outcomes,
    show_saved,
    summarize_pushed,
    summarize_saved,
    tabulate_work,
)
from bxcache.console.tables import clean_text, cut_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bxcache.backends.cache_result import CacheResult
    from bxcache.insight.report import Report, ReportedStep
    from bxcache.pipeline.result import BuildResult

_MOST_SLOWEST = 3
_LONGEST = 60
_LEAST_SECONDS = 1.0
"""A shorter build is not worth a line about its time."""


def render_summary(result: BuildResult, *, colored: bool = False) -> str:
    """Render the summary; the last two lines are the totals."""
    blocks = [*_list_blocks(result.report)] if result.report is not None else []
    if result.record is not None:
        blocks += list_misses(result.record)
        blocks += (f"advice: {each}" for each in list_advice(result.record.advice))
    if result.phases and result.seconds >= _LEAST_SECONDS:
        blocks.append(f"time: {summarize_phases(result.phases)}")
    return "\n".join([*blocks, render_totals(result, colored=colored)])


def render_totals(result: BuildResult, *, colored: bool = False) -> str:
    """Render two lines: the steps' outcomes, and the saved caches."""
    return f"{_render_steps(result, colored=colored)}\n{_render_saved(result)}"


def _list_blocks(report: Report) -> Iterator[str]:
    table = tabulate_work(report)
    if len(table.rows) > 1:
        yield render_rows(table)
    slowest = [report.steps[at] for at in report.slowest[:_MOST_SLOWEST]]
    if len(slowest) > 1:
        yield from map(_render_slow, slowest, ("slowest", *[""] * _MOST_SLOWEST))
    names = [_name_warning(each) for each in report.build_warnings]
    if names:
        count = format_count(len(names), "warning")
        yield f"{count} from BuildKit, see above: {', '.join(names)}"
    yield from filter(None, [summarize_pushed(report)])


def _render_slow(step: ReportedStep, head: str) -> str:
    """Render a step like a line of progress."""
    label = label_stage(step.stage, step.platforms)
    words = clean_text(cut_text(f"[{label}] {step.text}", _LONGEST))
    return f"{head:<8} {format_seconds(step.seconds):>8} {words}"


def _name_warning(text: str) -> str:
    """Name a warning by its check, if it has one.

    https://docs.docker.com/reference/build-checks/
    """
    name, colon, _ = text.partition(": ")
    return clean_text(name if colon and name.isalnum() else cut_text(text, _LONGEST))


def _render_steps(result: BuildResult, *, colored: bool) -> str:
    steps = format_count(len(result.steps), "step")
    outcomes = show_outcomes(Counter(step.outcome for step in result.steps))
    if result.hit_ratio is not None:
        share = format_ratio(result.hit_ratio)
        shown = paint(share, "cyan") if colored else share
        outcomes = outcomes.replace(Outcome.REUSED, f"{Outcome.REUSED} ({shown})", 1)
    took = format_seconds(result.seconds)
    amounts = _list_amounts(result.report) if result.report is not None else ()
    return ", ".join([f"{steps}: {outcomes}", f"in {took}", *amounts])


def _list_amounts(report: Report) -> Iterator[str]:
    if show_saved(report.counts) is not None:
        yield from filter(None, [summarize_saved(report.counts)])
    if report.pulled_bytes:
        yield f"{format_size(report.pulled_bytes)} fetched"
    if report.sent_bytes:
        yield f"{format_size(report.sent_bytes)} of context sent"


def _render_saved(result: BuildResult) -> str:
    if result.exit_status:
        return _render_salvaged(result)
    known = [cache for cache in result.caches if cache.is_kept]
    saved = [_render_cache(cache) for cache in known if not cache.unchanged]
    parts = [f"saved {'; '.join(saved)}"] if saved else []
    parts += [f"nothing new for {_render_same(cache)}" for cache in known if cache.unchanged]
    why = f": {clean_text(result.why_unsaved)}" if result.why_unsaved else ""
    return "; ".join(parts) or f"nothing saved{why}"


def _render_salvaged(result: BuildResult) -> str:
    """Render what was saved of a failed build: the next build starts from it."""
    saved = [cache for cache in result.caches if cache.salvaged]
    if not saved:
        why = f"; its finished steps are not saved: {result.why_unsaved}"
        unchanged = "nothing saved: the build failed; the caches are unchanged"
        return f"{unchanged}{clean_text(why) * bool(result.why_unsaved)}"
    steps = format_count(max(cache.salvaged for cache in saved), "finished step")
    places = (f"{each.where} in {format_seconds(each.seconds or 0)}" for each in saved)
    return f"{steps} saved to {' and '.join(places)}; the next build starts from there"


def _render_cache(cache: CacheResult) -> str:
    how = " without an upload" if cache.aliased else ""
    news = "" if cache.new_bytes is None else f"{format_size(cache.new_bytes)} new"
    more = "; ".join(filter(None, (news, _render_budget(cache))))
    return f"{_render_amount(cache)}to {cache.where}{how}{f' ({more})' * bool(more)}"


def _render_same(cache: CacheResult) -> str:
    budget = _render_budget(cache)
    more = "; ".join(filter(None, (_render_amount(cache).rstrip(), budget))) if budget else ""
    return f"{cache.where}{f' ({more})' * bool(more)}"


def _render_amount(cache: CacheResult) -> str:
    size = "" if cache.bytes is None else f"{format_size(cache.bytes)} "
    layers = "" if cache.layers is None else f"in {format_count(cache.layers, 'layer')} "
    return f"{size}{layers}"


def _render_budget(cache: CacheResult) -> str:
    if cache.store_bytes is None:
        return ""
    budget = "" if cache.store_budget is None else f" of {format_size(cache.store_budget)}"
    return f"the store has {format_size(cache.store_bytes)}{budget}"
