"""A local store as a backend: what it offers to a build."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class LocalState:
    """What a store offers to a build.

    Attributes:
        store: its directory.
        staging: the layout that buildx reads and writes in its place.
        donors: the scopes that can be imported, each with its manifest's digest.
        trouble: why the store cannot be used, or an empty string.
        notes: what was mended in it, or why it is only read.
        read_only: it is read from where it lies, and nothing is saved to it.
    """

    store: Path
    staging: Path
    donors: Mapping[str, str] = field(default_factory=dict)
    trouble: str = ""
    notes: tuple[str, ...] = ()
    read_only: bool = False

    def offers(self, name: str) -> bool:
        """Whether a build can start from this scope of the store."""
        return name in self.donors
