"""A plan as a value."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from bxcache.buildx.option_text import Attributes, render_options

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from bxcache.config.backends import Backend, InlineBackend, RegistryBackend
    from bxcache.registry.probing import Sighting
    from bxcache.scope import Scope

IMPORT = "--cache-from"
EXPORT = "--cache-to"


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


@dataclass(frozen=True, slots=True)
class CacheUse:
    """One cache flag of the build.

    Attributes:
        flag: `--cache-from` or `--cache-to`.
        backend: the type that was declared. An inline cache is imported as `registry`.
        place: the store's directory or the ref, for people.
        scope: the scope's name.
        attributes: what docker is told.
        reason: why this cache is used.
    """

    flag: str
    backend: str
    place: str
    scope: str
    attributes: Attributes
    reason: str

    @property
    def option(self) -> tuple[str, str]:
        """The flag with its value."""
        return self.flag, render_options(self.attributes)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A cache that a build may start from.

    Attributes:
        backend: where it is kept.
        place: the store's directory or the ref, for people.
        scope: the scope's name.
        what: whose cache it is to the build.
    """

    backend: Backend
    place: str
    scope: str
    what: str


@dataclass(frozen=True, slots=True)
class Choice:
    """What became of a candidate, and why."""

    candidate: Candidate
    verdict: str


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

    def without_local_export(self) -> BuildPlan:
        """The same, but for what it writes to the store."""
        uses = tuple(each for each in self.uses if each is not self.local_export)
        return replace(self, uses=uses)

    @property
    def local_export(self) -> CacheUse | None:
        """What the build writes to the store, if it does."""
        return next((each for each in self.exports if each.backend == "local"), None)

    @property
    def imports(self) -> tuple[CacheUse, ...]:
        """What the build starts from."""
        return tuple(use for use in self.uses if use.flag == IMPORT)

    @property
    def exports(self) -> tuple[CacheUse, ...]:
        """What the build itself saves."""
        return tuple(use for use in self.uses if use.flag == EXPORT)
