"""Renders `bxcache explain`: the steps of each stage, and why they were executed."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from bxcache.buildx.stream.events import Outcome
from bxcache.config.quantities import format_count, format_ratio, format_seconds
from bxcache.console.history import INDENT, show_age
from bxcache.console.report.misses import describe_basis, describe_changes, list_advice, list_misses
from bxcache.console.report.sections import label_stage
from bxcache.console.tables import clean_text, cut_text, render_table, show_ago, show_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bxcache.insight.explanation import ExplainedStep, Explanation, Predictions
    from bxcache.insight.record_parts import RecordedStep

_LONGEST = 76


def render_explanation(explanation: Explanation, *, full: bool) -> str:
    """Render the build, its first causes, and its steps with the reason for each."""
    record = explanation.record
    lines = [f"{show_text(record.scope.name)}: {show_age(record)}"]
    if explanation.basis is not None:
        lines.append(f"compared with {clean_text(describe_basis(explanation.basis))}")
    lines += ["", *(_list_causes(explanation))]
    stages = groupby(explanation.steps, key=lambda each: (each.step.stage, each.step.platforms))
    for (stage, platforms), steps in stages:
        lines += ["", show_text(label_stage(stage, platforms)) or "the only stage"]
        lines += [line for each in steps for line in _render_step(each, full=full)]
    return "\n".join(lines)


def render_predictions(predictions: Predictions) -> str:
    """Render how well the last builds could be predicted."""
    if not predictions.builds:
        return f"no build of {show_text(predictions.scope)} was predicted"
    rows = [
        (show_ago(started), str(each.right), str(each.wrong), str(each.unknown))
        for started, each in predictions.builds
    ]
    ratio = predictions.ratio
    share = "nothing was predicted" if ratio is None else f"{format_ratio(ratio)} were right"
    table = render_table(("BUILT", "RIGHT", "WRONG", "UNKNOWN"), rows)
    return f"{table}\nsteps of {show_text(predictions.scope)}: {share}"


def _list_causes(explanation: Explanation) -> Iterator[str]:
    shown = explanation.record.model_copy(
        update={"misses": explanation.misses, "basis": explanation.basis}
    )
    yield from list_misses(shown)
    yield from (f"advice: {each}" for each in list_advice(explanation.record.advice))
    if not explanation.misses:
        executed = sum(each.step.outcome is Outcome.EXECUTED for each in explanation.steps)
        yield (
            f"the record does not say why {format_count(executed, 'step')} were executed"
            if executed
            else "every step was reused"
        )


def _render_step(explained: ExplainedStep, *, full: bool) -> Iterator[str]:
    step = explained.step
    took = format_seconds(step.seconds)
    text = clean_text(step.text)
    yield f"{INDENT}{step.outcome or '':<8} {took:>8}  {text if full else cut_text(text, _LONGEST)}"
    why = ""
    if explained.changes:
        why = describe_changes(explained.changes, explained.more)
    elif explained.because is not None:
        why = f"it needs {_name_step(explained.because)}, which was executed"
    elif step.from_builder:
        why = "from the builder's own cache; the imported one does not have it"
    if why:
        yield f"{INDENT}{'':<8} {'':>8}  ^ {clean_text(why)}"


def _name_step(step: RecordedStep) -> str:
    line = f"line {step.lines[0]}, " if step.lines else ""
    return f"{line}`{cut_text(step.text, _LONGEST // 2)}`"
