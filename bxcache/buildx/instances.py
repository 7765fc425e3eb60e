"""Builders as buildx keeps them in files, for when docker does not answer what they are.

https://github.com/docker/buildx/blob/v0.29.1/store/nodegroup.go
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from bxcache.buildx.capabilities import Builder, Node
from bxcache.buildx.memory import find_buildx_folder
from bxcache.buildx.values import as_list, as_table, parse_table

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

CONTEXT_BUILDER = "default"
"""The builder of docker's default context, which is in no file."""


def list_names(environment: Mapping[str, str]) -> list[str]:
    """List the names of the builders that somebody created, sorted."""
    return sorted(each.name for each in _list_files(environment))


def read_instances(environment: Mapping[str, str]) -> dict[str, Builder]:
    """Read the builders that somebody created, by name; their state is unknown."""
    return {each.name: _read_file(each) for each in _list_files(environment)}


def _list_files(environment: Mapping[str, str]) -> list[Path]:
    with suppress(OSError):
        return [*(find_buildx_folder(environment) / "instances").iterdir()]
    return []


def _read_file(path: Path) -> Builder:
    document = {}
    with suppress(OSError):
        document = parse_table(path.read_text(encoding="utf-8", errors="replace"))
    nodes = map(as_table, as_list(document.get("Nodes")))
    read = (
        Node(str(each.get("Name", "")), endpoint=str(each.get("Endpoint", ""))) for each in nodes
    )
    return Builder(path.name, str(document.get("Driver", "")), tuple(read))
