"""Everything that is settled before docker runs: checks, the store, the plan, the arguments."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bxcache.buildx.capabilities import check_capabilities
from bxcache.buildx.command import (
    Command,
    Saving,
    as_repetition,
    explain_once,
    exports_image,
    render_build,
)
from bxcache.buildx.events import Noted
from bxcache.buildx.extra_flags import LAYERLESS, drop_flags
from bxcache.buildx.stage_bake import explain_unbaked
from bxcache.config.backends import LocalBackend
from bxcache.config.paths import find_dockerfile, is_remote
from bxcache.errors import StoreError
from bxcache.location import find_location
from bxcache.placement import Placement, explain_unsaved
from bxcache.plan.candidates import list_candidates
from bxcache.plan.choice import Outlook, make_plan
from bxcache.plan.plan import BuildPlan, Candidate, LocalState
from bxcache.request import find_metadata_file
from bxcache.scope import Scope, find_image
from bxcache.store.collection import Limits
from bxcache.store.staging import Staging, draw_name

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import ExitStack

    from bxcache.buildx.capabilities import Capabilities
    from bxcache.buildx.driver import Docker
    from bxcache.buildx.events import Observer
    from bxcache.config.backends import Backend
    from bxcache.config.loading import Setup
    from bxcache.opening import Opening
    from bxcache.registry.probing import Sighting
    from bxcache.request import BuildRequest
    from bxcache.store.store import Store


@dataclass(frozen=True, slots=True)
class Prepared:
    """All that is known before anything is written.

    Attributes:
        placement: where it runs, and what follows from that.
        candidates: the caches that it may start from, best first.
        limits: the bounds of the store.
        name: the build's own name, for its staging layout and its small files.
        notes: what a person should know although nothing is wrong.
    """

    request: BuildRequest
    setup: Setup
    docker: Docker
    capabilities: Capabilities
    placement: Placement
    scope: Scope
    candidates: tuple[Candidate, ...]
    store: Store | None
    limits: Limits
    name: str
    notes: tuple[str, ...]

    @property
    def folder(self) -> Path:
        """The build's own folder for small files. It is not in the store: a full disk there must
        not keep docker from writing what it has to."""
        return _find_folder(self.name)

    @property
    def metadata_file(self) -> Path:
        """Where docker leaves the metadata: where the caller wants it, else in the own folder."""
        wanted = find_metadata_file(self.request.extra)
        return self.request.directory / wanted if wanted else self.folder / "metadata.json"


def _find_folder(name: str) -> Path:
    return Path(tempfile.gettempdir()) / f"bxcache-{name}"


def make_folder(prepared: Prepared, stack: ExitStack) -> None:
    """Make the build's own folder for small files; it is gone when the stack ends."""
    stack.callback(shutil.rmtree, prepared.folder, ignore_errors=True)
    prepared.folder.mkdir(mode=0o700)


def prepare(opening: Opening, *, boot: bool, observe: Observer | None = None) -> Prepared:
    """Check everything that can be checked before anything is written.

    Args:
        opening: the build.
        boot: start the builder if it is not running.
        observe: is told when that takes its time.

    Raises:
        StoreError: the local store's directory cannot be one.
        EngineError: docker cannot do what is asked for.
    """
    request, setup = opening.request, opening.setup
    location = find_location(setup)
    store = location.store if location else None
    if store is not None:
        store.check()
    settings, cache = setup.config.build, setup.config.cache
    capabilities = opening.docker.learn(
        opening.ahead, settings.builder, boot=boot, on_slow=partial(_tell_waiting, observe)
    )
    placement, unsaved = opening.placement, list_unsaved(setup)
    if request.donor:
        placement = replace(placement, writes=False, reason="")
    saved = (each for each in cache.backends if each not in unsaved)
    exported = (backend.type for backend in saved) if placement.writes else ()
    check_capabilities(capabilities, exported)
    platforms = settings.platforms or (capabilities.default_platform,)
    scope = Scope(find_image(setup, request.directory), settings.target, platforms, placement.owner)
    notes = (*setup.notes, *placement.notes, *_note_context(request, setup, store))
    path = store.path if store is not None else None
    return Prepared(
        request=request,
        setup=setup,
        docker=opening.docker,
        capabilities=capabilities,
        placement=placement,
        scope=scope,
        candidates=list_candidates(setup.config, scope, placement, path, request.donor),
        store=store,
        limits=location.limits if location else Limits(),
        name=draw_name(),
        notes=notes,
    )


