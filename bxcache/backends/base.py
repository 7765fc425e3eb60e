"""What a backend is: a cache that a configuration declares, as one build reads and writes it.

A backend is one class in one file, a settings class in `config.backends` and a line in
`backends.declared`. Nothing above this room asks of which kind a backend is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bxcache.backends.cache_result import CacheResult
from bxcache.buildx.option_text import Attributes, render_options

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from collections.abc import Set as AbstractSet
    from contextlib import ExitStack
    from pathlib import Path

    from bxcache.backends.holders import Holder
    from bxcache.buildx.run import Runner, RunResult
    from bxcache.buildx.stream.trace import CacheTransfer
    from bxcache.config.loading import Setup
    from bxcache.config.models import BuildSettings
    from bxcache.oci.documents import CacheManifest
    from bxcache.place.scope import Owner, Scope

IMPORT = "--cache-from"
EXPORT = "--cache-to"


@dataclass(frozen=True, slots=True)
class CacheUse:
    """One cache flag of the build.

    Attributes:
        flag: `--cache-from` or `--cache-to`.
        backend: whose flag it is.
        place: the store's directory or the ref, for people.
        scope: the scope's name.
        attributes: what docker is given.
        reason: why this cache is used.
    """

    flag: str
    backend: Backend
    place: str
    scope: str
    attributes: Attributes
    reason: str

    @property
    def option(self) -> tuple[str, str]:
        """The flag with its value."""
        return self.flag, render_options(self.attributes)

    @property
    def result(self) -> CacheResult:
        """The cache before anything is known of it."""
        where = self.backend.name_cache(self.scope)
        return CacheResult(self.backend.kind, self.place, self.scope, where=where)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A cache that a build may start from.

    Attributes:
        backend: where it is kept.
        scope: the scope's name.
        what: whose cache it is to the build.
    """

    backend: Backend
    scope: str
    what: str

    @property
    def name(self) -> str:
        """What it is called, for people; no other cache is called so."""
        return self.backend.name_cache(self.scope)


@dataclass(frozen=True, slots=True)
class Sight:
    """What a backend shows of a candidate.

    Attributes:
        there: whether a cache is there; None where that is not known.
        verdict: the same in words.
    """

    there: bool | None
    verdict: str


@dataclass(frozen=True, slots=True)
class Wish:
    """What a backend has to know of a build to plan its saving.

    Attributes:
        scope: whose cache the build saves.
        makes_image: whether the build makes an image.
        once: why the build cannot be run again to save what it built; None where it can.
        unbaked: why its stages cannot be built by bake too; None where they can.
        inline_only: why the builder exports inline caches alone; None where it exports all.
        refuses_borrowed: nothing is saved that came from the builder's own cache.
    """

    scope: Scope
    makes_image: bool = True
    once: str | None = None
    unbaked: str | None = None
    inline_only: str | None = None
    refuses_borrowed: bool = False


@dataclass(frozen=True, slots=True)
class Save:
    """A scope that a build saves.

    Attributes:
        use: the flag that saves it.
        apart: it is saved in a run of its own after the build; else by the build itself.
    """

    use: CacheUse
    apart: bool = False

    def from_nothing(self) -> Save:
        """The same for a build that starts from nothing."""
        return self


