"""The tables of a report about its steps: the first and the slowest, their time, their layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bxcache.config.quantities import format_ratio, format_seconds, format_size
from bxcache.console.phases import measure_phases
from bxcache.console.report.sections import (
    NO_STAGE,
    Quoted,
    Table,
    drop_empty,
    label_stage,
    list_needed,
    show_lines,
    show_phase,
)
from bxcache.console.tables import cut_text

if TYPE_CHECKING:
    from bxcache.insight.report import Report

_LONGEST_STEP = 100
_MOST_LAYERS = 5
_MOST_FIRST = 5
_LEAST_SECONDS = 0.05
_HOW_FIRST = "Each step that builds on one of these was executed because of it."
_HOW_GAINS = (
    "On the critical path: each would have shortened the build by so much if it had been reused."
)


def tabulate_first(report: Report) -> Table:
    """Tabulate the first executed step of each stage, if the build reused others."""
    found = dict.fromkeys(each.first_executed for each in list_needed(report))
    first = [report.steps[at] for at in found if at is not None and report.counts.reused]
    rows = [
        (
            Quoted(label_stage(step.stage, step.platforms)) if step.stage else NO_STAGE,
            Quoted(cut_text(step.text, _LONGEST_STEP)),
            show_lines(step),
        )
        for step in first[:_MOST_FIRST]
    ]
    head = ("Stage", "Step", "Line")
    return drop_empty(Table("First executed steps", head, rows, 3, _HOW_FIRST))


def tabulate_slowest(report: Report) -> Table:
    """Tabulate the slowest steps."""
    rows = [
        (
            Quoted(cut_text(step.text, _LONGEST_STEP)),
            Quoted(label_stage(step.stage, step.platforms)),
            step.outcome or "",
            format_seconds(step.seconds),
        )
        for step in (report.steps[at] for at in report.slowest)
    ]
    return Table("Slowest steps", ("Step", "Stage", "Outcome", "Time"), rows, 3)


def tabulate_phases(report: Report) -> Table:
    """Tabulate what the time was spent on, longest first."""
    whole = measure_phases(report.phases)
    rows = [
        (
            show_phase(each.name),
            format_seconds(each.seconds),
            format_ratio(each.seconds / whole),
            format_size(each.bytes) if each.bytes else "",
        )
        for each in sorted(report.phases, key=lambda each: -each.seconds)
        if each.seconds >= _LEAST_SECONDS
    ]
    return drop_empty(Table("Time by phase", ("Phase", "Time", "Share", "Moved"), rows))


def tabulate_gains(report: Report) -> Table:
    """Tabulate the steps whose reuse would have shortened the build most."""
    rows = [
        (
            Quoted(cut_text(step.text, _LONGEST_STEP)),
            Quoted(label_stage(step.stage, step.platforms)),
            format_seconds(step.seconds),
            format_seconds(step.gain),
        )
        for step in (report.steps[at] for at in report.gains)
    ]
    head = ("Step", "Stage", "Took", "Shorter by")
    return Table("Steps to cache first", head, rows, 2, _HOW_GAINS)


def tabulate_largest(report: Report) -> Table:
    """Tabulate the largest layers of a build with several, as far as their sizes are known."""
    layers = [
        (layer.size, report.steps[layer.step], stage.name)
        for stage in report.stages
        for layer in stage.layers
        if layer.size and not layer.shared
    ]
    whole = sum(size for size, _, _ in layers)
    largest = sorted(layers, key=lambda each: -each[0])[:_MOST_LAYERS] if len(layers) > 1 else []
    rows = [
        (
            Quoted(cut_text(step.text, _LONGEST_STEP)),
            Quoted(label_stage(stage, step.platforms)) if stage else NO_STAGE,
            format_size(size),
            format_ratio(size / whole),
        )
        for size, step, stage in largest
    ]
    return Table("Largest layers", ("Step", "Stage", "Size", "Share"), rows, 2)
