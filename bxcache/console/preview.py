"""A dry run: the command as a shell takes it, and above it the reason for each cache flag."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bxcache.buildx.command import quote_command

if TYPE_CHECKING:
    from bxcache.preview import Preview


def render_preview(preview: Preview) -> str:
    """Comments and one command, to be read or pasted."""
    lines = [f"# {use.flag} {use.place}: {use.reason}" for use in preview.plan.uses]
    lines += [f"# {note}" for note in preview.notes]
    return "\n".join([*lines, quote_command(preview.command)])
