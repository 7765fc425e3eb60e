"""Renders `bxcache store` as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bxcache.config.quantities import format_count, format_size
from bxcache.console.scopes import render_scope_table
from bxcache.console.tables import render_table, show_name

if TYPE_CHECKING:
    from bxcache.store.collection import Collected, Limits
    from bxcache.store.directory import Adopted
    from bxcache.store.inventory import Usage
    from bxcache.store.packing import Packed, Unpacked
    from bxcache.store.verification import Verification

_MOST_NAMES = 20


def render_scopes(usage: Usage) -> str:
    """Render the scopes, last used first."""
    scopes = [each.to_dict() for each in usage.scopes]
    return render_scope_table(scopes) if scopes else "no scopes"


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
        lines.append(f"{format_size(usage.dead_bytes)} unused; `bxcache store prune` removes it")
    return "\n".join(lines)


def render_collected(collected: Collected) -> str:
    """Render what was dropped, or would be."""
    lines = [f"dropped {show_name(name)}: {why}" for name, why in collected.dropped.items()]
    lines += [
        f"evicted {format_count(number, 'layer')} of {show_name(name)}"
        for name, number in collected.evicted.items()
    ]
    freed = f"{format_size(collected.freed_bytes)} in {format_count(collected.blobs, 'blob')}"
    left = format_size(collected.bytes)
    if collected.dry_run:
        lines = [f"would have {line}" for line in lines]
        lines.append(f"would free {freed}; {left} would be left")
    else:
        lines.append(f"freed {freed}; {left} left")
    return "\n".join(lines)


def render_verification(found: Verification) -> str:
    """Render the damages, and how much was checked."""
    lines = list_damages(found)
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


def list_damages(found: Verification) -> list[str]:
    """Render each damage as a line."""
    whose = (", ".join(map(show_name, each.scopes)) or "the store" for each in found.damages)
    return [
        f"broken in {name}: {damage.why}" for name, damage in zip(whose, found.damages, strict=True)
    ]


def render_packed(packed: Packed, file: str, size: int | None) -> str:
    """Render what was written to an archive."""
    whole = "" if size is None else f" as {format_size(size)}"
    what = f"{format_count(len(packed.scopes), 'scope')}, {format_count(packed.blobs, 'blob')}"
    return f"packed {what}, {format_size(packed.bytes)}{whole} into {file}"


def render_unpacked(unpacked: Unpacked) -> str:
    """Render what was read from an archive."""
    lines = [f"kept {name}: the store has a later version" for name in unpacked.kept]
    taken, new = format_count(len(unpacked.scopes), "scope"), format_size(unpacked.new_bytes)
    return "\n".join([*lines, f"unpacked {taken} into {unpacked.store} ({new} new)"])


def render_adopted(adopted: Adopted, folder: str) -> str:
    """Render the scopes of a directory that became a store."""
    names = ", ".join(adopted.scopes[:_MOST_NAMES]) or "none"
    if len(adopted.scopes) > _MOST_NAMES:
        names += f" and {len(adopted.scopes) - _MOST_NAMES} more"
    lines = [*adopted.notes, f"{folder} is a store now; its scopes: {names}"]
    if adopted.dead_bytes:
        lines.append(
            f"{format_size(adopted.dead_bytes)} are unused; the next build removes them, or "
            f"`bxcache store prune --from {folder}`"
        )
    return "\n".join(lines)
