"""Renders `bxcache registry`: tables for people, documents for scripts.

In documents, sizes are bytes, and times are seconds since the epoch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bxcache.config.quantities import format_count, format_size
from bxcache.console.tables import pick, render_table, show_ago, show_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bxcache.registry.registry_cache import Pruned
    from bxcache.registry.scopes import RemoteScope


def render_scopes(name: str, scopes: Sequence[RemoteScope]) -> str:
    """Render the scopes of a repository, last used first, and their sum."""
    if not scopes:
        return f"{name}: no scopes"
    rows = [
        (
            show_name(scope.tag),
            show_name(str(scope.label.scope.owner) or "(none)"),
            format_size(scope.bytes),
            show_ago(scope.label.created),
            show_ago(scope.label.used),
            "gone" if scope.lost else scope.changed or "",
        )
        for scope in sorted(scopes, key=lambda each: (-each.label.used, each.tag))
    ]
    table = render_table(("SCOPE", "BRANCH", "SIZE", "SAVED", "LAST USED", ""), rows, texts=2)
    whole = {digest: size for scope in scopes for digest, size in scope.layers.items()}
    total = f"{format_size(sum(whole.values()))} in {format_count(len(rows), 'scope')}"
    return f"{name}:\n{table}\n{total}, shared layers counted once"


def describe_scopes(name: str, scopes: Sequence[RemoteScope]) -> dict[str, Any]:
    """Return a document for scripts."""
    return {"registry": name, "scopes": [_describe_scope(scope) for scope in scopes]}


def _describe_scope(scope: RemoteScope) -> dict[str, Any]:
    label = scope.label
    return {
        "tag": scope.tag,
        **pick(label.scope, "image", "target", "platforms"),
        "branch": str(label.scope.owner) or None,
        "digest": label.digest,
        "bytes": scope.bytes,
        "layers": len(scope.layers),
        "stages": scope.stages,
        "created": label.created,
        "last_used": label.used,
        "changed": bool(scope.changed),
        "lost": scope.lost,
    }


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
    removed = [{**_describe_scope(each.scope), "reason": each.reason} for each in pruned.removed]
    return {
        "registry": name,
        "dry_run": dry_run,
        "removed": removed,
        "kept": [*map(_describe_scope, pruned.kept)],
        "freed_bytes": pruned.freed_bytes,
    }
