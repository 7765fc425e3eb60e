"""Everything that is settled before docker runs: checks, the store, the plan, the arguments."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from bxcache.backends.base import CacheUse, Candidate
from bxcache.backends.local import LocalState
from bxcache.backends.location import find_location
from bxcache.buildx.bake.stages import explain_unbaked
from bxcache.buildx.capabilities import check_reachable, explain_inline_only
from bxcache.buildx.command import (
    Command,
    Saving,
    as_repetition,
    explain_once,
    exports_image,
    render_build,
)
from bxcache.buildx.extra_flags import LAYERLESS, METADATA_FILE, drop_flags, find_values
from bxcache.buildx.ignore_file import note_sent
from bxcache.buildx.run import METADATA, Runner
from bxcache.buildx.stream.events import Event, Noted
from bxcache.config.backends import LocalBackend
from bxcache.config.reference import Reference
from bxcache.errors import RegistryError, StoreError
from bxcache.pipeline.candidates import list_candidates, list_overlapping
from bxcache.pipeline.choose import Outlook, make_plan
from bxcache.place.image_name import find_image
from bxcache.place.scope import Scope
from bxcache.place.trust import Trust, explain_read_only
from bxcache.store.collection import Limits
from bxcache.store.staging import Staging, draw_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from contextlib import ExitStack

    from bxcache.buildx.capabilities import Capabilities
    from bxcache.buildx.driver import Docker
    from bxcache.buildx.stream.events import Observer
    from bxcache.config.backends import Backend
    from bxcache.config.loading import Setup
    from bxcache.pipeline.opening import Opening
    from bxcache.pipeline.plan import BuildPlan
    from bxcache.pipeline.request import BuildRequest
    from bxcache.redaction import Redactor
    from bxcache.registry.probing import Sighting
    from bxcache.store.store import Store


_MOST_PAGES = 10
"""So much of a registry's list of tags is read for a cache of other platforms."""
_MOST_FURTHER = 4
"""So many of these are looked up."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """All that is known before anything is written.

    Attributes:
        trust: where it runs, and which caches it may read and save.
        candidates: the caches that it may start from, best first.
        limits: the bounds of the store.
        name: the build's own name, for its staging layout and its small files.
        notes: what a person should know although nothing is wrong.
        metadata_wish: where the caller wants docker's metadata file, if anywhere.
        store_trouble: why the store's directory cannot be one, or an empty string.
    """

    request: BuildRequest
    setup: Setup
    docker: Docker
    capabilities: Capabilities
    trust: Trust
    scope: Scope
    candidates: tuple[Candidate, ...]
    store: Store | None
    limits: Limits
    name: str
    notes: tuple[str, ...]
    metadata_wish: Path | None = None
    store_trouble: str = ""

    @property
    def folder(self) -> Path:
        """The build's own folder for small files. It is not in the store: a full disk there must
        not keep docker from writing what it has to."""
        return _find_folder(self.name)

    @property
    def metadata_file(self) -> Path:
        """Where docker leaves the metadata, which has more in it than the caller may want."""
        return self.folder / METADATA


def _find_folder(name: str) -> Path:
    return Path(tempfile.gettempdir()) / f"bxcache-{name}"


def make_folder(prepared: Prepared, stack: ExitStack) -> None:
    """Make the build's own folder for small files; it is gone when the stack ends."""
    prepared.folder.mkdir(mode=0o700)
    stack.callback(shutil.rmtree, prepared.folder, ignore_errors=True)


def prepare(opening: Opening, *, boot: bool, observe: Observer | None = None) -> Prepared:
    """Check everything that can be checked before anything is written.

    Args:
        opening: the build.
        boot: start the builder if it is not running.
        observe: is told when that takes its time.

    Raises:
        EngineError: docker cannot build.
    """
    request, setup = opening.request, opening.setup
    wish = "".join(find_values(request.extra, METADATA_FILE)[-1:])
    request = replace(request, extra=drop_flags(request.extra, (METADATA_FILE,)))
    location = find_location(setup)
    store = location.store if location else None
    settings = setup.config.build
    capabilities = opening.docker.learn(
        opening.ahead, settings.builder, boot=boot, on_slow=partial(_tell_waiting, observe)
    )
    trust = opening.trust
    if request.donor:
        trust = replace(trust, writes=False, reason="")
    check_reachable(capabilities)
    platforms = settings.platforms or (capabilities.default_platform,)
    scope = Scope(find_image(setup, request.directory), settings.target, platforms, trust.owner)
    path = store.path if store is not None else None
    return Prepared(
        request=request,
        setup=setup,
        docker=opening.docker,
        capabilities=capabilities,
        trust=trust,
        scope=scope,
        candidates=list_candidates(
            setup.config, scope, trust, path, request.donor, stored=list_stored(store)
        ),
        store=store,
        limits=location.limits if location else Limits(),
        name=draw_name(),
        notes=(*setup.notes, *trust.notes),
        metadata_wish=request.directory / wish if wish else None,
        store_trouble=_find_trouble(store) if store is not None else "",
    )


