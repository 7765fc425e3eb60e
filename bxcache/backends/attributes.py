"""Attributes of cache flags that several backends share."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bxcache.config.backends import CompressedSettings


def list_compression(settings: CompressedSettings) -> Iterator[tuple[str, str]]:
    """List the compression attributes of a cache flag."""
    if settings.compression is not None:
        yield "compression", settings.compression
    if settings.compression_level is not None:
        yield "compression-level", str(settings.compression_level)
    if settings.force_compression:
        yield "force-compression", "true"


def render_boolean(value: bool) -> str:  # noqa: FBT001  # the value to render
    """Render a boolean attribute of a cache flag."""
    return "true" if value else "false"
