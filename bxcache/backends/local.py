"""A store on this machine as a backend.

A build reads and writes a staging layout instead of the store. After the build, its export is
linked into the store.
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from msgspec import Struct, field
from msgspec.structs import asdict, replace

from bxcache.backends.base import (
    DECLARED,
    EXPORT,
    IMPORT,
    NO_EXPORT,
    NO_LAYER,
    Backend,
    CacheUse,
    Candidate,
    KeptRecord,
    Save,
    SavedScope,
    SavePlan,
    Sight,
)
from bxcache.backends.holders import DirectoryHolder, is_trusted, read_keys
from bxcache.backends.location import locate_store
from bxcache.buildx.context.ignore import note_sent
from bxcache.config.wording import name_call
from bxcache.errors import StoreError
from bxcache.store.layout import Layout, read_manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from contextlib import ExitStack
    from pathlib import Path

    from bxcache.backends.base import Built, Wish
    from bxcache.backends.finding import Finding
    from bxcache.buildx.capabilities import Capabilities
    from bxcache.buildx.run import Runner, RunResult
    from bxcache.config.backends import LocalSettings
    from bxcache.config.loading import Setup
    from bxcache.config.models import BuildSettings
    from bxcache.oci.documents import CacheManifest
    from bxcache.place.scope import Owner, Scope
    from bxcache.store.staging import Staging

PLAIN_TAG = "latest"
"""The default tag of a local cache export."""


class StoreState(Struct, frozen=True):
    """The state of a store for one build.

    Attributes:
        folder: the layout that buildx reads and writes instead of the store.
        donors: the scopes that can be imported, each with its manifest's digest.
        trouble: why the store cannot be used; None if it can.
        notes: repairs that were made, or why the store is only read.
    """

    folder: Path
    donors: Mapping[str, str] = field(default_factory=dict)
    trouble: str | None = None
    notes: tuple[str, ...] = ()
    is_writable: bool = True


class LocalBackend(Backend):
    """A store: a directory with one scope per image, target and platform."""

    kind = "local"
    is_remote = False
    import_mark: ClassVar[str | None] = " from local:"

    settings: LocalSettings

    def __init__(self, settings: LocalSettings, setup: Setup) -> None:
        super().__init__(settings, setup)
        location = locate_store(setup, settings)
        self.store, self.limits = location.store, location.limits
        self.state = StoreState(self.store.path)
        self.staging: Staging | None = None
        self._donors: tuple[str, ...] = ()
        self._name = ""
        self._find_state: Callable[[], str] = str
        self._reads_all = False
        if setup.is_guarded and settings.dir is not None and not setup.is_callers(DECLARED):
            self.read_only = self.explain_read_only(settings.dir)

    def find_place(self, scope: str) -> str:
        return str(self.store.path)

    def name_cache(self, scope: str) -> str:
        return f"`{scope}` in {self.store.path}"

    def list_others(
        self, scope: Scope, owners: Sequence[tuple[Owner, str]], *, reads_all: bool
    ) -> Iterator[Candidate]:
        """List scopes for other platforms, and the scope that plain buildx exported."""
        # With `read_all`, an extra import would make BuildKit miss steps of the other caches.
        known = () if reads_all else self._list_stored()
        for name, what in scope.list_related(owners, known):
            yield Candidate(self, name, what)
        yield Candidate(self, PLAIN_TAG, "what plain buildx left there")

    def _list_stored(self) -> tuple[str, ...]:
        # An unreadable store is reported elsewhere.
        with suppress(StoreError, OSError):
            return tuple(self.store.read_scopes())
        return ()

    def prepare(self, candidates: Sequence[Candidate], name: str, *, reads_all: bool) -> None:
        self._donors = tuple(each.scope for each in candidates)
        self._name, self._reads_all = name, reads_all

    @cached_property
    def _trouble(self) -> str | None:
        """Why the directory cannot be a store, and how to fix that."""
        try:
            self.store.check()
        except StoreError as error:
            return "; ".join(filter(None, (error.message, error.hint)))
        except OSError as error:
            return f"`{error.filename}`: {error.strerror}"
        return None

    def _read_in_place(self, denied: str, *, noted: bool) -> StoreState:
        """The state of a read-only store: BuildKit reads it in place, if it is complete."""
        notes = (f"{denied}; it is only read, and nothing is saved",) if noted else ()
        state = StoreState(self.store.path, notes=notes, is_writable=False)
        try:
            donor = self.store.find_whole(self._donors)
        except StoreError as error:
            return replace(state, trouble=error.message, notes=())
        return replace(state, donors={donor.ref_name: donor.digest}) if donor else state

    def open(self, stack: ExitStack | None, *, notes_denied: bool) -> None:
        """Create the staging layout. An unreadable store causes a warning."""
        if self._trouble is not None:
            self.state = StoreState(self.store.path, trouble=self._trouble)
            return
        denied = self.store.find_denied()
        if denied:
            self.state = self._read_in_place(denied, noted=notes_denied)
        elif stack is None:
            self.state = self._look()
        else:
            self._make_staging(stack, notes_denied=notes_denied)

    def _look(self) -> StoreState:
        """The state that a build would find, without changing the store."""
        folder = self.store.staging_path(self._name)
        try:
            scopes = self.store.read_scopes()
        except StoreError as error:
            return StoreState(folder, trouble=error.message)
        wanted = [name for name in self._donors if name in scopes]
        taken = wanted if self._reads_all else wanted[:1]
        return StoreState(folder, {name: scopes[name].digest for name in taken})

    def _make_staging(self, stack: ExitStack, *, notes_denied: bool) -> None:
        try:
            snapshot = self.store.snapshot(self._name, self._donors, every=self._reads_all)
            staging = stack.enter_context(snapshot)
        except StoreError as error:
            self.state = self._read_in_place(error.message, noted=notes_denied)
            return
        from bxcache.buildx.run import locate_folder  # noqa: PLC0415  # runs docker

        for name in staging.swept:
            shutil.rmtree(locate_folder(name), ignore_errors=True)
        found = {each.ref_name: each.digest for each in staging.donors}
        self.staging = staging
        self.state = StoreState(staging.path, found, notes=staging.notes)

    def look(self, candidates: Sequence[Candidate]) -> None:
        """Do nothing: `prepare` and `open` have already looked."""

    def judge(self, candidate: Candidate) -> Sight:
        there = candidate.scope in self.state.donors
        return Sight(there, "it is there" if there else "there is none")

    def list_troubles(self, *, saves: bool) -> Iterator[str]:
        if self.state.trouble is not None:
            yield f"the local cache `{self.store.path}` was not used: {self.state.trouble}"

    def list_notes(self, settings: BuildSettings, directory: Path) -> Iterator[str]:
        """Note that the store lies in the build context."""
        if self._trouble is None:
            yield from note_sent(directory, settings, self.store.path)

    def list_warnings(self) -> Iterator[str]:
        """List repairs of the store, or why it is only read."""
        yield from (f"in the store `{self.store.path}`: {note}" for note in self.state.notes)

    def import_flag(self, candidate: Candidate) -> CacheUse:
        digest = self.state.donors[candidate.scope]
        attributes = (("type", "local"), ("src", str(self.state.folder)), ("digest", digest))
        reason = f"the store has the scope `{candidate.scope}`, {candidate.what}"
        return CacheUse(IMPORT, self, self.find_place(""), candidate.scope, attributes, reason)

    def plan_save(self, wish: Wish, imports: Sequence[CacheUse]) -> SavePlan:
        """Plan an export by the build itself to the staging layout.

        A build that is likely to have nothing new is exported apart from it, if it has.
        """
        self._find_state = wish.state
        attributes = (
            ("type", "local"),
            ("dest", str(self.state.folder)),
            ("tag", wish.scope.name),
            ("mode", "max"),
            ("image-manifest", "true"),
            *self.settings.list_compression(),
            ("ignore-error", "true"),
        )
        apart = self._expects_nothing(wish, imports)
        reason = f"every stage is staged there, then linked into the store {self.store.path}"
        reason = f"{reason}, if anything is new" if apart else reason
        place, name = self.find_place(""), wish.scope.name
        use = CacheUse(EXPORT, self, place, name, attributes, reason)
        why = NO_EXPORT if wish.inline_only else ""
        if self.state.trouble is not None or not self.state.is_writable:
            why = "the store cannot be written"
        return SavePlan(unsaved=(use,), why=why) if why else SavePlan(saves=(Save(use, apart),))

    def _expects_nothing(self, wish: Wish, imports: Sequence[CacheUse]) -> bool:
        """Whether the build starts from its own scope, and that was built from the same files."""
        own = (use for use in imports if use.backend is self and use.scope == wish.scope.name)
        use = next(own, None)
        if use is None or wish.once or len(wish.scope.platforms) > 1:
            return False
        with suppress(StoreError, OSError):
            before = self.store.read_state(wish.scope.name)
            return (bool(before) and before == wish.state()) or wish.reuses_all(use)
        return False

    def explain_failure(self, place: str, operation: str, error: str) -> str:
        what = "could not be read" if operation == "reading" else "was not saved"
        return f"the local cache `{place}` {what}: {error}"

    def retry_after_collision(
        self, runner: Runner, uses: Sequence[CacheUse], ran: RunResult
    ) -> tuple[CacheUse, ...] | None:
        """The flags for another run if several nodes wrote the layout at once; else None."""
        from bxcache.backends.local_save import retry_after_collision  # noqa: PLC0415  # runs docker

        found = self._find_export(uses)
        return retry_after_collision(runner, uses, ran, *found) if found else None

    def finish_export(self, runner: Runner, uses: Sequence[CacheUse], ran: RunResult) -> RunResult:
        """Repeat the export if nodes collided; the run's result after that."""
        from bxcache.backends.local_save import export_again  # noqa: PLC0415  # runs docker

        found = self._find_export(uses)
        return export_again(runner, uses, ran, *found) if found and not ran.exit_status else ran

    def _find_export(self, uses: Iterable[CacheUse]) -> tuple[Staging, CacheUse] | None:
        own = (use for use in uses if use.flag == EXPORT and use.backend is self)
        return next(((self.staging, use) for use in own if self.staging is not None), None)

    def mend(self, fault: str, imports: Sequence[CacheUse]) -> tuple[str, ...]:
        donors = self.staging.donors if self.staging is not None else ()
        with suppress(StoreError):
            if donors:
                return self.store.repair(full=True, scopes=[each.ref_name for each in donors])
        return ()

    def drop_imports(self) -> None:
        if self.staging is not None:
            self.staging.empty()

    def read_imports(self, imports: Sequence[CacheUse]) -> Iterator[CacheManifest | None]:
        if self.staging is not None:
            layout, donors = self.staging.layout, self.staging.donors
        else:
            # Nothing is built, so the store itself is read.
            layout, known = Layout.at(self.store.path), self.store.read_scopes()
            donors = tuple(known[use.scope] for use in imports if use.scope in known)
        for donor in donors if imports else ():
            try:
                yield read_manifest(layout, donor)
            except (StoreError, OSError):
                yield None

    def read_trusted(self, imports: Sequence[CacheUse]) -> Iterator[CacheManifest]:
        """Read the scopes that a trusted build saved last, and that of a read-only store."""
        imported = {use.scope for use in imports}
        layout = Layout.at(self.store.path)
        with suppress(StoreError, OSError):
            for name, entry in self.store.read_scopes().items():
                last = next(reversed(self.store.read_records(name)), None)
                if name in imported or is_trusted(last):
                    with suppress(StoreError, OSError):
                        yield read_manifest(layout, entry)

    def save(self, save: Save, built: Built) -> SavedScope:
        """Link the build's export into the store."""
        from bxcache.backends.local_save import (  # noqa: PLC0415  # runs docker
            export_apart,
            has_all,
            join_times,
            measure_work,
        )

        result, place, run = save.use.result, save.use.place, None
        if built.salvage is not None:
            built, run = export_apart(built, save.use)
        elif save.apart and self.staging is not None:
            donor = self.staging.donors[0]
            if has_all(self.staging.layout, donor, built.ran):
                renewed = self.store.renew(save.use.scope, donor.digest, self._find_state())
                if renewed is not None:
                    return SavedScope(replace(result, **asdict(renewed)))
            built, run = export_apart(built, save.use)
        if built.trouble is not None:
            warning = self.explain_failure(place, "saving", built.trouble)
            return SavedScope(result, warnings=(warning,))
        digests = [each.digest for each in built.transfers if each.digest]
        if self.staging is None or not digests:
            # BuildKit writes no manifest if no step made a layer.
            return SavedScope(replace(result, contents=frozenset()), why=NO_LAYER)
        first, *others = digests
        if built.salvage is not None and run is not None:
            work = measure_work(join_times(built.ran, run))
        else:
            work = replace(measure_work(built.ran), state=self._find_state())
        try:
            saved = self.store.commit(
                self.staging,
                save.use.scope,
                first,
                work,
                others=others,
                suspect=bool(built.ran.trace.unloaded),
                sound=built.sound,
                executed=built.executed,
                adds=built.salvage is not None,
            )
        except StoreError as failure:
            warning = self.explain_failure(place, "saving", failure.message)
            return SavedScope(result, warnings=(warning,))
        return SavedScope(replace(result, exported=True, **asdict(saved)), run)

    @property
    def salvages(self) -> bool:
        return True

    def read_keys(self, scopes: Iterable[str]) -> Iterator[str]:
        if self._trouble is None:
            for scope in scopes:
                yield from read_keys(reversed(self.store.read_records(scope)))

    def keep_record(
        self, scope: Scope, record: bytes, key: str, saved: SavedScope | None
    ) -> KeptRecord:
        """Store the record of any build, and collect garbage after a save."""
        if self.staging is None:
            return KeptRecord(saved=saved)
        notes: tuple[str, ...] = ()
        try:
            self.store.add_record(scope.name, record)
        except StoreError as error:
            notes = (f"`{name_call('history')}` will not know this build: {error.message}",)
        if saved is None or not saved.result.exported:
            return KeptRecord(is_kept=True, saved=saved, notes=notes)
        from bxcache.backends.local_save import collect_store  # noqa: PLC0415  # runs docker

        saved, collected = collect_store(self.store, self.limits, saved)
        return KeptRecord(is_kept=True, saved=saved, notes=(*notes, *collected))

    def diagnose(self, ask: Callable[[], Capabilities | None], *, saves: bool) -> Iterator[Finding]:
        """Examine the store: whether it can be used, its content, what is left over, the space."""
        from bxcache.backends.local_findings import diagnose_store  # noqa: PLC0415  # the doctor's

        mends = self.read_only is None
        yield from diagnose_store(self.store, self.limits, saves=saves and mends, mends=mends)

    def open_holder(self) -> DirectoryHolder:
        return DirectoryHolder(self.store.path)
