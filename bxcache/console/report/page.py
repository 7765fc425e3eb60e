"""A report as one self-contained HTML page, readable without network or scripts.

The page has everything as text, tables and drawings; its script adds keyboard control, tooltips and
a filter. Its policy allows only that script and that style.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING

from bxcache.config.quantities import format_count
from bxcache.console.progress import format_seconds
from bxcache.console.report.charts import draw_patterns, draw_sizes, draw_trend
from bxcache.console.report.details import draw_failed, draw_steps
from bxcache.console.report.markup import Markup, element, join
from bxcache.console.report.sections import (
    Table,
    is_refused,
    list_facts,
    list_needed,
    list_refusals,
    list_unneeded,
    list_warnings,
    summarize_build,
    tabulate_caches,
    tabulate_slowest,
    tabulate_stages,
    tabulate_trend,
)
from bxcache.console.report.texts import (
    UNKNOWN,
    Quoted,
    clean_text,
    format_known_ratio,
    format_known_size,
    format_moment,
)
from bxcache.console.report.timeline import draw_timeline

if TYPE_CHECKING:
    from bxcache.insight.report import Report, ReportedCounts

_LEGEND = (
    ("reused", "reused"),
    ("executed", "executed"),
    ("failed", "failed"),
    ("from", "base image"),
    ("waiting", "waiting"),
)


def render_page(report: Report) -> str:
    """Render the report as an HTML file."""
    style, script = _read("page.css"), _read("page.js")
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    title = element("title", f"{clean_text(report.scope.name)} {summarize_build(report)}")
    return Template(_read("page.html")).substitute(
        policy=policy, title=title, style=style, script=script, body=_draw_body(report)
    )


@cache
def _read(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def _draw_body(report: Report) -> Markup:
    return join(
        draw_patterns(),
        _draw_head(report),
        element("main", *_list_sections(report)),
        element("div", id="tip", hidden="", role="status"),
    )


def _list_sections(report: Report) -> list[Markup]:
    sections = [draw_failed(report)]
    if report.steps:
        sections.append(_draw_section("Timeline", _draw_legend(), draw_timeline(report)))
    sections += [
        _draw_table(tabulate_slowest(report)),
        _draw_table(tabulate_stages(report), _draw_unneeded(report)),
    ]
    if report.bytes:
        sections.append(_draw_section("Size of the layers", draw_sizes(report)))
    if len(report.trend) > 1:
        trend = tabulate_trend(report)
        sections.append(_draw_section(trend.title, draw_trend(report), _fold(trend)))
    sections += [_draw_table(tabulate_caches(report)), draw_steps(report), _draw_facts(report)]
    return sections


def _draw_head(report: Report) -> Markup:
    failed, refused = bool(report.exit_status), is_refused(report)
    words = "✕ failed" if failed else "✕ built, gate failed" if refused else "✓ built"
    badge = element("span", words, class_=f"badge {'failed' if failed or refused else 'built'}")
    started = element("p", f"{summarize_build(report)}, {format_moment(report.started)}")
    notes = [
        *(
            element("p", f"Failed: {clean_text(each)}", class_="failed")
            for each in list_refusals(report)
        ),
        *(element("p", f"Warning: {clean_text(each)}") for each in list_warnings(report)),
    ]
    shown = [element("div", *notes, class_="warnings", role="note")] if notes else []
    title = element("h1", badge, " ", clean_text(report.scope.name))
    return element("header", title, started, _draw_tiles(report), *shown)


def _draw_tiles(report: Report) -> Markup:
    counts = report.counts
    saved = format_seconds(counts.saved) if counts.reused > counts.unknown else UNKNOWN
    steps = format_count(counts.reused + counts.executed + counts.failed, "step")
    layers = {layer.digest for stage in report.stages for layer in stage.layers}
    stages = format_count(len(list_needed(report)), "stage")
    tiles = (
        ("Time", format_seconds(report.seconds), f"{format_seconds(counts.spent)} of work"),
        ("Reused", format_known_ratio(counts.hit_ratio), f"{counts.reused} of {steps}"),
        ("Saved", saved, _explain_unknown(counts)),
        ("Layers", format_known_size(report.bytes), f"{len(layers)} in {stages}"),
    )
    drawn = (
        element("div", element("dt", name), element("dd", element("b", value), " ", more))
        for name, value, more in tiles
    )
    return element("dl", *drawn, class_="tiles")


def _explain_unknown(counts: ReportedCounts) -> str:
    if not counts.reused:
        return "nothing was reused"
    known = f"by {format_count(counts.reused - counts.unknown, 'step')}"
    return f"{known}, unknown for {counts.unknown}" if counts.unknown else known


def _draw_section(title: str, *content: Markup, **attributes: str) -> Markup:
    return element("section", element("h2", title), *content, **attributes)


def _draw_legend() -> Markup:
    signs = (
        element("li", element("span", class_=f"key {name}", aria_hidden="true"), text)
        for name, text in _LEGEND
    )
    return element("ul", *signs, class_="legend")


def _draw_table(table: Table, *more: Markup) -> Markup:
    note = [element("p", table.note)] if table.note else []
    return _draw_section(table.title, _draw_cells(table), *note, *more) if table.rows else Markup()


def _fold(table: Table) -> Markup:
    return element("details", element("summary", "as a table"), _draw_cells(table))


def _draw_cells(table: Table) -> Markup:
    kinds = [None if at < table.texts else "figure" for at in range(len(table.head))]
    head = (
        element("th", name, class_=kind, scope="col")
        for name, kind in zip(table.head, kinds, strict=True)
    )
    rows = (
        element(
            "tr",
            *(
                element("td", _draw_cell(cell), class_=kind)
                for cell, kind in zip(row, kinds, strict=True)
            ),
        )
        for row in table.rows
    )
    return element(
        "div",
        element("table", element("thead", element("tr", *head)), element("tbody", *rows)),
        class_="scroll",
        tabindex=0,
        role="region",
        aria_label=table.title,
    )


def _draw_cell(cell: str) -> str:
    return element("code", clean_text(cell)) if isinstance(cell, Quoted) else cell


def _draw_unneeded(report: Report) -> Markup:
    names = ", ".join(map(clean_text, list_unneeded(report)))
    return element("p", f"Not part of this build: {names}") if names else Markup()


def _draw_facts(report: Report) -> Markup:
    facts = (
        element("div", element("dt", name), element("dd", clean_text(value)))
        for name, value in list_facts(report)
    )
    images = (
        element("div", element("dt", "Base image"), element("dd", _name_image(*each)))
        for each in ((image.name, image.digest) for image in report.images)
    )
    return _draw_section("Where and with what", element("dl", *facts, *images, class_="facts"))


def _name_image(name: str, digest: str | None) -> str:
    return clean_text(f"{name}@{digest}" if digest else name)
