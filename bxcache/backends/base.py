"""The protocol of backends: a declared cache, as one build reads and writes it.

A backend is one class in one file, a settings class in `config.backends` and a line in
`backends.declared`. No code above this package checks the kind of a backend.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from msgspec import Struct

from bxcache.backends.cache_result import CacheResult
from bxcache.buildx.option_text import Attributes, render_options
from bxcache.buildx.stream.events import Outcome
from bxcache.config.wording import name_option

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from collections.abc import Set as AbstractSet
    from contextlib import ExitStack
    from pathlib import Path

    from bxcache.backends.finding import Finding
    from bxcache.backends.holders import Holder
    from bxcache.buildx.capabilities import Capabilities
    from bxcache.buildx.run import Runner, RunResult
    from bxcache.buildx.stream.trace import CacheTransfer
    from bxcache.config.loading import Setup
    from bxcache.config.models import BuildSettings
    from bxcache.oci.documents import CacheManifest
    from bxcache.place.scope import Owner, Scope

IMPORT = "--cache-from"
EXPORT = "--cache-to"
NO_EXPORT = "the builder cannot export it"
NO_LAYER = "no step made a layer"
REFUSED = "results may come from the builder's own cache"
"""Why a cache is not saved, in a few words."""
DECLARED = ("cache", "backends")
"""The config key that declares backends."""


class CacheUse(Struct, frozen=True):
    """One cache flag of the build.

    Attributes:
        flag: `--cache-from` or `--cache-to`.
        place: the store's directory or the ref, for display.
        attributes: the flag's value, as pairs.
    """

    flag: str
    backend: Backend
    place: str
    scope: str
    attributes: Attributes
    reason: str

    @property
    def option(self) -> tuple[str, str]:
        return self.flag, render_options(self.attributes)

    @property
    def result(self) -> CacheResult:
        """The initial result for this cache, before the build."""
        where = self.backend.name_cache(self.scope)
        return CacheResult(self.backend.kind, self.place, self.scope, where=where)


class Candidate(Struct, frozen=True):
    """A cache that a build may import; `what` is its relation to the build, in words."""

    backend: Backend
    scope: str
    what: str

    @property
    def name(self) -> str:
        return self.backend.name_cache(self.scope)


class Sight(Struct, frozen=True):
    """The result of a lookup: `there` is None if unknown, and `verdict` says it in words."""

    there: bool | None
    verdict: str


class Wish(Struct, frozen=True):
    """The properties of a build that a backend needs to plan the save.

    Attributes:
        once: why the build cannot run again to save its result; None if it can.
        unbaked: why bake cannot build its stages; None if it can.
        inline_only: why the builder can export only inline caches; None if it exports all kinds.
        refuses_borrowed: do not save results that came from the builder's own cache.
        state: finds a guess of what is built, equal for equal files; empty if unknown. It can wait
            for git.
        reuses_all: whether the build is certain to reuse all its steps from an import. It can wait
            for files and records.
    """

    scope: Scope
    makes_image: bool = True
    once: str | None = None
    unbaked: str | None = None
    inline_only: str | None = None
    refuses_borrowed: bool = False
    state: Callable[[], str] = str
    reuses_all: Callable[[CacheUse], bool] = lambda _: False


class Save(Struct, frozen=True):
    """A scope that a build saves: itself, or `apart`, in a separate run after it.

    `limit` is how many seconds an export by the build itself may take. After that, the build is run
    again without it; None if it cannot run again, or if the export cannot stall.
    """

    use: CacheUse
    apart: bool = False
    limit: float | None = None

    def from_nothing(self) -> Save:
        """A copy for a build without imports."""
        return self


class SavePlan(Struct, frozen=True):
    """How a backend saves a build; it cannot save `unsaved` now.

    Notes say why it saves nothing, and `why` says so in a few words.
    """

    saves: tuple[Save, ...] = ()
    unsaved: tuple[CacheUse, ...] = ()
    notes: tuple[str, ...] = ()
    why: str = ""


class Salvage(Struct, frozen=True):
    """How to build what has finished of a failed build: its Dockerfile, and the stage to build.

    `seconds` is how long saving it may take.
    """

    file: Path
    stage: str
    seconds: float


class Built(Struct, frozen=True):
    """A build, as its backends save it: a successful one, or what finished of a failed one.

    Attributes:
        transfers: the build's own exports to this cache.
        sound: the digests of the layers that may be saved; None if all may.
        salvage: how to build what has finished; None after a successful build.
    """

    runner: Runner
    imports: tuple[CacheUse, ...]
    ran: RunResult
    transfers: tuple[CacheTransfer, ...] = ()
    sound: AbstractSet[str] | None = None
    salvage: Salvage | None = None

    @property
    def executed(self) -> bool:
        """Whether it executed a step."""
        return any(step.outcome is not Outcome.REUSED for step in self.ran.trace.steps)

    @property
    def trouble(self) -> str | None:
        """Why the build's own export is incomplete; None if it is complete."""
        errors = (each.error for each in self.transfers if each.error)
        return next(errors, None if self.transfers else "BuildKit did not export it")


