"""A report as plain lines for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bxcache.console.report import head, misses, sections, step_tables
from bxcache.console.report.sections import Quoted, format_moment
from bxcache.console.tables import clean_text, render_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bxcache.insight.report import Report, ReportedStep

_INDENT = "  "


def render_plain(report: Report) -> str:
    """Render the report as blocks separated by empty lines."""
    return "\n\n".join(_list_blocks(report))


def _list_blocks(report: Report) -> Iterator[str]:
    end, started = sections.summarize_build(report), format_moment(report.started)
    totals = (sections.summarize_counts(report.counts), sections.summarize_saved(report.counts))
    lines = [
        f"{clean_text(report.scope.name)}: {end}, {started}",
        "; ".join(filter(None, totals)),
        *filter(None, [sections.summarize_pushed(report)]),
        *filter(None, [_render_origin(report)]),
        *([f"CI job: {clean_text(report.place.job_url)}"] if report.place.job_url else []),
        *filter(None, [head.summarize_compared(report), misses.summarize_misses(report)]),
        *(f"advice: {each}" for each in misses.list_advice(report.advice)),
        *(f"failed: {clean_text(refusal)}" for refusal in sections.list_refusals(report)),
        *(f"warning: {clean_text(warning)}" for warning in sections.list_warnings(report)),
    ]
    yield "\n".join(lines)
    yield from map(_render_failed, sections.list_failed(report))
    tables = (
        sections.tabulate_stages(report),
        misses.tabulate_misses(report),
        step_tables.tabulate_phases(report),
        step_tables.tabulate_slowest(report),
        step_tables.tabulate_gains(report),
        step_tables.tabulate_largest(report),
        sections.tabulate_caches(report),
        sections.tabulate_trend(report),
    )
    yield from (_render_table(table) for table in tables if table.rows)
    unneeded = ", ".join(map(clean_text, sections.list_unneeded(report)))
    if unneeded:
        yield f"not part of this build: {unneeded}"


def _render_origin(report: Report) -> str:
    shown = head.list_origin(report)
    return ", ".join(f"{name.lower()} {clean_text(value)}" for name, value in shown)


def _render_failed(step: ReportedStep) -> str:
    lines = sections.explain_failure(step).split("\n")
    label = clean_text(sections.label_stage(step.stage, step.platforms))
    where = ", ".join(filter(None, (label, sections.show_lines(step))))
    return "\n".join([f"failed in {where}: {clean_text(step.text)}", *map(_indent, lines)])


def _render_table(table: sections.Table) -> str:
    return "\n".join([table.title.lower(), *map(_indent, render_rows(table).splitlines())])


def render_rows(table: sections.Table) -> str:
    """Render a table as plain lines, without its title and with its note at the end."""
    rows = [
        [clean_text(cell) if isinstance(cell, Quoted) else cell for cell in row]
        for row in table.rows
    ]
    shown = render_table([name.upper() for name in table.head], rows, table.texts)
    return f"{shown}\n{table.note}" if table.note else shown


def _indent(line: str) -> str:
    return f"{_INDENT}{line}".rstrip()
