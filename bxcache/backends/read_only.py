"""Why an untrusted build only reads a backend."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bxcache.config.loading import Setup

DECLARED = ("cache", "backends")
"""The config key that declares backends."""


def explain_read_only(place: str, setup: Setup) -> str:
    """Explain why an untrusted build does not save to a place that a config file names."""
    source = setup.source_of(DECLARED)
    return f"`{place}` ({source}) is read-only: an untrusted build does not save where a file says"