class SavedScope(Struct, frozen=True):
    """A scope after it was saved.

    Attributes:
        run: the separate run that saved it, if any.
        warnings: why saving failed.
        key: the hash key of its last record; None if unknown.
        why: why it was not saved, in a few words; empty if it was or the warnings say why.
    """

    result: CacheResult
    run: RunResult | None = None
    warnings: tuple[str, ...] = ()
    key: str | None = None
    why: str = ""


class KeptRecord(Struct, frozen=True):
    """The scope after a build's record was stored, or the notes explain why it was not."""

    is_kept: bool = False
    saved: SavedScope | None = None
    notes: tuple[str, ...] = ()


class Backend(ABC):
    """A declared cache, for one build. It keeps the state of that build.

    Attributes:
        is_remote: whether it needs a network. Local backends are checked first and saved last:
            BuildKit writes the digest of its last export, of any kind, into the index of a local
            layout.
        import_mark: the part of BuildKit's name for an import that identifies this kind; None if
            that name contains the cache's place.
        keeps_images: whether its caches are images, which every builder can export.
        read_only: why this build only reads it; None if it also writes it.
    """

    kind: ClassVar[str]
    is_remote: ClassVar[bool] = True
    import_mark: ClassVar[str | None] = None
    keeps_images: ClassVar[bool] = False
    read_only: str | None = None

    def __init__(self, settings: Any, setup: Setup) -> None:  # noqa: ANN401  # each kind has its own
        self.settings = settings
        self.setup = setup

    @property
    def keeps_all(self) -> bool:
        """Whether it stores every stage, and each scope under its own name."""
        return True

    def use_builder(self, found: Capabilities) -> None:  # noqa: B027  # most need not know it
        """Take the builder of the build, before anything else."""

    def list_secrets(self) -> Iterator[str]:
        """List the credentials that docker uses for it, to be masked in all output."""
        return iter(())

    @abstractmethod
    def find_place(self, scope: str) -> str:
        """The directory or ref of a scope's cache."""

    def name_cache(self, scope: str) -> str:
        """A unique display name for the cache of a scope."""
        return self.find_place(scope)

    def list_others(
        self, scope: Scope, owners: Sequence[tuple[Owner, str]], *, reads_all: bool
    ) -> Iterator[Candidate]:
        """List more candidates, beyond those that the build of a scope looks up by name.

        The owners are those of the caches that it may read, each with its relation in words.
        """
        return iter(())

    def prepare(  # noqa: B027  # some backends have no state to prepare
        self, candidates: Sequence[Candidate], name: str, *, reads_all: bool
    ) -> None:
        """Take the caches that the build of this name may import, or all of them; best first."""

    def open(self, stack: ExitStack | None, *, notes_denied: bool) -> None:  # noqa: B027
        """Prepare the directories that the build reads and writes on this machine.

        The stack removes them at the end of the build; without one, only look and write nothing.
        On request, warn if the store is not writable.
        """

    @abstractmethod
    def look(self, candidates: Sequence[Candidate]) -> None:
        """Look candidates up, so that `judge` knows whether they exist."""

    def look_further(
        self, scope: Scope, owners: Sequence[tuple[Owner, str]]
    ) -> tuple[tuple[Candidate, ...], tuple[str, ...]]:
        """Find more candidates if none of the others exists, with notes about the search."""
        return (), ()

    @abstractmethod
    def judge(self, candidate: Candidate) -> Sight:
        """Whether a candidate exists."""

    def find_error(self) -> str | None:
        """Why the lookup failed; None if it succeeded."""
        return None

    def list_troubles(self, *, saves: bool) -> Iterator[str]:
        """Explain why a build, which may save to this backend, does not use it."""
        return iter(())

    def list_notes(self, settings: BuildSettings, directory: Path) -> Iterator[str]:
        """List notes for the user before a build with these settings in a directory."""
        return iter(())

    def list_warnings(self) -> Iterator[str]:
        """List warnings from `open`."""
        return iter(())

    @abstractmethod
    def import_flag(self, candidate: Candidate) -> CacheUse:
        """The flag that imports a candidate."""

    @abstractmethod
    def plan_save(self, wish: Wish, imports: Sequence[CacheUse]) -> SavePlan:
        """Plan how to save a build here."""

    def explain_failure(self, place: str, operation: str, error: str) -> str:
        """The warning about a failed transfer; the operation is `reading` or `saving`."""
        return f"the {self.kind} cache `{place}`: {operation} failed: {error}"

    def retry_after_collision(
        self, runner: Runner, uses: Sequence[CacheUse], ran: RunResult
    ) -> tuple[CacheUse, ...] | None:
        """The flags for another run if the build failed because of its own export; else None."""
        return None

    def finish_export(self, runner: Runner, uses: Sequence[CacheUse], ran: RunResult) -> RunResult:
        """Complete the export here, with more runs if needed; the run's result after that."""
        return ran

    def blames(self, error: str) -> bool:
        """Whether an error of docker, with which a build failed, is of this cache."""
        return False

    def mend(self, fault: str, imports: Sequence[CacheUse]) -> tuple[str, ...]:
        """Verify the imported caches and repair them, after a build failed with a fault of them.

        Return what was wrong.
        """
        return ()

    def drop_imports(self) -> None:  # noqa: B027  # most backends have no state to drop
        """Import nothing in the next run."""

    def read_imports(self, imports: Sequence[CacheUse]) -> Iterator[CacheManifest | None]:
        """Read the imported caches of this backend; None for an unreadable one."""
        return (None for _ in imports)

    def read_trusted(self, imports: Sequence[CacheUse]) -> Iterator[CacheManifest]:
        """Read the caches that trusted builds saved here."""
        return iter(())

    @abstractmethod
    def save(self, save: Save, built: Built) -> SavedScope:
        """Save a successful build, or what finished of a failed one if the backend can.

        What finished is added to the scope; it never replaces what the scope has.
        """

    @property
    def salvages(self) -> bool:
        """Whether it can save what finished of a failed build."""
        return False

    def read_keys(self, scopes: Iterable[str]) -> Iterator[str]:
        """Read the hash keys of earlier records, best first."""
        return iter(())

    def keep_record(
        self, scope: Scope, record: bytes, key: str, saved: SavedScope | None
    ) -> KeptRecord:
        """Store a build's record with its scope, and enforce the size and age limits.

        The record has hashes with a key. A failed build saved no scope.
        """
        return KeptRecord(saved=saved)

    def find_shared_ref(self) -> tuple[str, str, str] | None:
        """The ref that builds of all images share, what they do with it, and a remedy; or None."""
        return None

    def explain_read_only(self, place: str) -> str:
        """Explain why an untrusted build does not save to a place that a config file names."""
        why = (
            f"an untrusted build does not save where a file says; `{name_option('backends')}` or "
            "BXCACHE_CACHE_BACKENDS in the job says where it may"
        )
        return f"`{place}` ({self.setup.source_of(DECLARED)}) is read-only: {why}"

    def diagnose(self, ask: Callable[[], Capabilities | None], *, saves: bool) -> Iterator[Finding]:
        """Examine the backend for the doctor, and yield what was found, as it is found.

        It changes nothing. It may take a few seconds and may raise any error: the doctor ends what
        takes longer, turns an error into a finding, and keeps what was yielded before. What cannot
        be known is a warning that says so. A secret is in no text.

        Args:
            ask: waits for what docker and the builder can do; None if that is unknown. A backend
                that the builder may not support asks; others need not wait.
            saves: whether a build here may save.
        """
        return iter(())

    @abstractmethod
    def open_holder(self) -> Holder | None:
        """Open a reader of its scopes and records; None if it stores none."""