def list_read_only(setup: Setup) -> dict[Backend, str]:
    """The backends that are only read, each with the reason."""
    found = {each: explain_read_only(setup, each) for each in setup.config.cache.backends}
    return {backend: why for backend, why in found.items() if why}


def list_stored(store: Store | None) -> tuple[str, ...]:
    """The scopes that a store has; none where it cannot be read, which is said elsewhere."""
    try:
        return tuple(store.read_scopes()) if store is not None else ()
    except (StoreError, OSError):
        return ()


def _find_trouble(store: Store) -> str:
    """Why a directory can be no store, and what to do about it; or an empty string."""
    try:
        store.check()
    except StoreError as error:
        return "; ".join(filter(None, (error.message, error.hint)))
    except OSError as error:
        return f"`{error.filename}`: {error.strerror}"
    return ""


def note_store(prepared: Prepared) -> tuple[str, ...]:
    """What a person should know of a store that lies in a build context."""
    store = prepared.store
    if store is None or prepared.store_trouble:
        return ()
    settings, directory = prepared.setup.config.build, prepared.request.directory
    return tuple(note_sent(directory, settings, store.path))


def _tell_waiting(observe: Observer | None) -> None:
    if observe is not None:
        observe(Noted("waiting for the builder to start"))


def look_at_store(prepared: Prepared) -> LocalState | None:
    """The store as a build would find it, without touching it."""
    store = prepared.store
    if store is None:
        return None
    if prepared.store_trouble:
        return LocalState(store.path, store.path, trouble=prepared.store_trouble)
    denied = store.find_denied()
    if denied:
        return _read_in_place(prepared, store, denied)
    staging = store.staging_path(prepared.name)
    try:
        scopes = store.read_scopes()
    except StoreError as error:
        return LocalState(store.path, staging, trouble=error.message)
    wanted = [name for name in _list_donors(prepared) if name in scopes]
    taken = wanted if _reads_all(prepared) else wanted[:1]
    return LocalState(store.path, staging, {name: scopes[name].digest for name in taken})


def _reads_all(prepared: Prepared) -> bool:
    return prepared.setup.config.cache.read_all


def _list_donors(prepared: Prepared) -> list[str]:
    found = prepared.candidates
    return [each.scope for each in found if isinstance(each.backend, LocalBackend)]


def open_store(prepared: Prepared, stack: ExitStack) -> tuple[Staging | None, LocalState | None]:
    """The store's staging layout for this build, kept until the stack ends, and its state.

    A store that cannot be read costs a warning: its trouble is told in the state.
    """
    store = prepared.store
    if store is None:
        return None, None
    if prepared.store_trouble:
        return None, LocalState(store.path, store.path, trouble=prepared.store_trouble)
    denied = store.find_denied()
    if denied:
        return None, _read_in_place(prepared, store, denied)
    state = LocalState(store.path, store.staging_path(prepared.name))
    try:
        donors, every = _list_donors(prepared), _reads_all(prepared)
        staging = stack.enter_context(store.snapshot(prepared.name, donors, every=every))
    except StoreError as error:
        return None, _read_in_place(prepared, store, error.message)
    for name in staging.swept:
        shutil.rmtree(_find_folder(name), ignore_errors=True)
    found = {each.ref_name: each.digest for each in staging.donors}
    return staging, replace(state, donors=found, notes=staging.notes)


def _read_in_place(prepared: Prepared, store: Store, denied: str) -> LocalState:
    """A store that cannot be written: BuildKit reads it where it lies, where it is whole."""
    noted = prepared.trust.writes
    notes = (f"{denied}; it is only read, and nothing is saved",) if noted else ()
    state = LocalState(store.path, store.path, notes=notes, read_only=True)
    try:
        donor = store.find_whole(_list_donors(prepared))
    except StoreError as error:
        return replace(state, trouble=error.message, notes=())
    return replace(state, donors={donor.ref_name: donor.digest}) if donor else state


