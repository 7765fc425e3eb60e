"""The plan of a build, as a value."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bxcache.backends.base import CacheUse, Candidate, Save
    from bxcache.place.scope import Scope


@dataclass(frozen=True, slots=True)
class Choice:
    """A candidate, and why the build imports it or not."""

    candidate: Candidate
    verdict: str


@dataclass(frozen=True, slots=True)
class BuildPlan:
    """The caches that a build will import and save.

    Attributes:
        scope: the build's scope.
        imports: the flags of the imported caches.
        saves: the scopes to save, by the build itself or after it.
        notes: why a declared cache is not used.
        choices: every candidate.
        troubles: which caches could not be used, and why.
        unsaved: the flags of the caches that cannot be saved now.
    """

    scope: Scope
    imports: tuple[CacheUse, ...] = ()
    saves: tuple[Save, ...] = ()
    notes: tuple[str, ...] = ()
    choices: tuple[Choice, ...] = ()
    troubles: tuple[str, ...] = ()
    unsaved: tuple[CacheUse, ...] = ()

    def without_imports(self) -> BuildPlan:
        """A copy without imports."""
        return replace(self, imports=(), saves=tuple(each.from_nothing() for each in self.saves))

    @property
    def exports(self) -> tuple[CacheUse, ...]:
        """The flags of the caches that the build itself saves."""
        return tuple(each.use for each in self.saves if not each.apart)

    @property
    def uses(self) -> tuple[CacheUse, ...]:
        """The cache flags of the build, in order."""
        return (*self.imports, *self.exports)
