"""Everything before docker runs but the plan: configuration, checks, backends, arguments."""

from __future__ import annotations

import os
import shutil
from functools import partial
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from bxcache.backends.declared import list_backends
from bxcache.buildx.capabilities import check_reachable
from bxcache.buildx.command import Command, Saving, as_repetition, render_build, writes_stdout
from bxcache.buildx.driver import Docker
from bxcache.buildx.extra_flags import LAYERLESS, METADATA_FILE, drop_flags, find_values
from bxcache.buildx.run import METADATA, Runner, locate_folder
from bxcache.buildx.stream.events import Event, Noted
from bxcache.config.paths import is_remote
from bxcache.config.wording import choose_words
from bxcache.errors import ConfigError, Problem
from bxcache.pipeline.destinations import check_build
from bxcache.pipeline.given_caches import list_given_imports, list_ignored, refuse_shown_secrets
from bxcache.pipeline.inputs import find_missing
from bxcache.pipeline.plan import list_candidates
from bxcache.pipeline.request import STDOUT, BuildRequest
from bxcache.pipeline.timeline import Timeline
from bxcache.place.checkout_state import CheckoutState
from bxcache.place.image_name import find_image
from bxcache.place.origin import Origin, read_origin
from bxcache.place.scope import Scope
from bxcache.place.trust import Trust, open_setup
from bxcache.store.staging import draw_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from contextlib import ExitStack
    from pathlib import Path

    from bxcache.backends.base import Backend, CacheUse, Candidate
    from bxcache.buildx.capabilities import Capabilities
    from bxcache.buildx.driver import Probe
    from bxcache.buildx.memory import Memory
    from bxcache.buildx.stream.events import Observer
    from bxcache.config.loading import Setup
    from bxcache.config.models import BuildSettings
    from bxcache.redaction import Redactor

BUILDX_BUILDER = "BUILDX_BUILDER"
"""Docker's variable for the builder: https://docs.docker.com/build/building/variables/"""
_NO_STDOUT = "the image would go to stdout, which {}; give it a `dest`"


class Prepared(Struct, frozen=True):
    """A build that is ready to run, before anything is written.

    Attributes:
        setup: the configuration, guarded for the place where the build runs.
        memory: where to remember the capabilities.
        candidates: the caches that it may import, best first.
        name: the build's own name, for its staging layout and its small files.
        origin: the repository and commit that are built, as they were before the build.
        state: finds the state of the files that are built; None if nothing is saved.
        metadata_wish: the path where the caller wants docker's metadata file, or None.
    """

    request: BuildRequest
    setup: Setup
    docker: Docker
    capabilities: Capabilities
    memory: Memory
    trust: Trust
    scope: Scope
    backends: tuple[Backend, ...]
    candidates: tuple[Candidate, ...]
    name: str
    notes: tuple[str, ...]
    origin: Origin
    metadata_wish: Path | None = None
    state: CheckoutState | None = None

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

    def make_folder(self, stack: ExitStack) -> None:
        """Create the build's own folder for small files, until the stack closes."""
        self.folder.mkdir(mode=0o700)
        stack.callback(shutil.rmtree, self.folder, ignore_errors=True)

    def open_backends(self, stack: ExitStack | None) -> None:
        """Open the backends, until the stack closes; without a stack, write nothing."""
        for backend in self.backends:
            backend.use_builder(self.capabilities)
            own = [each for each in self.candidates if each.backend is backend]
            backend.prepare(own, self.name, reads_all=self.setup.config.cache.read_all)
            backend.open(stack, notes_denied=self.trust.writes)

    def list_secrets(self) -> Iterator[str]:
        """List the credentials that docker uses for the caches."""
        for backend in self.backends:
            yield from backend.list_secrets()

    def find_missing(self) -> str | None:
        """Find what the build lacks so that docker is certain to fail, such as a Dockerfile."""
        config, request = self.setup.config, self.request
        return find_missing(config.build, config.images, request.directory, request.extra)

    def start_timeline(self) -> Timeline:
        """Measure the time of the build from bxcache's beginning."""
        began = self.request.began
        return Timeline() if began is None else Timeline(began)

    def list_notes(self) -> Iterator[str]:
        """List the notes of the backends before the build."""
        settings, directory = self.setup.config.build, self.request.directory
        yield from list_ignored(self.request.extra, self.docker.ask_buildx_version)
        for backend in self.backends:
            yield from backend.list_notes(settings, directory)

    def note_metadata(self) -> Iterator[str]:
        """Note that bxcache writes the caller's metadata file, since docker writes another one."""
        if self.metadata_wish is not None:
            yield f"after the build: {self.metadata_wish}: what plain buildx writes there"

    def render_arguments(self, uses: Iterable[CacheUse]) -> tuple[str, ...]:
        """Render the arguments of `docker` for this build."""
        return render_build(
            self.setup.config.build,
            cache_options=[use.option for use in uses],
            metadata_file=str(self.metadata_file),
            extra=self.request.extra,
        )

    def render_save(self, saving: Saving) -> Command:
        """Render a run of docker that only saves the finished build."""
        arguments = render_build(
            as_repetition(self.setup.config.build, saving),
            cache_options=saving.options,
            metadata_file=str(saving.metadata),
            extra=drop_flags(self.request.extra, LAYERLESS),
        )
        return Command(arguments, saving.metadata, own_stage=saving.target or "")

    def make_runner(
        self,
        redact: Redactor,
        report: Callable[[Event], None],
        repeat: Callable[[Saving], Command],
        stdin: bytes | None = None,
    ) -> Runner:
        """Create the runner that all runs of docker in this build share."""
        return Runner(
            docker=self.docker,
            capabilities=self.capabilities,
            settings=self.setup.config.build,
            directory=self.request.directory,
            extra=self.request.extra,
            folder=self.folder,
            redact=redact,
            report=report,
            repeat=repeat,
            stdin=stdin,
            stdout=self.request.stdout,
            stop=self.request.stop,
            raw=self.request.raw,
        )


