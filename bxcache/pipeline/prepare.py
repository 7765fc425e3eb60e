"""Everything that is decided before docker runs: checks, backends, plan and arguments."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from bxcache.backends.base import CacheUse, Candidate, Wish
from bxcache.backends.declared import list_backends
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
from bxcache.buildx.run import METADATA, Runner, locate_folder
from bxcache.buildx.stream.events import Event, Noted
from bxcache.pipeline.choose import Outlook, list_candidates, look, look_further, make_plan
from bxcache.place.image_name import find_image
from bxcache.place.scope import Scope
from bxcache.store.staging import draw_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import ExitStack
    from pathlib import Path

    from bxcache.backends.base import Backend
    from bxcache.buildx.capabilities import Capabilities
    from bxcache.buildx.driver import Docker
    from bxcache.buildx.stream.events import Observer
    from bxcache.config.loading import Setup
    from bxcache.pipeline.opening import Opening
    from bxcache.pipeline.plan import BuildPlan
    from bxcache.pipeline.request import BuildRequest
    from bxcache.place.trust import Trust
    from bxcache.redaction import Redactor


@dataclass(frozen=True, slots=True)
class Prepared:
    """A build that is ready to run, before anything is written.

    Attributes:
        trust: where it runs, and which caches it may read and save.
        backends: the declared backends.
        candidates: the caches that it may import, best first.
        name: the build's own name, for its staging layout and its small files.
        notes: notes for the user.
        metadata_wish: the path where the caller wants docker's metadata file, or None.
    """

    request: BuildRequest
    setup: Setup
    docker: Docker
    capabilities: Capabilities
    trust: Trust
    scope: Scope
    backends: tuple[Backend, ...]
    candidates: tuple[Candidate, ...]
    name: str
    notes: tuple[str, ...]
    metadata_wish: Path | None = None

    @property
    def refuses_borrowed(self) -> bool:
        """Whether to save no results that came from the builder's own cache."""
        return self.trust.is_guarded and self.setup.config.cache.shared_builder == "refuse"

    @property
    def folder(self) -> Path:
        """The build's own folder for small files. It is not in the store: docker must be able to
        write its files even if the store's disk is full."""
        return locate_folder(self.name)

    @property
    def metadata_file(self) -> Path:
        """The path where docker writes its metadata, in full; the caller may want less."""
        return self.folder / METADATA


def make_folder(prepared: Prepared, stack: ExitStack) -> None:
    """Create the build's own folder for small files, until the stack closes."""
    prepared.folder.mkdir(mode=0o700)
    stack.callback(shutil.rmtree, prepared.folder, ignore_errors=True)


def prepare(opening: Opening, *, boot: bool, observe: Observer | None = None) -> Prepared:
    """Check everything that can be checked before anything is written.

    Args:
        opening: the build.
        boot: start the builder if it is not running.
        observe: gets an event if the builder takes long to start.

    Raises:
        EngineError: docker cannot build.
    """
    request, setup = opening.request, opening.setup
    wish = "".join(find_values(request.extra, METADATA_FILE)[-1:])
    request = replace(request, extra=drop_flags(request.extra, (METADATA_FILE,)))
    settings = setup.config.build
    capabilities = opening.docker.learn(
        opening.ahead, settings.builder, boot=boot, on_slow=partial(_report_waiting, observe)
    )
    trust = opening.trust
    if request.donor:
        trust = replace(trust, writes=False, reason="")
    check_reachable(capabilities)
    platforms = settings.platforms or (capabilities.default_platform,)
    scope = Scope(find_image(setup, request.directory), settings.target, platforms, trust.owner)
    backends = list_backends(setup)
    return Prepared(
        request=request,
        setup=setup,
        docker=opening.docker,
        capabilities=capabilities,
        trust=trust,
        scope=scope,
        backends=backends,
        candidates=list_candidates(setup.config, scope, trust, backends, request.donor),
        name=draw_name(),
        notes=(*setup.notes, *trust.notes),
        metadata_wish=request.directory / wish if wish else None,
    )


def list_notes(prepared: Prepared) -> tuple[str, ...]:
    """List the notes of the backends before the build."""
    settings, directory = prepared.setup.config.build, prepared.request.directory
    return tuple(
        note for each in prepared.backends for note in each.list_notes(settings, directory)
    )


def _report_waiting(observe: Observer | None) -> None:
    if observe is not None:
        observe(Noted("waiting for the builder to start"))


def open_backends(prepared: Prepared, stack: ExitStack | None) -> None:
    """Open the backends of the build, until the stack closes.

    Without a stack, write nothing.
    """
    for backend in prepared.backends:
        own = [each for each in prepared.candidates if each.backend is backend]
        backend.prepare(own, prepared.name, reads_all=prepared.setup.config.cache.read_all)
        backend.open(stack, notes_denied=prepared.trust.writes)


def plan_build(prepared: Prepared) -> BuildPlan:
    """Choose the caches; look up over the network the candidates that decide the choice."""
    config, extra = prepared.setup.config, prepared.request.extra
    outlook = Outlook(
        config=config,
        trust=prepared.trust,
        backends=prepared.backends,
        candidates=prepared.candidates,
        wish=Wish(
            scope=prepared.scope,
            makes_image=exports_image(config.build, prepared.capabilities.builder.driver),
            once=explain_once(config.build, extra),
            unbaked=explain_unbaked(config.build, extra),
            inline_only=explain_inline_only(prepared.capabilities),
            refuses_borrowed=prepared.refuses_borrowed,
        ),
    )
    if not config.build.no_cache:
        look(prepared.candidates, reads_all=config.cache.read_all)
    plan = make_plan(outlook)
    if plan.imports or config.build.no_cache or prepared.request.donor:
        return plan
    return look_further(outlook, plan)


def render_arguments(prepared: Prepared, uses: Iterable[CacheUse]) -> tuple[str, ...]:
    """Render the arguments of `docker` for this build."""
    return render_build(
        prepared.setup.config.build,
        cache_options=[use.option for use in uses],
        metadata_file=str(prepared.metadata_file),
        extra=prepared.request.extra,
    )


def make_runner(
    prepared: Prepared,
    redact: Redactor,
    report: Callable[[Event], None],
    repeat: Callable[[Saving], Command],
    stdin: bytes | None = None,
) -> Runner:
    """Create the runner that all runs of docker in this build share."""
    request = prepared.request
    return Runner(
        docker=prepared.docker,
        capabilities=prepared.capabilities,
        settings=prepared.setup.config.build,
        directory=request.directory,
        extra=request.extra,
        folder=prepared.folder,
        redact=redact,
        report=report,
        repeat=repeat,
        stdin=stdin,
        stdout=request.stdout,
        stop=request.stop,
        raw=request.raw,
    )


def render_save(prepared: Prepared, saving: Saving) -> Command:
    """Render a run of docker that only saves the finished build."""
    arguments = render_build(
        as_repetition(prepared.setup.config.build, saving.platform),
        cache_options=saving.options,
        metadata_file=str(saving.metadata),
        extra=drop_flags(prepared.request.extra, LAYERLESS),
    )
    return Command(arguments, saving.metadata)
