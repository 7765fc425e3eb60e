"""A prepared build: plan it, run it, settle its caches, report."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bxcache.buildx.capabilities import check_buildx, check_capabilities
from bxcache.buildx.command import VARIABLES, exports_image, render_build
from bxcache.buildx.events import (
    Event,
    Noted,
    Said,
    StepFinished,
    StepLogged,
    StepStarted,
    Streamed,
    Warned,
)
from bxcache.buildx.metadata import Metadata, parse_metadata
from bxcache.buildx.raw_stream import join_documents, redact_line
from bxcache.buildx.trace import TraceReader
from bxcache.config.backends import LocalBackend
from bxcache.config.loading import default_store
from bxcache.errors import BuildFailedError, CacheError, StoreError
from bxcache.plan import BuildPlan, LocalState, find_ref, list_candidates, make_plan
from bxcache.redaction import Redactor, find_secrets, redact_argv
from bxcache.request import find_metadata_file
from bxcache.result import BuildResult
from bxcache.scope import Scope, name_image
from bxcache.settlement import Heard, Settled, list_steps, settle
from bxcache.store.staging import Staging, draw_name
from bxcache.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bxcache.buildx.capabilities import Capabilities
    from bxcache.buildx.driver import Docker
    from bxcache.buildx.events import Observer
    from bxcache.config.loading import Setup
    from bxcache.opening import Opening
    from bxcache.request import BuildRequest


@dataclass(frozen=True, slots=True)
class Preview:
    """What a build would do.

    Attributes:
        command: the command, secrets masked, with the variables it needs in front.
        plan: the caches and the reasons.
        notes: what a person should know.
    """

    command: tuple[str, ...]
    plan: BuildPlan
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Prepared:
    """All that is known before anything is written."""

    request: BuildRequest
    setup: Setup
    docker: Docker
    capabilities: Capabilities
    scope: Scope
    store: Store | None
    name: str

    @property
    def own_folder(self) -> Path:
        """The build's own folder for small files."""
        return Path(tempfile.gettempdir()) / f"bxcache-{self.name}"

    @property
    def metadata_file(self) -> Path:
        """Where docker leaves the metadata: where the caller wants it, else in the own folder."""
        wanted = find_metadata_file(self.request.extra)
        return self.request.directory / wanted if wanted else self.own_folder / "metadata.json"


def prepare(opening: Opening, observe: Observer | None = None) -> Prepared:
    """Check everything that can be checked before anything is written.

    Raises:
        StoreError: the local store's directory cannot be one.
        EngineError: docker cannot do what is asked for.
    """
    request, setup = opening.request, opening.setup
    store = _find_store(setup)
    if store is not None:
        store.check()
    settings, cache = setup.config.build, setup.config.cache
    capabilities = opening.probe.wait(partial(_tell_waiting, observe))
    exported = () if cache.write == "never" else (backend.type for backend in cache.backends)
    check_capabilities(capabilities, exported)
    image = setup.image or name_image(
        setup.root, request.directory, settings.context, settings.file
    )
    platforms = settings.platforms or (capabilities.default_platform,)
    scope = Scope(image, settings.target, platforms)
    return Prepared(request, setup, opening.docker, capabilities, scope, store, draw_name())


def _tell_waiting(observe: Observer | None) -> None:
    if observe is not None:
        observe(Noted("waiting for the builder to start"))


def preview(prepared: Prepared) -> Preview:
    """What `execute` would do.

    Raises:
        EngineError: buildx is too old.
    """
    check_buildx(prepared.docker.ask_buildx_version())
    plan = _plan(prepared, _look_at_store(prepared))
    command = (*prepared.docker.command, *_render(prepared, plan))
    redact = Redactor(find_secrets(command, os.environ))
    variables = (f"{name}={value}" for name, value in VARIABLES.items())
    return Preview(
        command=(*variables, *redact_argv(command, redact)),
        plan=plan,
        notes=(*prepared.setup.notes, *plan.notes),
    )


def execute(prepared: Prepared, observe: Observer | None) -> BuildResult:
    """Run the build and settle its caches; what it raises is told at `run_build`."""
    with ExitStack() as stack:
        staging, state = _open_store(prepared, stack)
        plan = _plan(prepared, state)
        arguments = _render(prepared, plan)
        redact = Redactor(find_secrets((*arguments, *prepared.docker.command), os.environ))
        tell = _redacting(observe, redact)
        for note in (*prepared.setup.notes, *plan.notes):
            tell(Noted(note))
        heard = _run(prepared, arguments, tell, redact)
        if heard.exit_status and _refused_stream(heard):
            check_buildx(prepared.docker.ask_buildx_version())
        settled = settle(plan, heard, prepared.store, staging)
    warnings = tuple(map(redact, (*_list_troubles(state), *settled.warnings)))
    for warning in warnings:
        tell(Warned(warning))
    return _report(prepared, heard, replace(settled, warnings=warnings), redact)


