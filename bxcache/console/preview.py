"""A dry run: the command as a shell takes it, and above it the reason for each cache flag."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bxcache.buildx.command import quote_command

if TYPE_CHECKING:
    from bxcache.plan.plan import Choice
    from bxcache.preview import Preview


def _render_choice(choice: Choice) -> str:
    seen = choice.candidate
    where = f"{seen.place} `{seen.scope}`" if seen.backend.type == "local" else seen.place
    return f"# candidate {where} ({seen.what}): {choice.verdict}"


def render_preview(preview: Preview) -> str:
    """Comments and one command, to be read or pasted."""
    plan = preview.plan
    lines = [_render_choice(choice) for choice in plan.choices]
    lines += [f"# {use.flag} {use.place}: {use.reason}" for use in plan.uses]
    lines += [
        f"# after the build: {save.use.place}: {save.use.reason}"
        for save in plan.saves
        if save.apart
    ]
    lines += [f"# {note}" for note in (*preview.notes, *plan.troubles)]
    lines = [line.replace("\n", "\n# ") for line in lines]
    return "\n".join([*lines, quote_command(preview.command)])
