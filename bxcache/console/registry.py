"""Renders `bxcache registry` as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bxcache.config.quantities import format_count, format_size
from bxcache.console.scopes import render_scope_table
from bxcache.console.tables import show_name
from bxcache.registry.scopes import describe_scopes

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
    table = render_scope_table(describe_scopes(scopes))
    return f"{name}:\n{table}\n{total}, shared layers counted once"


def render_pruned(pruned: Pruned) -> str:
    """Render the removed scopes with the reasons, and their size."""
    name, dry_run = pruned.registry, pruned.dry_run
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
