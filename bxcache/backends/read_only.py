"""Why a backend is only read in a build that is not trusted."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bxcache.config.loading import Setup

DECLARED = ("cache", "backends")
"""Where a configuration declares backends."""


def explain_read_only(place: str, setup: Setup) -> str:
    """Why nothing is saved to a place that a file of an untrusted build names."""
    source = setup.source_of(DECLARED)
    return f"`{place}` ({source}) is read-only: an untrusted build does not save where a file says"
