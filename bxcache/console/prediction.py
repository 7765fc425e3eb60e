"""Renders a prediction: what each step would do, and why."""

from __future__ import annotations

from collections import Counter
from itertools import groupby
from typing import TYPE_CHECKING

from bxcache.buildx.stream.events import Outcome
from bxcache.config.quantities import format_count
from bxcache.console.history import INDENT
from bxcache.console.report.misses import describe_basis, describe_changes
from bxcache.console.report.sections import label_stage
from bxcache.console.tables import clean_text, cut_text, show_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bxcache.insight.prediction import PredictedStep, Prediction

_LONGEST = 80
_WORDS = {Outcome.REUSED: "reuse", Outcome.EXECUTED: "execute", None: "unknown"}


def render_prediction(prediction: Prediction, *, full: bool) -> str:
    """Render the steps of each stage, with why they would be executed."""
    lines = [summarize_prediction(prediction)]
    steps = [each for each in prediction.steps if each.step.kind == "instruction"]
    for (stage, platforms), own in groupby(steps, lambda e: (e.step.stage, e.step.platforms)):
        lines += ["", show_text(label_stage(stage, platforms)) or "the only stage"]
        lines += [line for each in own for line in _render_step(prediction, each, full=full)]
    return "\n".join(lines)


def summarize_prediction(prediction: Prediction) -> str:
    """Say in a line how many steps would be reused, and what that takes for granted."""
    if prediction.why_unknown:
        return clean_text(f"nothing can be predicted: {prediction.why_unknown}")
    steps = [each for each in prediction.steps if each.step.kind == "instruction"]
    counts = Counter(each.outcome for each in steps)
    parts = [f"{counts[Outcome.REUSED]} of {format_count(len(steps), 'step')} would be reused"]
    if counts[Outcome.EXECUTED]:
        parts.append(f"{counts[Outcome.EXECUTED]} executed")
    if counts[None]:
        parts.append(f"{counts[None]} cannot be known")
    basis = f" from {describe_basis(prediction.basis)}" if prediction.basis is not None else ""
    granted = "".join(f"; if {each}" for each in prediction.assumptions)
    return clean_text(f"{', '.join(parts)}{basis}{granted}")


def _render_step(prediction: Prediction, predicted: PredictedStep, *, full: bool) -> Iterator[str]:
    text = clean_text(predicted.step.text)
    word = _WORDS[predicted.outcome]
    yield f"{INDENT}{word:<8} {text if full else cut_text(text, _LONGEST)}"
    why = explain_predicted(prediction, predicted)
    if why:
        yield f"{INDENT}{'':<8} ^ {clean_text(why)}"


def explain_predicted(prediction: Prediction, predicted: PredictedStep) -> str:
    """Explain why a step would be executed, or why that is unknown; empty if it is reused."""
    if predicted.changes:
        return describe_changes(predicted.changes)
    if predicted.because is None:
        return ""
    needed = prediction.steps[predicted.because].step
    name = f"`{cut_text(needed.text, _LONGEST // 2)}`"
    if predicted.outcome is None:
        return f"it depends on what {name} makes"
    return f"it needs {name}, which would be executed"