@dataclass(frozen=True, slots=True)
class SavePlan:
    """How a backend saves a build.

    Attributes:
        saves: the scopes that are saved.
        unsaved: what would save the scopes that cannot be saved now.
        notes: why nothing is saved.
    """

    saves: tuple[Save, ...] = ()
    unsaved: tuple[CacheUse, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Built:
    """A build that docker has ended well, as its backends save it.

    Attributes:
        runner: runs docker once more.
        imports: what the build started from.
        ran: what the run left.
        transfers: the exports of the build itself to this cache.
        sound: the only layers that may be saved, by digest; None where all may.
    """

    runner: Runner
    imports: tuple[CacheUse, ...]
    ran: RunResult
    transfers: tuple[CacheTransfer, ...] = ()
    sound: AbstractSet[str] | None = None


@dataclass(frozen=True, slots=True)
class SavedScope:
    """A scope after it was saved.

    Attributes:
        result: its state, for the caller.
        run: the run that saved it, where it had one of its own.
        warnings: why it could not be saved.
        key: the key of the hashes in its last record; None if unknown.
    """

    result: CacheResult
    run: RunResult | None = None
    warnings: tuple[str, ...] = ()
    key: str | None = None


@dataclass(frozen=True, slots=True)
class KeptRecord:
    """A build's record after it was kept beside a scope.

    Attributes:
        is_kept: it was, or its loss is in the notes.
        saved: the scope as it is then.
        notes: what a person should know.
    """

    is_kept: bool = False
    saved: SavedScope | None = None
    notes: tuple[str, ...] = ()


class Backend(ABC):
    """A declared cache, for one build. What it has seen and opened for that build it keeps.

    Attributes:
        kind: the declared type.
        is_remote: it is reached over a network. Others are looked at first and saved to last:
            BuildKit writes the digest of its last export into a local layout's index, whichever
            export that was.
        import_mark: what BuildKit's name of an import of this kind contains; None where that is
            the cache's place.
        read_only: why it is only read in this build; None where it is written too.
    """

    kind: ClassVar[str]
    is_remote: ClassVar[bool] = True
    import_mark: ClassVar[str | None] = None
    read_only: str | None = None

    def __init__(self, settings: Any, setup: Setup) -> None:  # noqa: ANN401  # each kind has its own
        """Take what a configuration declares.

        Args:
            settings: the declaration.
            setup: the configuration that it is part of.
        """
        self.settings = settings
        self.setup = setup

    @property
    def keeps_all(self) -> bool:
        """Every stage is kept, and each scope by a name of its own."""
        return True

    @abstractmethod
    def find_place(self, scope: str) -> str:
        """Where the cache of a scope is: a directory or a ref."""

    def name_cache(self, scope: str) -> str:
        """What the cache of a scope is called, for people; no other cache is called so."""
        return self.find_place(scope)

    def list_others(
        self, scope: Scope, owners: Sequence[tuple[Owner, str]], *, reads_all: bool
    ) -> Iterator[Candidate]:
        """What a build may start from besides the scopes that it looks for by name.

        Args:
            scope: whose cache the build saves.
            owners: whose caches it may read, each with what it is to the build.
            reads_all: every cache that is there is imported.
        """
        del scope, owners, reads_all
        return iter(())

    def prepare(self, candidates: Sequence[Candidate], name: str, *, reads_all: bool) -> None:
        """Take what the build asks of it.

        Args:
            candidates: the caches of this backend that the build may start from, best first.
            name: the build's own name.
            reads_all: every cache that is there is imported.
        """
        del candidates, name, reads_all

    def open(self, stack: ExitStack | None, *, notes_denied: bool) -> None:
        """Make ready what the build reads and writes on this machine.

        Args:
            stack: removes it at the end of the build; None to look only, and write nothing.
            notes_denied: warn of what cannot be written.
        """
        del stack, notes_denied

    @abstractmethod
    def look(self, candidates: Sequence[Candidate]) -> None:
        """Look whether candidates are there; `judge` knows it then."""

    def look_further(
        self, scope: Scope, owners: Sequence[tuple[Owner, str]]
    ) -> tuple[tuple[Candidate, ...], tuple[str, ...]]:
        """More candidates where none of the others is there, and notes on looking for them."""
        del scope, owners
        return (), ()

    @abstractmethod
    def judge(self, candidate: Candidate) -> Sight:
        """Whether a candidate is there."""

    def find_error(self) -> str | None:
        """Why it is not known what is there; None where it is."""
        return None

    def list_troubles(self, *, saves: bool) -> Iterator[str]:
        """Why the backend is left out.

        Args:
            saves: the build saves to it.
        """
        del saves
        return iter(())

    def list_notes(self, settings: BuildSettings, directory: Path) -> Iterator[str]:
        """What a person should know before the build.

        Args:
            settings: what is built.
            directory: the working directory.
        """
        del settings, directory
        return iter(())

    def list_warnings(self) -> Iterator[str]:
        """What a person should know that was found while it was opened."""
        return iter(())

    @abstractmethod
    def import_flag(self, candidate: Candidate) -> CacheUse:
        """The flag that imports a candidate."""

    @abstractmethod
    def plan_save(self, wish: Wish, imports: Sequence[CacheUse]) -> SavePlan:
        """How a build is saved here."""

    def explain_failure(self, place: str, operation: str, error: str) -> str:
        """The warning of a transfer that failed.

        Args:
            place: the store's directory or the ref.
            operation: `reading` or `saving`.
            error: what BuildKit says.
        """
        return f"the {self.kind} cache `{place}`: {operation} failed: {error}"

    def retry_after_collision(
        self, runner: Runner, uses: Sequence[CacheUse], ran: RunResult
    ) -> tuple[CacheUse, ...] | None:
        """The flags to run a build again with that its own export made fail; else None."""
        del runner, uses, ran
        return None

    def finish_export(self, runner: Runner, uses: Sequence[CacheUse], ran: RunResult) -> RunResult:
        """The run after its export here is complete, where it needed more runs."""
        del runner, uses
        return ran

    def mend(self) -> tuple[str, ...]:
        """Verify what the build imported, and mend it; what was wrong with it."""
        return ()

    def drop_imports(self) -> None:  # noqa: B027  # most have nothing to drop
        """Import nothing in the next run."""

    def read_imports(self, imports: Sequence[CacheUse]) -> Iterator[CacheManifest | None]:
        """What the build started from here; None for what cannot be read."""
        return (None for _ in imports)

    def read_trusted(self, imports: Sequence[CacheUse]) -> Iterator[CacheManifest]:
        """What trusted builds have saved here."""
        del imports
        return iter(())

    @abstractmethod
    def save(self, save: Save, built: Built) -> SavedScope:
        """Save a build that succeeded."""

    def read_keys(self, scopes: Iterable[str]) -> Iterator[str]:
        """The keys of the hashes in earlier records, the best first."""
        del scopes
        return iter(())

    def keep_record(
        self, scope: Scope, record: bytes, key: str, saved: SavedScope | None
    ) -> KeptRecord:
        """Keep a build's record beside its scope, and keep the whole within its bounds.

        Args:
            scope: the build's scope.
            record: the record.
            key: the key of the hashes in it.
            saved: the scope after it was saved; None for a build that failed.
        """
        del scope, record, key
        return KeptRecord(saved=saved)

    def find_shared_ref(self) -> tuple[str, str, str] | None:
        """The one ref that builds of all images would write; None where each has its own.

        Returns:
            the ref, what is done with it, and how each image gets its own.
        """
        return None

    @abstractmethod
    def open_holder(self) -> Holder | None:
        """What reads its scopes and records; None where it keeps none."""
