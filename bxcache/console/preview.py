"""A dry run: the command for a shell, below the reason for each cache flag."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bxcache.buildx.command import quote_command
from bxcache.console.prediction import explain_predicted, summarize_prediction
from bxcache.console.tables import clean_text, cut_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bxcache.insight.prediction import Prediction
    from bxcache.pipeline.bake import BakePreview
    from bxcache.pipeline.plan import BuildPlan
    from bxcache.pipeline.preview import Preview

_LONGEST = 60


def render_preview(preview: Preview) -> str:
    """Render comments and one command, to read or paste."""
    lines = _render_plan(preview.plan, preview.notes)
    predicted = _render_prediction(preview.prediction) if preview.plan.imports else ()
    return _comment([*lines, *predicted], preview.command)


def render_bake_preview(preview: BakePreview) -> str:
    """Render the same for the targets of a bake."""
    lines = []
    for name, plan in preview.plans.items():
        lines += [f"target {name}:", *_render_plan(plan, plan.notes)]
    return _comment([*lines, *preview.notes], preview.command)


def _render_prediction(prediction: Prediction) -> Iterator[str]:
    yield summarize_prediction(prediction)
    for each in prediction.steps:
        why = explain_predicted(prediction, each)
        if why and each.changes:
            yield clean_text(f"would execute `{cut_text(each.step.text, _LONGEST)}`: {why}")


def _render_plan(plan: BuildPlan, notes: Sequence[str]) -> list[str]:
    lines = [
        f"candidate {each.candidate.name} ({each.candidate.what}): {each.verdict}"
        for each in plan.choices
    ]
    lines += [f"{use.flag} {use.place}: {use.reason}" for use in plan.uses]
    lines += [
        f"after the build: {save.use.place}: {save.use.reason}" for save in plan.saves if save.apart
    ]
    return [*filter(None, [plan.start]), *lines, *notes, *plan.troubles]


def _comment(lines: Sequence[str], command: Sequence[str]) -> str:
    comments = [f"# {line}" for text in lines for line in text.split("\n")]
    return "\n".join([*comments, quote_command(command)])
