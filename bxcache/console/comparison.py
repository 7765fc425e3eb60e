"""Renders `bxcache diff`: two builds side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bxcache.config.quantities import format_count, format_size
from bxcache.console.history import INDENT, WIDTH, show_age
from bxcache.console.report.misses import describe_changes
from bxcache.console.tables import cut_text, render_table, show_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from bxcache.insight.difference import Difference, StageDifference
    from bxcache.insight.history import History
    from bxcache.insight.record_misses import RecordedChange

_MOST_FILES = 20


def render_difference(difference: Difference, *, full: bool) -> str:
    """Render both builds, their stages, and the steps whose layers differ."""
    stages = difference.stages
    lines = [f"{_name_build(difference.before)} -> {_name_build(difference.after)}"]
    lines += ["", _render_stages(stages)] if stages else []
    for each in stages:
        if each.state == "changed":
            lines += ["", f"{show_text(each.name)}:", *_render_changes(each, full=full)]
    if difference.files:
        lines += ["", "files:", *_render_files(difference.files, full=full)]
    return "\n".join([*lines, "", *_list_totals(difference)])


def _name_build(history: History) -> str:
    scope = show_text(history.scope)
    return f"{scope}, {show_age(history.record)}" if history.record is not None else scope


def _render_stages(differences: Iterable[StageDifference]) -> str:
    rows = [
        (
            show_text(each.name),
            " -> ".join(str(len(s.layers) if s else 0) for s in (each.before, each.after)),
            format_size(each.gone_bytes) if each.gone else "",
            format_size(each.new_bytes) if each.new else "",
            each.state,
        )
        for each in differences
    ]
    return render_table(("STAGE", "LAYERS", "GONE", "NEW", ""), rows)


def _render_changes(difference: StageDifference, *, full: bool) -> Iterator[str]:
    changes = difference.list_changes()
    width = max((len(format_size(size)) for _, size, _ in changes), default=0)
    for sign, size, text in changes:
        line = f"{INDENT}{sign} {format_size(size):>{width}}  {show_text(text)}"
        yield line if full else cut_text(line, WIDTH)


def _render_files(files: Sequence[RecordedChange], *, full: bool) -> Iterator[str]:
    for each in files if full else files[:_MOST_FILES]:
        yield f"{INDENT}{show_text(describe_changes([each]))}"
    left = 0 if full else len(files) - _MOST_FILES
    if left > 0:
        yield f"{INDENT}{format_count(left, 'more file')}"


def _list_totals(difference: Difference) -> Iterator[str]:
    if not difference.stages:
        yield "the builds reported no stages"
    elif difference.is_same:
        yield "no layers differ"
    else:
        gone, new, kept = map(format_size, difference.measure())
        yield f"in all {gone} gone, {new} new, {kept} in both; shared layers counted once"
    unknown = sum(each.unknown_steps for each in difference.stages)
    if unknown:
        yield f"the layers of {format_count(unknown, 'step')} are unknown and not compared"
