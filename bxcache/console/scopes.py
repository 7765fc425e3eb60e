"""Renders lists of scopes, in the same form wherever a cache is kept.

In documents, sizes are bytes, and times are seconds since the epoch; what is unknown is null.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bxcache.config.quantities import format_size
from bxcache.console.tables import render_table, show_ago, show_name

if TYPE_CHECKING:
    from collections.abc import Sequence


_HEAD = ("SCOPE", "BRANCH", "SIZE", "LAYERS", "STEPS", "SAVED", "LAST USED", "")


def render_scope_table(scopes: Sequence[dict[str, Any]]) -> str:
    """Render the documents of scopes as a table, last used first."""
    ordered = sorted(scopes, key=lambda each: (-each["last_used"], each["name"]))
    return render_table(_HEAD, [_list_cells(each) for each in ordered], texts=2)


def _list_cells(scope: dict[str, Any]) -> tuple[str, ...]:
    note = "gone" if scope["lost"] else scope["damage"] if scope["changed"] else ""
    owner = scope["branch"] or ("?" if scope["image"] is None else "(none)")
    return (
        show_name(scope["name"]),
        show_name(owner),
        format_size(scope["bytes"]),
        str(scope["layers"]),
        "?" if scope["steps"] is None else str(scope["steps"]),
        "?" if scope["saved"] is None else show_ago(scope["saved"]),
        show_ago(scope["last_used"]),
        note or ("damaged" if scope["damage"] else ""),
    )
