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

from bxcache.config.quantities import format_count, format_seconds, format_size
from bxcache.console.report import head, misses, sections, step_tables
from bxcache.console.report.charts import draw_sizes, draw_trend
from bxcache.console.report.markup import Markup, element, join, section
from bxcache.console.report.timeline import draw_shares, draw_timeline
from bxcache.console.tables import clean_log, clean_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bxcache.insight.record_parts import RecordedLayer
    from bxcache.insight.report import Report, ReportedCounts, ReportedStage, ReportedStep

_LEGEND = ("reused", "executed", "failed", "from", "critical", "around", "waiting")
_SIGNS = {"reused": "↺", "executed": "▶", "failed": "✕", "from": "◇", "unknown": "?"}


def render_page(report: Report) -> str:
    """Render the report as an HTML file."""
    style, script = _read("page.css"), _read("page.js")
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    words = f"{clean_text(report.scope.name)} {sections.summarize_build(report)}"
    return Template(_read("page.html")).substitute(
        policy=policy,
        title=element("title", words),
        style=style,
        script=script,
        patterns="".join(map(str.strip, _read("patterns.svg").splitlines())),
        head=_draw_head(report),
        main=element("main", *_list_sections(report)),
    )


@cache
def _read(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def _list_sections(report: Report) -> Iterator[Markup]:
    yield _draw_failures(report)
    if report.steps:
        yield section("Timeline", _draw_legend(), draw_timeline(report))
    if report.phases:
        phases = step_tables.tabulate_phases(report)
        yield section(phases.title, draw_shares(report), _draw_cells(phases))
    yield _draw_table(step_tables.tabulate_slowest(report))
    yield _draw_table(step_tables.tabulate_gains(report))
    unneeded = ", ".join(map(clean_text, sections.list_unneeded(report)))
    note = element("p", f"Not part of this build: {unneeded}") if unneeded else ""
    yield _draw_table(sections.tabulate_stages(report), note)
    yield _draw_table(misses.tabulate_misses(report))
    if report.bytes:
        yield section("Size of the layers", draw_sizes(report))
    yield _draw_table(step_tables.tabulate_largest(report))
    if len(report.trend) > 1:
        trend = sections.tabulate_trend(report)
        table = element("details", element("summary", "as a table"), _draw_cells(trend))
        yield section(trend.title, draw_trend(report), table)
    yield _draw_table(sections.tabulate_caches(report))
    yield _draw_steps(report)
    facts = (_draw_pair(name, clean_text(value)) for name, value in head.list_facts(report))
    yield section("Where and with what", element("dl", *facts, class_="facts"))


def _draw_head(report: Report) -> Markup:
    failed, refusals = bool(report.exit_status), sections.list_refusals(report)
    words = "✕ failed" if failed else "✕ built, gate failed" if refusals else "✓ built"
    badge = element("span", words, class_=f"badge {'failed' if failed or refusals else 'built'}")
    title = element("h1", badge, " ", clean_text(report.scope.name))
    end = f"{sections.summarize_build(report)}, {sections.format_moment(report.started)}"
    notes = [
        *(element("p", f"Failed: {clean_text(each)}", class_="failed") for each in refusals),
        *(element("p", f"Warning: {clean_text(each)}") for each in sections.list_warnings(report)),
        *(element("p", f"Advice: {each}") for each in misses.list_advice(report.advice)),
    ]
    shown = element("div", *notes, class_="warnings", role="note") if notes else ""
    texts = (
        *(end, sections.summarize_pushed(report)),
        *(head.summarize_compared(report), misses.summarize_misses(report)),
    )
    ends = [element("p", each) for each in texts if each]
    return element("header", title, _draw_origin(report), *ends, _draw_tiles(report), shown)


def _draw_origin(report: Report) -> Markup:
    """Draw what was built, and the link to the CI job, which may lead anywhere."""
    shown = [_draw_pair(name, clean_text(value)) for name, value in head.list_origin(report)]
    url, name = report.place.job_url, clean_text(report.place.provider) or "CI job"
    if url:
        shown.append(_draw_pair("CI job", element("a", name, href=url, rel="noreferrer")))
    return element("dl", *shown, class_="origin") if shown else Markup()


def _draw_tiles(report: Report) -> Markup:
    counts = report.counts
    saved = sections.show_saved(counts) or sections.UNKNOWN
    steps = format_count(counts.reused + counts.executed + counts.failed, "step")
    layers = {layer.digest for stage in report.stages for layer in stage.layers}
    stages = format_count(len(sections.list_needed(report)), "stage")
    tiles = (
        ("Time", format_seconds(report.seconds), f"{format_seconds(counts.spent)} of work"),
        ("Reused", sections.format_known_ratio(counts.hit_ratio), f"{counts.reused} of {steps}"),
        ("Saved", saved, _explain_unknown(counts)),
        ("Layers", sections.format_known_size(report.bytes), f"{len(layers)} in {stages}"),
    )
    drawn = (_draw_pair(name, element("b", value), " ", more) for name, value, more in tiles)
    return element("dl", *drawn, class_="tiles")


def _draw_pair(name: str, *value: str) -> Markup:
    return element("div", element("dt", name), element("dd", *value))


def _explain_unknown(counts: ReportedCounts) -> str:
    if not counts.reused:
        return "nothing was reused"
    known = f"by {format_count(counts.reused - counts.unknown, 'step')}"
    return f"{known}, unknown for {counts.unknown}" if counts.unknown else known


def _draw_legend() -> Markup:
    signs = (
        element("li", element("span", class_=f"key {kind}", aria_hidden="true"), words)
        for kind, words in ((kind, sections.name_outcome(kind)) for kind in _LEGEND)
    )
    return element("ul", *signs, class_="legend")


def _draw_table(table: sections.Table, *more: str) -> Markup:
    note = element("p", table.note) if table.note else ""
    return section(table.title, _draw_cells(table), note, *more) if table.rows else Markup()


def _draw_cells(table: sections.Table) -> Markup:
    kinds = [None if at < table.texts else "figure" for at in range(len(table.head))]
    head = (
        element("th", name, class_=kind, scope="col")
        for name, kind in zip(table.head, kinds, strict=True)
    )
    rows = (
        element("tr", *(_draw_cell(*each) for each in zip(row, kinds, strict=True)))
        for row in table.rows
    )
    cells = element("table", element("thead", element("tr", *head)), element("tbody", *rows))
    title = table.title
    return element("div", cells, class_="scroll", tabindex=0, role="region", aria_label=title)


def _draw_cell(cell: str, kind: str | None) -> Markup:
    shown = element("code", clean_text(cell)) if isinstance(cell, sections.Quoted) else cell
    return element("td", shown, class_=kind)


def _draw_failures(report: Report) -> Markup:
    blocks = [*map(_draw_failure, sections.list_failed(report))]
    return section("What failed", *blocks) if blocks else Markup()


def _draw_failure(step: ReportedStep) -> Markup:
    label = clean_text(sections.label_stage(step.stage, step.platforms))
    lines = f", {sections.show_lines(step)}" if step.lines else ""
    where = f" after {format_seconds(step.seconds)} in stage {label}{lines}"
    badge = element("span", "✕ failed", class_="badge failed")
    text = element("p", element("code", clean_text(step.text)))
    error = element("p", clean_text(step.error))
    return join(element("p", badge, where), text, error, _draw_log(step))


def _draw_steps(report: Report) -> Markup:
    """Draw the steps by stage; a step of several stages is drawn in the first."""
    known: set[int] = set()
    stages = [_draw_stage(report, stage, known) for stage in sections.list_needed(report)]
    return section("Steps", *stages, id="steps") if report.steps else Markup()


def _draw_stage(report: Report, stage: ReportedStage, known: set[int]) -> Markup:
    here = [at for at in stage.steps if at not in known]
    again = len(stage.steps) - len(here)
    known.update(here)
    base = element("small", f"FROM {clean_text(stage.base)}") if stage.base else ""
    name = element("h3", clean_text(stage.name) or sections.NO_STAGE, " ", base)
    more = "step is" if again == 1 else "steps are"
    note = element("p", f"{again} more {more} shown above.") if again else ""
    return element("div", name, *(_draw_step(at, report) for at in here), note)


def _draw_step(at: int, report: Report) -> Markup:
    step = report.steps[at]
    kind = sections.name_kind(step)
    took = format_seconds(step.seconds)
    if step.saved is not None:
        took = sections.format_saved(step.saved)
    summary = element(
        "summary",
        element("span", f"{_SIGNS[kind]} {sections.name_outcome(kind)}", class_=f"badge {kind}"),
        element("code", clean_text(step.text)),
        element("span", took, class_="took"),
    )
    opened = "" if kind == "failed" else None
    why = clean_text(misses.explain_step(report, at))
    content = (summary, _draw_step_facts(step, why), _draw_log(step))
    return element("details", *content, id=f"s{at}", class_="step", open=opened)


def _draw_step_facts(step: ReportedStep, why: str) -> Markup:
    facts = [
        ("Why", why),
        ("Dockerfile", f"line {', '.join(map(str, step.lines))}" if step.lines else ""),
        ("Platforms", ", ".join(map(clean_text, step.platforms))),
        ("Began after", format_seconds(step.began) if step.began is not None else ""),
        ("Ran before", format_seconds(step.ran) if step.ran is not None else ""),
        ("Fetched in", format_seconds(step.fetched) if step.fetched else ""),
        ("Critical path", _show_gain(step) if step.critical else ""),
        ("Printed", format_size(step.log_bytes) if step.log_bytes else ""),
        *(("Layer", _show_layer(layer)) for layer in step.layers),
        ("Error", clean_text(step.error)),
    ]
    shown = (join(element("dt", name), element("dd", value)) for name, value in facts if value)
    return element("dl", *shown)


def _show_gain(step: ReportedStep) -> str:
    shorter = f"; {format_seconds(step.gain)} shorter without its time" if step.gain else ""
    return f"the end of the build waited for it{shorter}"


def _show_layer(layer: RecordedLayer) -> str:
    return f"{layer.digest}, {format_size(layer.size) if layer.size else 'size unknown'}"


def _draw_log(step: ReportedStep) -> str:
    log = clean_log(step.log)
    return element("pre", log, tabindex=0, role="region", aria_label="log") if log else ""
