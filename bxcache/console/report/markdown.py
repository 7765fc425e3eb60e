"""A report as Markdown, short enough for the summary page of a CI job.

Foreign text appears only in code spans and code blocks, where markup has no effect, each with a
fence longer than any in its text.
"""

from __future__ import annotations

import re
from html import escape
from typing import TYPE_CHECKING

from bxcache.config.quantities import format_seconds
from bxcache.console.report import head, misses, sections, step_tables
from bxcache.console.report.sections import UNKNOWN, Quoted
from bxcache.console.tables import clean_text, cut_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bxcache.insight.report import Report, ReportedStep

_MOST_ROWS = 50
_MOST_FAILED = 5
_LONGEST = 300


def render_markdown(report: Report) -> str:
    """Render the report as blocks separated by empty lines."""
    return "\n\n".join(_list_blocks(report)) + "\n"


def _list_blocks(report: Report) -> Iterator[str]:
    refusals = sections.list_refusals(report)
    mark = "❌" if report.exit_status or refusals else "✅"
    yield f"### {mark} {quote(report.scope.name)} {sections.summarize_build(report)}"
    counts = f"**{sections.summarize_counts(report.counts)}**"
    yield "; ".join(filter(None, (counts, sections.summarize_saved(report.counts))))
    yield from filter(None, [sections.summarize_pushed(report, quote)])
    yield from filter(None, [_render_origin(report), head.summarize_compared(report, quote)])
    yield from filter(None, [misses.summarize_misses(report, quote)])
    yield from (f"💡 {quote(each)}" for each in misses.list_advice(report.advice))
    yield from (f"❌ {quote(refusal)}" for refusal in refusals[:_MOST_ROWS])
    yield from (f"⚠️ {quote(each)}" for each in sections.list_warnings(report)[:_MOST_ROWS])
    yield from map(_render_failed, sections.list_failed(report)[:_MOST_FAILED])
    yield from _render_tables(sections.tabulate_stages(report))
    unneeded = ", ".join(map(quote, sections.list_unneeded(report)[:_MOST_ROWS]))
    if unneeded:
        yield f"Not part of this build: {unneeded}"
    yield from _render_tables(misses.tabulate_misses(report))
    yield from _render_tables(step_tables.tabulate_phases(report))
    yield from _render_tables(step_tables.tabulate_slowest(report))
    yield from _render_tables(step_tables.tabulate_gains(report))
    yield from _render_tables(step_tables.tabulate_largest(report))
    yield from _render_tables(sections.tabulate_caches(report))
    if len(report.trend) > 1:
        trend = sections.tabulate_trend(report)
        yield f"<details><summary>{trend.title}</summary>"
        yield _render_table(trend)
        yield "</details>"


def _render_origin(report: Report) -> str:
    shown = [f"{name.lower()} {quote(value)}" for name, value in head.list_origin(report)]
    # Angle brackets allow every sign of a URL but themselves and line ends, which it cannot have.
    url = report.place.job_url
    return ", ".join([*shown, *([f"[CI job](<{escape(url)}>)"] if url else [])])


def _render_tables(table: sections.Table) -> Iterator[str]:
    """Render a table, if it has rows."""
    if table.rows:
        yield f"**{table.title}**"
        yield _render_table(table)
        left = len(table.rows) - _MOST_ROWS
        if left > 0:
            yield f"… and {left} more"
        if table.note:
            yield table.note


def _render_table(table: sections.Table) -> str:
    rule = ["---" if at < table.texts else "--:" for at in range(len(table.head))]
    rows = [map(_render_cell, row) for row in table.rows[:_MOST_ROWS]]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (table.head, rule, *rows))


def _render_cell(cell: str) -> str:
    # In a table, a bar separates cells even within a code span.
    return quote(cell).replace("|", r"\|") if isinstance(cell, Quoted) else cell


def quote(text: str) -> str:
    r"""Render a text as a code span.

    >>> quote("RUN `x`"), quote("a\nb")
    ('`` RUN `x` ``', '`a\\nb`')
    """
    shown = cut_text(clean_text(text), _LONGEST)
    if not shown.strip():
        return UNKNOWN
    fence = "`" * (_longest_run("`", shown) + 1)
    pad = " " if shown[0] in "` " or shown[-1] in "` " else ""
    return f"{fence}{pad}{shown}{pad}{fence}"


def _longest_run(sign: str, text: str) -> int:
    return max(map(len, re.findall(f"{re.escape(sign)}+", text)), default=0)


def _render_failed(step: ReportedStep) -> str:
    """Render a failed step, with the end of its log folded."""
    texts = (sections.label_stage(step.stage, step.platforms), step.text)
    label, name = (escape(cut_text(clean_text(each), _LONGEST)) for each in texts)
    took = f"failed after {format_seconds(step.seconds)}"
    where = ", ".join(filter(None, (f"<code>{label}</code>", sections.show_lines(step))))
    summary = f"{took} in {where}: <code>{name}</code>"
    log = sections.explain_failure(step)
    fence = "~" * max(3, _longest_run("~", log) + 1)
    block = f"{fence}text\n{log}\n{fence}"
    return f"<details open><summary>{summary}</summary>\n\n{block}\n\n</details>"
