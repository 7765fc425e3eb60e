"""Renders `bxcache builder` as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bxcache.console.tables import render_table, show_name, show_text
from bxcache.redaction import mask_url

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bxcache.buildx.capabilities import Node
    from bxcache.pipeline.builder_list import BuilderList, ListedBuilder
    from bxcache.pipeline.builders import BuilderRemoved, BuilderUp

_DONE = {
    "created": "was created",
    "recreated": "was created anew",
    "started": "was started",
    "none": "is up already",
}
_HEAD = ("BUILDER", "DRIVER", "NODE", "ENDPOINT", "STATUS", "BUILDKIT", "PLATFORMS")
_USED = "*"
_FEW = 3


def render_up(up: BuilderUp) -> str:
    """Render what was done to bring a builder up, and its nodes."""
    why = [f"it differs: {show_text(each)}" for each in up.differences]
    lost = [f"lost: {up.lost}"] if up.lost else []
    done = f"the builder `{show_name(up.name)}` {_DONE[up.change]} ({up.driver})"
    return "\n".join([*why, *lost, done, *map(_render_node, up.nodes)])


def _render_node(node: Node) -> str:
    parts = (mask_url(node.endpoint), node.status, node.version, _join(node.platforms))
    return f"  {show_name(node.name)}: {', '.join(show_text(each) for each in parts if each)}"


def _join(platforms: tuple[str, ...]) -> str:
    # The variants of one that is listed, such as linux/amd64/v2, tell a reader nothing.
    own = [each for each in platforms if each.rpartition("/")[0] not in platforms]
    more = f" (+{len(own) - _FEW})" if len(own) > _FEW else ""
    return f"{' '.join(own[:_FEW])}{more}"


def render_builders(found: BuilderList) -> str:
    """Render all builders with their nodes, and below them what each can export."""
    if not found.builders:
        return "no builders"
    rows = [row for each in found.builders for row in _list_rows(each)]
    lines = [render_table(_HEAD, rows, texts=len(_HEAD)), ""]
    lines += [f"{_name(each)} can export: {_list_kinds(each)}" for each in found.builders]
    if any(each.is_used for each in found.builders):
        lines.append(f"{_USED} builds here use it")
    return "\n".join(lines)


def _name(listed: ListedBuilder) -> str:
    return f"{show_name(listed.builder.name)}{_USED * listed.is_used}"


def _list_kinds(listed: ListedBuilder) -> str:
    return "unknown" if listed.exports is None else ", ".join(listed.exports)


def _list_rows(listed: ListedBuilder) -> Iterator[tuple[str, ...]]:
    builder = listed.builder
    declared = " (declared)" if listed.is_declared else ""
    head = (f"{_name(listed)}{declared}", builder.driver or "unknown")
    if builder.error or not builder.nodes:
        why = f"unknown: {builder.error}" if builder.error else "unknown"
        yield (*head, "", "", show_text(why), "", "")
        head = ("", "")
    for node in builder.nodes:
        why = f": {node.error}" if node.error else ""
        status = f"{node.status or 'unknown'}{why}"
        cells = (node.name, mask_url(node.endpoint), status, node.version)
        yield (*head, *map(show_text, (*cells, _join(node.platforms))))
        head = ("", "")


def render_removed(removed: BuilderRemoved) -> str:
    """Render whether a builder was removed."""
    if not removed.existed:
        return f"there is no builder `{show_name(removed.name)}`; nothing to remove"
    verb = "would be removed" if removed.dry_run else "was removed"
    return f"the builder `{show_name(removed.name)}` {verb}"
