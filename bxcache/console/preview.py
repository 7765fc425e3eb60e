"""A dry run: the command for a shell, below the reason for each cache flag."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bxcache.buildx.command import quote_command

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bxcache.pipeline.bake import BakePreview
    from bxcache.pipeline.plan import BuildPlan
    from bxcache.pipeline.preview import Preview


def render_preview(preview: Preview) -> str:
    """Render comments and one command, to read or paste."""
    return _comment(_render_plan(preview.plan, preview.notes), preview.command)


def render_bake_preview(preview: BakePreview) -> str:
    """Render the same for the targets of a bake."""
    lines = []
    for name, plan in preview.plans.items():
        lines += [f"target {name}:", *_render_plan(plan, plan.notes)]
    return _comment([*lines, *preview.notes], preview.command)


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
