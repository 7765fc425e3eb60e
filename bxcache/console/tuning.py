"""Renders what caching each stage was worth, and what to set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bxcache.config.quantities import format_count, format_seconds, format_size
from bxcache.console.report.misses import advise_cause, describe_changes
from bxcache.console.tables import clean_text, render_table, show_text
from bxcache.insight.tuning import LEAST_BUILDS, Worth

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bxcache.insight.tuning import StageTuning, Tuning

_NO_SETTING = (
    "no setting executes this stage alone, since it has no name or other stages are built on it"
)
_SAVED_AGAIN = "a build that executes them and saves its cache saves these layers again"
_HEAD = ("STAGE", "WORTH IT", "BUILDS", "REUSED", "EXECUTED", "SAVED", "MOVED")


def render_tuning(tuning: Tuning) -> str:
    """Render a line for each stage, and below them the reasons and what to set."""
    if not tuning.stages:
        return f"no build of {show_text(tuning.scope) or 'the scope'} has a record of its stages"
    rows = [_list_cells(each) for each in tuning.stages]
    count = format_count(tuning.builds, "build")
    lines = [f"{show_text(tuning.scope)}: {count} recorded", render_table(_HEAD, rows, texts=2)]
    lines += [line for each in tuning.stages for line in _advise(each)]
    if tuning.setting:
        setting = f"`{show_text(tuning.setting)}` in `[build]`"
        lines.append(f"{setting} executes such stages in each build; add to what is set there")
    return "\n".join(lines)


def _list_cells(stage: StageTuning) -> tuple[str, ...]:
    moved = "?" if stage.moved_bytes is None else format_size(stage.moved_bytes)
    counts = (str(each) for each in (stage.builds, stage.reused, stage.executed))
    return (show_text(stage.stage) or "the only stage", stage.worth, *counts, _show(stage), moved)


def _show(stage: StageTuning) -> str:
    known = f"{'-' * (stage.saved < 0)}{format_seconds(abs(stage.saved))}"
    return f"{known} + ?" if stage.unknown else known


def _advise(stage: StageTuning) -> Iterator[str]:
    name = show_text(stage.stage) or "the only stage"
    if stage.worth is Worth.NO:
        longer = format_seconds(-stage.saved)
        way = f"{_SAVED_AGAIN}{_show_size(stage)}" if stage.separable else _NO_SETTING
        yield f"{name}: fetching its layers took {longer} longer than executing its steps; {way}"
    elif stage.worth is Worth.NEVER:
        yield f"{name}: not reused in {format_count(stage.builds, 'build')}{_explain(stage)}"
    elif stage.worth is Worth.UNKNOWN:
        few = f"fewer than {LEAST_BUILDS} builds had a cache to reuse it from"
        unknown = f"no record has the time of {format_count(stage.unknown, 'reused step')}"
        yield f"{name}: unknown: {few if stage.builds < LEAST_BUILDS else unknown}"


def _show_size(stage: StageTuning) -> str:
    return "" if stage.layer_bytes is None else f" ({format_size(stage.layer_bytes)})"


def _explain(stage: StageTuning) -> str:
    blocker = stage.blocker
    if blocker is None:
        return ", for different reasons; `bxcache explain` has those of each build"
    what = clean_text(describe_changes([blocker.change]))
    other = f" in the stage {show_text(blocker.stage)}" if blocker.stage != stage.stage else ""
    advice = advise_cause(blocker.change.cause)
    return f": each time, {what}{other}{f'; {advice}' if advice else ''}"