def read_setup(request: BuildRequest) -> tuple[Setup, Trust]:
    """Read the configuration that counts here, or raise a `ConfigError`."""
    flags, file, image = request.to_layer(), request.config_file, request.image
    setup, trust = open_setup(request.directory, os.environ, flags=flags, file=file, image=image)
    if request.stdout != STDOUT and writes_stdout(setup.config.build):
        source = str(setup.source_of(("build", "outputs")))
        keepers = choose_words("`--json`, `--layers` and `--quiet` keep for themselves", "is yours")
        raise ConfigError([Problem(source, "build.outputs", _NO_STDOUT.format(keepers))])
    extra = request.list_extra(setup.config.build)
    check_build(setup, extra, request.directory)
    refuse_shown_secrets(list_given_imports(extra))
    return choose_builder(setup, os.environ), trust


def choose_builder(setup: Setup, environment: Mapping[str, str]) -> Setup:
    """Choose the declared builder for builds that name none, and for which docker's variable names
    none."""
    build = setup.config.build
    if build.builder or environment.get(BUILDX_BUILDER) or not setup.declares_builder:
        return setup
    build = build.model_copy(update={"builder": setup.config.builder.name})
    return replace(setup, config=setup.config.model_copy(update={"build": build}))


def prepare(
    request: BuildRequest, ahead: Probe | None, *, boot: bool, observe: Observer | None = None
) -> Prepared:
    """Check everything that can be checked before anything is written.

    With `boot`, a stopped builder is started; `observe` gets an event if that takes long. A wrong
    configuration is a ConfigError, a docker that is missing or cannot build an EngineError.
    """
    setup, trust = read_setup(request)
    state = _begin_state(setup.config.build, request.directory) if trust.writes else None
    docker, settings = Docker.find(), setup.config.build
    extra = request.list_extra(settings)
    wish = "".join(find_values(extra, METADATA_FILE)[-1:])
    request = replace(request, extra=drop_flags(extra, (METADATA_FILE,)))
    on_slow = partial(_report_waiting, observe)
    capabilities, memory = docker.learn(ahead, settings.builder, boot=boot, on_slow=on_slow)
    if request.donor:
        trust = replace(trust, writes=False, reason="")
    check_reachable(capabilities)
    platforms = settings.platforms or (capabilities.default_platform,)
    scope = Scope(find_image(setup, request.directory), settings.target, platforms, trust.owner)
    backends = list_backends(setup)
    return Prepared(
        request=request,
        setup=setup,
        docker=docker,
        capabilities=capabilities,
        memory=memory,
        trust=trust,
        scope=scope,
        backends=backends,
        candidates=list_candidates(setup.config, scope, trust, backends, request.donor),
        name=draw_name(),
        notes=(*setup.notes, *trust.notes),
        origin=read_origin(os.environ, request.directory),
        metadata_wish=request.directory / wish if wish else None,
        state=state,
    )


def _begin_state(settings: BuildSettings, directory: Path) -> CheckoutState | None:
    if is_remote(settings.context) or settings.context == "-":
        return None
    folders = {directory / settings.context}
    if settings.file and not is_remote(settings.file) and settings.file != "-":
        folders.add((directory / settings.file).parent)
    return CheckoutState(sorted(folders))


def _report_waiting(observe: Observer | None) -> None:
    if observe is not None:
        observe(Noted("waiting for the builder to start"))