def list_unsaved(setup: Setup) -> dict[Backend, str]:
    """The backends that are only read, each with the reason."""
    found = {each: explain_unsaved(setup, each) for each in setup.config.cache.backends}
    return {backend: why for backend, why in found.items() if why}


def _note_context(request: BuildRequest, setup: Setup, store: Store | None) -> Iterator[str]:
    """A store inside of the build context changes with each build, and so does `COPY . .`."""
    settings = setup.config.build
    folder = (request.directory / settings.context).resolve()
    if store is None or is_remote(settings.context):
        return
    path = store.path.resolve()
    if not path.is_relative_to(folder) or path == folder:
        return
    top = path.relative_to(folder).parts[0]
    dockerfile = find_dockerfile(request.directory, folder, settings.file)
    files = (dockerfile.with_name(f"{dockerfile.name}.dockerignore"), folder / ".dockerignore")
    if not any(_mentions(file, top) for file in files):
        yield (
            f"the store {path} lies in the build context and is sent to docker with it; "
            f"write `{top}` into {folder / '.dockerignore'}"
        )


def _mentions(file: Path, name: str) -> bool:
    try:
        return name in file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False


def _tell_waiting(observe: Observer | None) -> None:
    if observe is not None:
        observe(Noted("waiting for the builder to start"))


def look_at_store(prepared: Prepared) -> LocalState | None:
    """The store as a build would find it, without touching it."""
    store = prepared.store
    if store is None:
        return None
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
    noted = prepared.placement.writes
    notes = (f"{denied}; it is only read, and nothing is saved",) if noted else ()
    state = LocalState(store.path, store.path, notes=notes, read_only=True)
    try:
        donor = store.find_whole(_list_donors(prepared))
    except StoreError as error:
        return replace(state, trouble=error.message)
    return replace(state, donors={donor.ref_name: donor.digest}) if donor else state


def plan_build(prepared: Prepared, state: LocalState | None) -> BuildPlan:
    """Choose the caches, looking up in registries what the choice depends on."""
    settings = prepared.setup.config.build
    return make_plan(
        Outlook(
            config=prepared.setup.config,
            scope=prepared.scope,
            placement=prepared.placement,
            candidates=prepared.candidates,
            local=state,
            sightings=_probe_refs(prepared, state),
            makes_image=exports_image(settings, prepared.capabilities.builder.driver),
            once=explain_once(settings, prepared.request.extra),
            unbaked=explain_unbaked(settings, prepared.request.extra),
            unsaved=list_unsaved(prepared.setup),
        )
    )


def _probe_refs(prepared: Prepared, state: LocalState | None) -> dict[str, Sighting]:
    """Look up the refs that the choice of a donor depends on."""
    config = prepared.setup.config
    refs: dict[str, bool] = {}
    for each in () if config.build.no_cache else prepared.candidates:
        if not isinstance(each.backend, LocalBackend):
            refs[each.place] = each.backend.insecure
        elif state is not None and state.offers(each.scope) and not config.cache.read_all:
            break
    if not refs:
        return {}
    from bxcache.registry.probing import probe_refs  # noqa: PLC0415  # only a registry needs it

    return probe_refs(refs, os.environ)


def render_arguments(prepared: Prepared, plan: BuildPlan) -> tuple[str, ...]:
    """What follows `docker` in this build."""
    return render_build(
        prepared.setup.config.build,
        cache_options=[use.option for use in plan.uses],
        metadata_file=str(prepared.metadata_file),
        extra=prepared.request.extra,
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
