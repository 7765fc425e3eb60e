"""The result of a build: a summary for people, and a document for scripts."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from bxcache.config.quantities import format_count, format_size
from bxcache.console.progress import format_seconds
from bxcache.console.report.plain import render_rows
from bxcache.console.report.sections import (
    label_stage,
    show_outcomes,
    show_saved,
    tabulate_work,
)
from bxcache.console.tables import VERSION, clean_text, cut_text, pick

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bxcache.backends.cache_result import CacheResult
    from bxcache.buildx.metadata import Layer
    from bxcache.insight.history import Stage
    from bxcache.insight.record import RecordedLayer, ReportedStep
    from bxcache.insight.report import Report
    from bxcache.pipeline.result import BuildResult, Step

_MOST_SLOWEST = 3
_LONGEST = 60
_CACHE = (
    *("backend", "place", "scope", "digest", "bytes", "new_bytes", "layers"),
    *("imported", "exported", "unchanged", "aliased", "seconds"),
    *("store_bytes", "store_budget", "freed_bytes"),
)


def render_summary(result: BuildResult) -> str:
    """Render the summary; the last two lines are the totals."""
    blocks = _list_blocks(result.report) if result.report is not None else ()
    return "\n".join([*blocks, render_totals(result)])


def render_totals(result: BuildResult) -> str:
    """Render two lines: the steps' outcomes, and the saved caches."""
    return f"{_render_steps(result)}\n{_render_saved(result)}"


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


def _render_steps(result: BuildResult) -> str:
    steps = format_count(len(result.steps), "step")
    outcomes = show_outcomes(Counter(step.outcome for step in result.steps))
    took = format_seconds(result.seconds)
    amounts = _list_amounts(result.report) if result.report is not None else ()
    return ", ".join([f"{steps}: {outcomes}", f"in {took}", *amounts])


def _list_amounts(report: Report) -> Iterator[str]:
    saved = show_saved(report.counts)
    if saved is not None:
        yield f"{saved} saved"
    if report.pulled_bytes:
        yield f"{format_size(report.pulled_bytes)} fetched"
    if report.sent_bytes:
        yield f"{format_size(report.sent_bytes)} sent"


def _render_saved(result: BuildResult) -> str:
    if result.exit_status:
        return "nothing saved: the build failed; the caches are unchanged"
    known = [cache for cache in result.caches if cache.exported or cache.aliased or cache.unchanged]
    # A cache without layers was evicted at once, and a warning names the size that it needs.
    saved = [_render_cache(cache) for cache in known if not cache.unchanged and cache.layers != 0]
    parts = [f"saved {'; '.join(saved)}"] if saved else []
    parts += [f"nothing new for {_render_same(cache)}" for cache in known if cache.unchanged]
    return "; ".join(parts) or "nothing saved"


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


def describe_result(result: BuildResult) -> dict[str, Any]:
    """Return the document of a build. Keys are added, never renamed.

    Sizes are bytes, times are seconds.
    """
    return {
        "version": VERSION,
        "exit_status": result.exit_status,
        "image": {"tags": list(result.tags), "digest": result.digest},
        "steps": [_describe_step(step) for step in result.steps],
        "stages": [_describe_stage(stage) for stage in result.stages.values()],
        "counts": pick(result, "reused", "executed", "failed"),
        "caches": [pick(cache, *_CACHE) for cache in result.caches],
        "warnings": list(result.warnings),
        **(_describe_amounts(result.report) if result.report is not None else {}),
        "gates": [pick(each, "gate", "reason", "fails") for each in result.gates],
        "seconds": result.seconds,
    }


def _describe_amounts(report: Report) -> dict[str, Any]:
    counts = report.counts
    is_known = not counts.reused or counts.reused > counts.unknown
    return {
        "build_warnings": list(report.build_warnings),
        "saved_seconds": counts.saved if is_known else None,
        **pick(report, "pulled_bytes", "sent_bytes"),
    }


def describe_layers(layers: Iterable[Layer | RecordedLayer]) -> list[dict[str, Any]]:
    """Describe layers by digest and size in bytes."""
    return [{"digest": layer.digest, "bytes": layer.size} for layer in layers]


def _describe_step(step: Step) -> dict[str, Any]:
    known = pick(step, "stage", "text", "line", "outcome", "seconds")
    layers = describe_layers(step.layers)
    return {**known, "layers": layers, "platform": step.platform, "error": step.error or ""}


def _describe_stage(stage: Stage) -> dict[str, Any]:
    known = pick(stage, "name", "line", "base", "needed")
    return {**known, "layers": describe_layers(stage.layers)}
