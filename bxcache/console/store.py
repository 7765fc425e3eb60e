"""Renders `bxcache store`: tables for people, documents for scripts.

In documents, sizes are bytes, and times are seconds since the epoch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bxcache.config.quantities import format_count, format_size
from bxcache.console.tables import pick, render_table, show_ago, show_name

if TYPE_CHECKING:
    from pathlib import Path

    from bxcache.store.collection import Collected, Limits
    from bxcache.store.directory import Adopted
    from bxcache.store.inventory import Usage
    from bxcache.store.packing import Packed, Unpacked
    from bxcache.store.store import Store
    from bxcache.store.verification import Verification

_MOST_NAMES = 20
_SCOPE = (
    *("name", "digest", "bytes", "own_bytes", "shared_bytes"),
    *("layers", "steps", "saved", "last_used"),
)


def render_scopes(usage: Usage) -> str:
    """Render the scopes, last used first."""
    rows = [
        (
            show_name(scope.name),
            format_size(scope.bytes),
            str(scope.layers),
            "?" if scope.steps is None else str(scope.steps),
            "?" if scope.saved is None else show_ago(scope.saved),
            show_ago(scope.last_used),
            "damaged" if scope.damage else "",
        )
        for scope in sorted(usage.scopes, key=lambda each: (-each.last_used, each.name))
    ]
    head = ("SCOPE", "SIZE", "LAYERS", "STEPS", "SAVED", "LAST USED", "")
    return render_table(head, rows) if rows else "no scopes"


def render_usage(usage: Usage, limits: Limits) -> str:
    """Render the size of each scope, largest own size first, and the sums."""
    scopes = sorted(usage.scopes, key=lambda each: (-each.own_bytes, each.name))
    rows = [
        (show_name(each.name), *map(format_size, (each.own_bytes, each.shared_bytes, each.bytes)))
        for each in scopes
    ]
    table = render_table(("SCOPE", "OWN", "SHARED", "ALL"), rows)
    most = f" of {format_size(limits.max_size)}" if limits.max_size is not None else ""
    whole = f"{format_size(usage.bytes)}{most} in {format_count(len(rows), 'scope')}"
    lines = [table, "", f"{whole}, {format_size(usage.shared_bytes)} of it shared"]
    if usage.dead_bytes:
        lines.append(f"{format_size(usage.dead_bytes)} unused; `bxcache store collect` removes it")
    return "\n".join(lines)


def describe_usage(store: Store, usage: Usage) -> dict[str, Any]:
    """Return the scopes and the sums."""
    return {
        "store": str(store.path),
        **pick(usage, "bytes", "shared_bytes", "dead_bytes"),
        "scopes": [{**pick(each, *_SCOPE), "damage": each.damage or ""} for each in usage.scopes],
    }


def render_collected(collected: Collected, *, dry_run: bool) -> str:
    """Render what was dropped, or would be."""
    lines = [f"dropped {show_name(name)}: {why}" for name, why in collected.dropped.items()]
    lines += [
        f"evicted {format_count(number, 'layer')} of {show_name(name)}"
        for name, number in collected.evicted.items()
    ]
    freed = f"{format_size(collected.freed_bytes)} in {format_count(collected.blobs, 'blob')}"
    left = format_size(collected.bytes)
    if dry_run:
        lines = [f"would have {line}" for line in lines]
        lines.append(f"would free {freed}; {left} would be left")
    else:
        lines.append(f"freed {freed}; {left} left")
    return "\n".join(lines)


def describe_collected(collected: Collected, *, dry_run: bool) -> dict[str, Any]:
    """Return what was dropped, or would be."""
    return {
        "dry_run": dry_run,
        "dropped": dict(collected.dropped),
        "evicted": dict(collected.evicted),
        **pick(collected, "blobs", "freed_bytes", "bytes", "notes"),
    }


def render_verification(found: Verification) -> str:
    """Render the damages, and how much was checked."""
    lines = []
    for damage in found.damages:
        whose = ", ".join(map(show_name, damage.scopes)) or "the store"
        lines.append(f"broken in {whose}: {damage.why}")
    how = "hashed" if found.full else "checked"
    blobs, scopes = format_count(found.blobs, "blob"), format_count(found.scopes, "scope")
    lines.append(f"{how} {blobs}, {format_size(found.bytes)}, of {scopes}")
    if found.damages:
        lines.append(f"{len(found.damages)} broken; `bxcache store repair` removes them")
    elif found.full:
        lines.append("no damage found")
    else:
        lines.append("nothing is missing; `--full` also compares digests")
    return "\n".join(lines)


def describe_verification(found: Verification) -> dict[str, Any]:
    """Return the damages, and how much was checked."""
    damages = [
        {"scopes": each.scopes, "digest": each.digest or None, "why": each.why}
        for each in found.damages
    ]
    return {**pick(found, "scopes", "blobs", "bytes", "full"), "damages": damages}


def render_packed(packed: Packed, file: str, size: int | None) -> str:
    """Render what was written to an archive."""
    whole = "" if size is None else f" as {format_size(size)}"
    what = f"{format_count(len(packed.scopes), 'scope')}, {format_count(packed.blobs, 'blob')}"
    return f"packed {what}, {format_size(packed.bytes)}{whole} into {file}"


def render_unpacked(unpacked: Unpacked, store: Path) -> str:
    """Render what was read from an archive."""
    lines = [f"kept {name}: the store has a later version" for name in unpacked.kept]
    taken, new = format_count(len(unpacked.scopes), "scope"), format_size(unpacked.new_bytes)
    return "\n".join([*lines, f"unpacked {taken} into {store} ({new} new)"])


def render_adopted(adopted: Adopted, folder: str) -> str:
    """Render the scopes of a directory that became a store."""
    names = ", ".join(adopted.scopes[:_MOST_NAMES]) or "none"
    if len(adopted.scopes) > _MOST_NAMES:
        names += f" and {len(adopted.scopes) - _MOST_NAMES} more"
    lines = [*adopted.notes, f"{folder} is a store now; its scopes: {names}"]
    if adopted.dead_bytes:
        lines.append(
            f"{format_size(adopted.dead_bytes)} are unused; the next build removes them, or "
            f"`bxcache store collect --dir {folder}`"
        )
    return "\n".join(lines)
