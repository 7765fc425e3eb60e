"""Attributes of cache flags that several backends have."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bxcache.config.backends import CompressedSettings


def list_compression(settings: CompressedSettings) -> Iterator[tuple[str, str]]:
    """The attributes of a cache flag."""
    if settings.compression is not None:
        yield "compression", settings.compression
    if settings.compression_level is not None:
        yield "compression-level", str(settings.compression_level)
    if settings.force_compression:
        yield "force-compression", "true"


def render_boolean(value: bool) -> str:  # noqa: FBT001  # this is what it renders
    """A flag's attribute."""
    return "true" if value else "false"