def plan_build(prepared: Prepared, state: LocalState | None) -> BuildPlan:
    """Choose the caches, looking up in registries what the choice depends on."""
    settings = prepared.setup.config.build
    outlook = Outlook(
        config=prepared.setup.config,
        scope=prepared.scope,
        trust=prepared.trust,
        candidates=prepared.candidates,
        local=state,
        sightings=_probe_refs(prepared, state),
        makes_image=exports_image(settings, prepared.capabilities.builder.driver),
        once=explain_once(settings, prepared.request.extra),
        unbaked=explain_unbaked(settings, prepared.request.extra),
        inline_only=explain_inline_only(prepared.capabilities),
        read_only=list_read_only(prepared.setup),
    )
    plan = make_plan(outlook)
    if plan.imports or settings.no_cache or prepared.request.donor:
        return plan
    further, notes = _look_further(prepared, outlook.sightings)
    if further:
        refs = {each.place: insecure for each, insecure in further.items()}
        sightings = {**outlook.sightings, **_probe(refs)}
        candidates = (*outlook.candidates, *further)
        plan = make_plan(replace(outlook, candidates=candidates, sightings=sightings))
    return replace(plan, notes=(*plan.notes, *notes))


def _look_further(
    prepared: Prepared, sightings: Mapping[str, Sighting]
) -> tuple[dict[Candidate, bool], list[str]]:
    """What registries have for other platforms, each with whether its registry may be insecure.

    Which sets of platforms were built is not known, so the tags are listed: one request for 1000.
    """
    config, found, notes = prepared.setup.config, dict[Candidate, bool](), []
    owners = tuple(prepared.trust.list_owners(config.cache.read))
    for backend in config.cache.backends:
        if isinstance(backend, LocalBackend) or not backend.keeps_all:
            continue
        own = Reference.parse(backend.ref)
        seen = [each for ref, each in sightings.items() if Reference.parse(ref).name == own.name]
        if own.tag or not seen or any(each.error for each in seen):
            continue
        try:
            tags = seen[0].repository.list_tags(_MOST_PAGES)
        except RegistryError as error:
            notes.append(f"caches for other platforms were not looked for: {error}")
            continue
        further = list_overlapping(prepared.scope, owners, backend, tags)
        found |= dict.fromkeys(islice(further, _MOST_FURTHER), backend.insecure)
    return found, notes


def _probe_refs(prepared: Prepared, state: LocalState | None) -> dict[str, Sighting]:
    """Look up the refs that the choice of a donor depends on."""
    config = prepared.setup.config
    refs: dict[str, bool] = {}
    for each in () if config.build.no_cache else prepared.candidates:
        if not isinstance(each.backend, LocalBackend):
            refs[each.place] = each.backend.insecure
        elif state is not None and state.offers(each.scope) and not config.cache.read_all:
            break
    return _probe(refs)


def _probe(refs: Mapping[str, bool]) -> dict[str, Sighting]:
    if not refs:
        return {}
    from bxcache.registry.probing import probe_refs  # noqa: PLC0415  # only a registry needs it

    return probe_refs(refs, os.environ)


def render_arguments(prepared: Prepared, uses: Iterable[CacheUse]) -> tuple[str, ...]:
    """What follows `docker` in this build."""
    return render_build(
        prepared.setup.config.build,
        cache_options=[use.option for use in uses],
        metadata_file=str(prepared.metadata_file),
        extra=prepared.request.extra,
    )


def make_runner(
    prepared: Prepared,
    redact: Redactor,
    tell: Callable[[Event], None],
    repeat: Callable[[Saving], Command],
    stdin: bytes | None = None,
) -> Runner:
    """What all runs of docker in this build share."""
    request = prepared.request
    return Runner(
        docker=prepared.docker,
        capabilities=prepared.capabilities,
        settings=prepared.setup.config.build,
        directory=request.directory,
        extra=request.extra,
        folder=prepared.folder,
        redact=redact,
        report=tell,
        repeat=repeat,
        stdin=stdin,
        stdout=request.stdout,
        stop=request.stop,
        raw=request.raw,
    )


def render_save(prepared: Prepared, saving: Saving) -> Command:
    """A run of docker that only saves what the build has made."""
    arguments = render_build(
        as_repetition(prepared.setup.config.build, saving.platform),
        cache_options=saving.options,
        metadata_file=str(saving.metadata),
        extra=drop_flags(prepared.request.extra, LAYERLESS),
    )
    return Command(arguments, saving.metadata)
