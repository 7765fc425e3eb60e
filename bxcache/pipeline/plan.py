"""The caches that a build may use, and its plan for them, as values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from bxcache.backends.base import Candidate

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bxcache.backends.base import Backend, CacheUse, Save
    from bxcache.config.models import Config
    from bxcache.place.scope import Scope
    from bxcache.place.trust import Trust


IMPORTED = "imported"
"""The verdict on a candidate that the build imports."""


class Choice(Struct, frozen=True):
    """A candidate, and why the build imports it or not."""

    candidate: Candidate
    verdict: str


class BuildPlan(Struct, frozen=True):
    """The caches that a build will import and save.

    Attributes:
        saves: the scopes to save, by the build itself or after it.
        notes: why a declared cache is not used.
        troubles: which caches could not be used, and why.
        unsaved: the flags of the caches that cannot be saved now.
        start: what is built, and from which cache or why from none, in one line; may be empty.
        why_unsaved: why caches are not saved, in a few words; empty if all are.
    """

    scope: Scope
    imports: tuple[CacheUse, ...] = ()
    saves: tuple[Save, ...] = ()
    notes: tuple[str, ...] = ()
    choices: tuple[Choice, ...] = ()
    troubles: tuple[str, ...] = ()
    unsaved: tuple[CacheUse, ...] = ()
    start: str = ""
    why_unsaved: str = ""

    def without_imports(self) -> BuildPlan:
        return replace(self, imports=(), saves=tuple(each.from_nothing() for each in self.saves))

    def without_exports(self) -> BuildPlan:
        """A copy for a build that saves nothing itself."""
        apart = tuple(each for each in self.saves if each.apart)
        return replace(self, saves=apart, unsaved=(*self.unsaved, *self.exports))

    @property
    def wants_import(self) -> bool:
        """Whether a cache was to be imported, even if that was given up."""
        return bool(self.imports) or any(each.verdict == IMPORTED for each in self.choices)

    @property
    def limit(self) -> float | None:
        """How many seconds the exports of the build itself may take; None for any time."""
        return min((s.limit for s in self.saves if not s.apart and s.limit), default=None)

    @property
    def exports(self) -> tuple[CacheUse, ...]:
        """The flags of the caches that the build itself saves."""
        return tuple(each.use for each in self.saves if not each.apart)

    @property
    def uses(self) -> tuple[CacheUse, ...]:
        """The cache flags of the build, in order."""
        return (*self.imports, *self.exports)


def join_reasons(reasons: Iterable[str]) -> str:
    """Join reasons in a few words, each once."""
    return "; ".join(dict.fromkeys(filter(None, reasons)))


def list_candidates(
    config: Config,
    scope: Scope,
    trust: Trust,
    backends: Sequence[Backend],
    donor: str | None = None,
) -> tuple[Candidate, ...]:
    """List the caches that a build may import, best first.

    A target without its own cache imports that of the whole image, which has all stages. A donor
    is the one scope to import instead of all others.
    """
    if donor:
        return tuple(Candidate(each, donor, "the scope that is named") for each in backends)
    owners, reads_all = tuple(trust.list_owners(config.cache.read)), config.cache.read_all
    found = [
        Candidate(backend, each.name, what)
        for owner, what in owners
        for backend in backends
        for each in (scope.of_owner(owner), scope.of_owner(owner).whole)
    ]
    for backend in backends:
        found += backend.list_others(scope, owners, reads_all=reads_all)
    first: dict[str, Candidate] = {}
    for each in found:
        first.setdefault(each.name, each)
    return tuple(first.values())
