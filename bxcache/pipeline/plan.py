"""A plan as a value."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bxcache.backends.base import EXPORT, IMPORT

if TYPE_CHECKING:
    from bxcache.backends.base import CacheUse, Candidate
    from bxcache.backends.registry import RegistrySave
    from bxcache.place.scope import Scope


@dataclass(frozen=True, slots=True)
class Choice:
    """What became of a candidate, and why."""

    candidate: Candidate
    verdict: str


@dataclass(frozen=True, slots=True)
class BuildPlan:
    """What a build will do about caches.

    Attributes:
        scope: whose cache it is.
        uses: the cache flags of the build, in order.
        notes: why a declared cache is not used.
        choices: what became of each cache that the build might have started from.
        saves: the registries' scopes that are saved.
        troubles: which caches could not be used, and why.
        unsaved: what would save the caches that cannot be saved now.
    """

    scope: Scope
    uses: tuple[CacheUse, ...]
    notes: tuple[str, ...]
    choices: tuple[Choice, ...] = ()
    saves: tuple[RegistrySave, ...] = ()
    troubles: tuple[str, ...] = ()
    unsaved: tuple[CacheUse, ...] = ()

    def without_imports(self) -> BuildPlan:
        """The same, started from nothing."""
        saves = tuple(replace(each, source=None, source_ref="") for each in self.saves)
        return replace(self, uses=self.exports, saves=saves)

    @property
    def imports(self) -> tuple[CacheUse, ...]:
        """What the build starts from."""
        return tuple(use for use in self.uses if use.flag == IMPORT)

    @property
    def exports(self) -> tuple[CacheUse, ...]:
        """What the build itself saves."""
        return tuple(use for use in self.uses if use.flag == EXPORT)
