"""The details of each step, folded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bxcache.config.quantities import format_size
from bxcache.console.progress import format_seconds
from bxcache.console.report.markup import Markup, element, join, section
from bxcache.console.report.sections import NO_STAGE, label_stage, list_failed, list_needed
from bxcache.console.report.texts import clean_log, clean_text
from bxcache.console.report.timeline import name_class, name_outcome

if TYPE_CHECKING:
    from bxcache.insight.record import RecordedLayer, ReportedStep
    from bxcache.insight.report import Report, ReportedStage

_SIGNS = {"reused": "↺", "executed": "▶", "failed": "✕", "from": "◇", "unknown": "?"}


def draw_failed(report: Report) -> Markup:
    """Draw the steps that failed."""
    blocks = [*map(_draw_failed, list_failed(report))]
    return section("What failed", *blocks) if blocks else Markup()


def _draw_failed(step: ReportedStep) -> Markup:
    label = clean_text(label_stage(step.stage, step.platforms))
    where = f" after {format_seconds(step.seconds)} in stage {label}"
    badge = element("span", "✕ failed", class_="badge failed")
    text = element("p", element("code", clean_text(step.text)))
    error = element("p", clean_text(step.error))
    return join(element("p", badge, where), text, error, _draw_log(step))


def draw_steps(report: Report) -> Markup:
    """Draw the steps by stage; a step of several stages is drawn in the first."""
    known: set[int] = set()
    stages = [_draw_stage(report, stage, known) for stage in list_needed(report)]
    return section("Steps", *stages, id="steps") if report.steps else Markup()


def _draw_stage(report: Report, stage: ReportedStage, known: set[int]) -> Markup:
    here = [at for at in stage.steps if at not in known]
    again = len(stage.steps) - len(here)
    known.update(here)
    base = element("small", f"FROM {clean_text(stage.base)}") if stage.base else ""
    name = element("h3", clean_text(stage.name) or NO_STAGE, " ", base)
    more = "step is" if again == 1 else "steps are"
    note = element("p", f"{again} more {more} shown above.") if again else ""
    return element("div", name, *(_draw_step(at, report.steps[at]) for at in here), note)


def _draw_step(at: int, step: ReportedStep) -> Markup:
    kind = name_class(step)
    took = f"{format_seconds(step.saved)} saved" if step.saved else format_seconds(step.seconds)
    summary = element(
        "summary",
        element("span", f"{_SIGNS[kind]} {name_outcome(step)}", class_=f"badge {kind}"),
        element("code", clean_text(step.text)),
        element("span", took, class_="took"),
    )
    opened = "" if kind == "failed" else None
    content = (summary, _draw_facts(step), _draw_log(step))
    return element("details", *content, id=f"s{at}", class_="step", open=opened)


def _draw_facts(step: ReportedStep) -> Markup:
    facts = [
        ("Dockerfile", f"line {', '.join(map(str, step.lines))}" if step.lines else ""),
        ("Platforms", ", ".join(map(clean_text, step.platforms))),
        ("Began after", format_seconds(step.began) if step.began is not None else ""),
        ("Took before", format_seconds(step.saved) if step.saved is not None else ""),
        ("Printed", format_size(step.log_bytes) if step.log_bytes else ""),
        *(("Layer", _show_layer(layer)) for layer in step.layers),
        ("Error", clean_text(step.error)),
    ]
    shown = (join(element("dt", name), element("dd", value)) for name, value in facts if value)
    return element("dl", *shown)


def _show_layer(layer: RecordedLayer) -> str:
    return f"{layer.digest}, {format_size(layer.size) if layer.size else 'size unknown'}"


def _draw_log(step: ReportedStep) -> str:
    log = clean_log(step.log)
    return element("pre", log, tabindex=0, role="region", aria_label="log") if log else ""