def _find_store(setup: Setup) -> Store | None:
    for backend in setup.config.cache.backends:
        if isinstance(backend, LocalBackend):
            return Store(Path(backend.dir) if backend.dir else default_store(setup.root))
    return None


def _look_at_store(prepared: Prepared) -> LocalState | None:
    """The store as a build would find it, without touching it."""
    store = prepared.store
    if store is None:
        return None
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
    return [owner.name for backend, owner in candidates if isinstance(backend, LocalBackend)]


def _open_store(prepared: Prepared, stack: ExitStack) -> tuple[Staging | None, LocalState | None]:
    state = _look_at_store(prepared)
    if prepared.store is None or state is None or state.trouble:
        return None, state
    try:
        staging = stack.enter_context(prepared.store.snapshot(prepared.name, state.donor))
    except StoreError as error:
        return None, replace(state, trouble=error.message, donor=None)
    digest = staging.donor.digest if staging.donor else None
    return staging, replace(state, digest=digest, damage=staging.damage)


def _plan(prepared: Prepared, state: LocalState | None) -> BuildPlan:
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
        elif state is not None and state.donor == owner.name and not state.damage:
            break
    if len(refs) < 2:  # noqa: PLR2004  # there is nothing to choose
        return {}
    return {ref: prepared.docker.has_manifest(ref) for ref in refs}


def _render(prepared: Prepared, plan: BuildPlan) -> tuple[str, ...]:
    return render_build(
        prepared.setup.config.build,
        cache_options=[use.option for use in plan.uses],
        metadata_file=str(prepared.metadata_file),
        extra=prepared.request.extra,
    )


def _run(
    prepared: Prepared,
    arguments: tuple[str, ...],
    tell: Callable[[Event], None],
    redact: Redactor,
) -> Heard:
    reader = TraceReader()
    begun = time.monotonic()
    prepared.own_folder.mkdir(mode=0o700)
    try:
        with prepared.docker.build(
            arguments,
            variables=VARIABLES,
            directory=prepared.request.directory,
            stdout=prepared.request.stdout,
        ) as process:
            for line in join_documents(process.read_lines()):
                if prepared.request.raw:
                    tell(Streamed(redact_line(line, redact)))
                for event in reader.feed(line):
                    tell(event)
            status = process.wait()
        metadata = _read_metadata(prepared.metadata_file) if status == 0 else Metadata()
    finally:
        shutil.rmtree(prepared.own_folder, ignore_errors=True)
    return Heard(status, reader.finish(), metadata, time.monotonic() - begun)


def _refused_stream(heard: Heard) -> bool:
    """Whether buildx does not know the stream it was asked for, and so built nothing."""
    return any("progress" in line or "rawjson" in line for line in heard.trace.said[:3])


def _read_metadata(file: Path) -> Metadata:
    try:
        return parse_metadata(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return Metadata()


def _list_troubles(state: LocalState | None) -> Iterator[str]:
    if state is not None and state.trouble:
        yield f"the local cache `{state.store}` was not used: {state.trouble}"
    if state is not None and state.damage:
        yield f"the scope `{state.donor}` was not imported, since it is damaged: {state.damage}"


def _report(prepared: Prepared, heard: Heard, settled: Settled, redact: Redactor) -> BuildResult:
    result = BuildResult(
        exit_status=heard.exit_status,
        digest=heard.metadata.image_digest,
        tags=prepared.setup.config.build.tags,
        steps=list_steps(heard.trace, heard.metadata, redact),
        caches=tuple(replace(each, place=redact(each.place)) for each in settled.caches),
        warnings=settled.warnings,
        seconds=round(heard.seconds, 3),
    )
    if heard.exit_status:
        said = [line for line in heard.trace.said if line.startswith("ERROR: ")]
        why = redact(said[-1].removeprefix("ERROR: ")) if said else "docker did not say why"
        raise BuildFailedError(why, exit_status=heard.exit_status, result=result)
    if prepared.setup.config.cache.strict and settled.warnings:
        raise CacheError("; ".join(settled.warnings), result=result)
    return result


def _redacting(observe: Observer | None, redact: Redactor) -> Callable[[Event], None]:
    def tell(event: Event) -> None:
        if observe is not None:
            observe(_redact_event(event, redact))

    return tell


def _redact_event(event: Event, redact: Redactor) -> Event:
    match event:
        case StepLogged(step, line):
            return StepLogged(replace(step, text=redact(step.text)), redact(line))
        case StepStarted(step):
            return StepStarted(replace(step, text=redact(step.text)))
        case StepFinished(step, outcome, seconds, error):
            shown = replace(step, text=redact(step.text))
            return StepFinished(shown, outcome, seconds, redact(error))
        case Said(line):
            return Said(redact(line))
        case Warned(text):
            return Warned(redact(text))
        case Noted(text):
            return Noted(redact(text))
        case Streamed():
            return event
