"""Renders lists of scopes, in the same form wherever a cache is kept.

In documents, sizes are bytes, and times are seconds since the epoch; what is unknown is null.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bxcache.config.quantities import format_size
from bxcache.console.tables import pick, render_table, show_ago, show_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bxcache.place.scope import Scope
    from bxcache.registry.scopes import RemoteScope
    from bxcache.store.inventory import ScopeUsage

_HEAD = ("SCOPE", "BRANCH", "SIZE", "LAYERS", "STEPS", "SAVED", "LAST USED", "")
_IDENTITY = ("image", "target", "platforms")
_OVERWRITTEN, _GONE = "another client has overwritten it", "its cache no longer exists"


def describe_local_scope(found: ScopeUsage, scope: Scope | None) -> dict[str, Any]:
    """Return a document of a store's scope, with its identity if that is known."""
    return {
        "name": found.name,
        "tag": found.name,
        **_describe_identity(scope),
        **pick(found, "digest", "bytes", "own_bytes", "shared_bytes", "layers", "steps"),
        "stages": (),
        "saved": found.saved,
        "created": found.saved,
        "last_used": found.last_used,
        "damage": found.damage or "",
        "changed": False,
        "lost": False,
    }


def describe_remote_scope(found: RemoteScope, shared_bytes: int) -> dict[str, Any]:
    """Return a document of a registry's scope, with the size of layers that others need, too."""
    label = found.label
    return {
        "name": found.tag,
        "tag": found.tag,
        **_describe_identity(label.scope),
        "digest": label.digest,
        "bytes": found.bytes,
        "own_bytes": found.bytes - shared_bytes,
        "shared_bytes": shared_bytes,
        "layers": len(found.layers),
        "steps": label.steps,
        "stages": found.stages,
        "saved": label.created,
        "created": label.created,
        "last_used": label.used,
        "damage": _GONE if found.lost else _OVERWRITTEN if found.changed else "",
        "changed": bool(found.changed),
        "lost": found.lost,
    }


def _describe_identity(scope: Scope | None) -> dict[str, Any]:
    if scope is None:
        return dict.fromkeys((*_IDENTITY, "branch"))
    return {**pick(scope, *_IDENTITY), "branch": str(scope.owner) or None}


def render_scope_table(scopes: Sequence[dict[str, Any]]) -> str:
    """Render the documents of scopes as a table, last used first."""
    ordered = sorted(scopes, key=lambda each: (-each["last_used"], each["name"]))
    return render_table(_HEAD, [_list_cells(each) for each in ordered], texts=2)


def _list_cells(scope: dict[str, Any]) -> tuple[str, ...]:
    note = "gone" if scope["lost"] else _OVERWRITTEN if scope["changed"] else ""
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
