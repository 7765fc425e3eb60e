"""Everything that is settled before docker runs: checks, the store, the plan, the arguments."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bxcache.buildx.capabilities import check_capabilities
from bxcache.buildx.command import exports_image, render_build
from bxcache.buildx.events import Noted
from bxcache.config.backends import LocalBackend
from bxcache.config.paths import is_remote
from bxcache.errors import StoreError
from bxcache.location import find_location
from bxcache.plan import BuildPlan, LocalState, find_ref, list_candidates, make_plan
from bxcache.request import find_metadata_file
from bxcache.scope import Scope, name_image
from bxcache.store.collection import Limits
from bxcache.store.staging import Staging, draw_name

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import ExitStack

    from bxcache.buildx.capabilities import Capabilities
    from bxcache.buildx.driver import Docker
    from bxcache.buildx.events import Observer
    from bxcache.config.loading import Setup
    from bxcache.opening import Opening
    from bxcache.request import BuildRequest
    from bxcache.store.store import Store


@dataclass(frozen=True, slots=True)
class Prepared:
    """All that is known before anything is written.

    Attributes:
        limits: the bounds of the store.
        name: the build's own name, for its staging layout and its small files.
        notes: what a person should know although nothing is wrong.
    """

    request: BuildRequest
    setup: Setup
    docker: Docker
    capabilities: Capabilities
    scope: Scope
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
    exported = () if cache.write == "never" else (backend.type for backend in cache.backends)
    check_capabilities(capabilities, exported)
    image = setup.image or name_image(
        setup.root, request.directory, settings.context, settings.file
    )
    platforms = settings.platforms or (capabilities.default_platform,)
    scope = Scope(image, settings.target, platforms)
    notes = (*setup.notes, *_note_context(request, setup, store))
    return Prepared(
        request=request,
        setup=setup,
        docker=opening.docker,
        capabilities=capabilities,
        scope=scope,
        store=store,
        limits=location.limits if location else Limits(),
        name=draw_name(),
        notes=notes,
    )


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
    dockerfile = request.directory / settings.file if settings.file else folder / "Dockerfile"
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
    donor = next((name for name in _list_donors(prepared) if name in scopes), None)
    digest = scopes[donor].digest if donor else None
    return LocalState(store.path, staging, donor, digest)


def _list_donors(prepared: Prepared) -> list[str]:
    candidates = list_candidates(prepared.setup.config, prepared.scope)
    return [owner for backend, owner in candidates if isinstance(backend, LocalBackend)]


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
        staging = stack.enter_context(store.snapshot(prepared.name, _list_donors(prepared)))
    except StoreError as error:
        return None, _read_in_place(prepared, store, error.message)
    for name in staging.swept:
        shutil.rmtree(_find_folder(name), ignore_errors=True)
    donor = staging.donor
    if donor is not None:
        state = replace(state, donor=donor.ref_name, digest=donor.digest)
    return staging, replace(state, notes=staging.notes)


def _read_in_place(prepared: Prepared, store: Store, denied: str) -> LocalState:
    """A store that cannot be written: BuildKit reads it where it lies, where it is whole."""
    wanted = prepared.setup.config.cache.write != "never"
    notes = (f"{denied}; it is only read, and nothing is saved",) if wanted else ()
    state = LocalState(store.path, store.path, notes=notes, read_only=True)
    try:
        donor = store.find_whole(_list_donors(prepared))
    except StoreError as error:
        return replace(state, trouble=error.message)
    return replace(state, donor=donor.ref_name, digest=donor.digest) if donor else state


def plan_build(prepared: Prepared, state: LocalState | None) -> BuildPlan:
    """Choose the caches, looking up in registries what the choice depends on."""
    config = prepared.setup.config
    return make_plan(
        config,
        prepared.scope,
        state,
        _probe_refs(prepared, state),
        makes_image=exports_image(config.build, prepared.capabilities.builder.driver),
    )


def _probe_refs(prepared: Prepared, state: LocalState | None) -> dict[str, bool | None]:
    """Look up the refs that a donor is chosen from; one alone is simply imported."""
    config = prepared.setup.config
    if config.build.no_cache:
        return {}
    refs: dict[str, None] = {}
    for backend, owner in list_candidates(config, prepared.scope):
        if not isinstance(backend, LocalBackend):
            refs[find_ref(backend, owner)] = None
        elif state is not None and state.offers(owner):
            break
    if len(refs) < 2:  # noqa: PLR2004  # there is nothing to choose
        return {}
    return {ref: prepared.docker.has_manifest(ref) for ref in refs}


def render_arguments(prepared: Prepared, plan: BuildPlan) -> tuple[str, ...]:
    """What follows `docker` in this build."""
    return render_build(
        prepared.setup.config.build,
        cache_options=[use.option for use in plan.uses],
        metadata_file=str(prepared.metadata_file),
        extra=prepared.request.extra,
    )
