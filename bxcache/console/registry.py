"""Renders `bxcache registry`: tables for people, documents for scripts.

In documents, sizes are bytes, and times are seconds since the epoch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bxcache.config.quantities import format_count, format_size
from bxcache.console.scopes import describe_remote_scope, render_scope_table
from bxcache.console.tables import show_name
from bxcache.registry.scopes import measure_shared

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bxcache.registry.registry_cache import Pruned
    from bxcache.registry.scopes import RemoteScope


def render_scopes(name: str, scopes: Sequence[RemoteScope]) -> str:
    """Render the scopes of a repository, last used first, and their sum."""
    if not scopes:
        return f"{name}: no scopes"
    whole = {digest: size for scope in scopes for digest, size in scope.layers.items()}
    total = f"{format_size(sum(whole.values()))} in {format_count(len(scopes), 'scope')}"
    table = render_scope_table(_describe_each(scopes))
    return f"{name}:\n{table}\n{total}, shared layers counted once"


def describe_scopes(name: str, scopes: Sequence[RemoteScope]) -> dict[str, Any]:
    """Return a document for scripts."""
    return {"registry": name, "scopes": _describe_each(scopes)}


def _describe_each(scopes: Sequence[RemoteScope]) -> list[dict[str, Any]]:
    shared = measure_shared(scopes)
    return [describe_remote_scope(each, shared[each.tag]) for each in scopes]


def render_pruned(name: str, pruned: Pruned, *, dry_run: bool) -> str:
    """Render the removed scopes with the reasons, and their size."""
    verb = "would be removed" if dry_run else "removed"
    lines = []
    for each in pruned.removed:
        lines.append(f"{verb}: {show_name(each.scope.tag)} ({show_name(each.reason)})")
        lines += [
            f"{verb}: {show_name(stage)} (an image of its stages)" for stage in each.scope.stages
        ]
    count = format_count(len(pruned.removed), "scope")
    freed = f", {format_size(pruned.freed_bytes)} not shared with others" if pruned.removed else ""
    stay = f"{len(pruned.kept)} would stay" if dry_run else f"{len(pruned.kept)} left"
    return "\n".join([*lines, f"{name}: {count} {verb}{freed}; {stay}"])


def describe_pruned(name: str, pruned: Pruned, *, dry_run: bool) -> dict[str, Any]:
    """Return a document for scripts."""
    shared = measure_shared([*(each.scope for each in pruned.removed), *pruned.kept])
    removed = [
        {**describe_remote_scope(each.scope, shared[each.scope.tag]), "reason": each.reason}
        for each in pruned.removed
    ]
    return {
        "registry": name,
        "dry_run": dry_run,
        "removed": removed,
        "kept": [describe_remote_scope(each, shared[each.tag]) for each in pruned.kept],
        "freed_bytes": pruned.freed_bytes,
    }
