"""A registry as a backend: the scope that a build saves there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bxcache.backends.base import CacheUse
    from bxcache.config.backends import InlineBackend, RegistryBackend
    from bxcache.place.scope import Scope
    from bxcache.registry.probing import Sighting


@dataclass(frozen=True, slots=True)
class RegistrySave:
    """A scope of a registry that a build saves.

    Attributes:
        use: the flag that saves it.
        apart: it is saved once the build is done, in a run of its own; else by the build itself.
        backend: what was declared.
        owner: whose cache it is.
        source: what was found at the ref that the build starts from, if it lies in the same
            repository.
        source_ref: that ref.
    """

    use: CacheUse
    apart: bool
    backend: RegistryBackend | InlineBackend
    owner: Scope
    source: Sighting | None = None
    source_ref: str = ""
