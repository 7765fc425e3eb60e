"""A report as plain lines for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bxcache.console.report.sections import (
    Table,
    explain_failure,
    label_stage,
    list_failed,
    list_refusals,
    list_unneeded,
    list_warnings,
    summarize_build,
    summarize_counts,
    summarize_saved,
    tabulate_caches,
    tabulate_slowest,
    tabulate_stages,
    tabulate_trend,
)
from bxcache.console.report.texts import Quoted, clean_text, format_moment
from bxcache.console.tables import render_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bxcache.insight.record import ReportedStep
    from bxcache.insight.report import Report

_INDENT = "  "


def render_plain(report: Report) -> str:
    """Render the report as blocks separated by empty lines."""
    return "\n\n".join(_list_blocks(report))


def _list_blocks(report: Report) -> Iterator[str]:
    started = format_moment(report.started)
    lines = [
        f"{clean_text(report.scope.name)}: {summarize_build(report)}, {started}",
        "; ".join(filter(None, (summarize_counts(report.counts), summarize_saved(report.counts)))),
        *(f"failed: {clean_text(refusal)}" for refusal in list_refusals(report)),
        *(f"warning: {clean_text(warning)}" for warning in list_warnings(report)),
    ]
    yield "\n".join(lines)
    yield from (_render_failed(report.steps[at]) for at in list_failed(report))
    tables = (tabulate_stages, tabulate_slowest, tabulate_caches, tabulate_trend)
    yield from (_render_table(table) for table in (each(report) for each in tables) if table.rows)
    unneeded = ", ".join(map(clean_text, list_unneeded(report)))
    if unneeded:
        yield f"not part of this build: {unneeded}"


def _render_failed(step: ReportedStep) -> str:
    lines = explain_failure(step).split("\n")
    label = clean_text(label_stage(step.stage, step.platforms))
    return "\n".join([f"failed in {label}: {clean_text(step.text)}", *map(_indent, lines)])


def _render_table(table: Table) -> str:
    return "\n".join([table.title.lower(), *map(_indent, render_rows(table).splitlines())])


def render_rows(table: Table) -> str:
    """Render a table as plain lines, without its title and with its note at the end."""
    rows = [
        [clean_text(cell) if isinstance(cell, Quoted) else cell for cell in row]
        for row in table.rows
    ]
    shown = render_table([name.upper() for name in table.head], rows, table.texts)
    return f"{shown}\n{table.note}" if table.note else shown


def _indent(line: str) -> str:
    return f"{_INDENT}{line}".rstrip()
