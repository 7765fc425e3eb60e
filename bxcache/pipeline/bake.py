"""The targets of a bake file, built by one bake, each with a cache of its own."""

from __future__ import annotations

import os
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bxcache.backends.local_nodes import MORE_RUNS
from bxcache.buildx.bake.stream import BakeReader
from bxcache.buildx.build_history import complete_metadata
from bxcache.buildx.command import VARIABLES
from bxcache.buildx.metadata import parse_bake_metadata
from bxcache.buildx.run import Runner, read_metadata, run_docker
from bxcache.buildx.secrets import find_secrets, redact_argv
from bxcache.buildx.stream.events import Noted, Warned
from bxcache.pipeline.bake_definition import define_bake, guard_bake
from bxcache.pipeline.bake_outcomes import (
    OpenTarget,
    add_trouble,
    conclude_target,
    explain_repetition,
    has_failed,
    hear_target,
)
from bxcache.pipeline.bake_targets import (
    BakeRequest,
    Baking,
    describe_arguments,
    list_words,
    note_folders,
    plan_target,
    prepare_target,
    render_bake,
    render_question,
    repeat_target,
)
from bxcache.pipeline.build import open_build
from bxcache.pipeline.conclusion import Ended, begin_asking
from bxcache.pipeline.execution import redacting
from bxcache.pipeline.metadata_file import leave_metadata, note_metadata
from bxcache.pipeline.prepare import (
    look_at_store,
    make_folder,
    make_runner,
    note_store,
    open_store,
    prepare,
)
from bxcache.process import Stop, open_pool
from bxcache.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from bxcache.backends.local import LocalState
    from bxcache.buildx.bake.definition import BakeTarget
    from bxcache.buildx.driver import Docker
    from bxcache.buildx.run import RunResult
    from bxcache.buildx.stream.events import Event
    from bxcache.pipeline.batch import ImageObserver, ImageOutcome
    from bxcache.pipeline.plan import BuildPlan
    from bxcache.pipeline.prepare import Prepared
    from bxcache.pipeline.request import BuildRequest

_MOST_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class BakePreview:
    """What a bake would do.

    Attributes:
        command: the command, secrets masked, with the variables it needs in front.
        plans: the caches of each target, and the reasons.
        notes: what a person should know of all of them.
    """

    command: tuple[str, ...]
    plans: Mapping[str, BuildPlan]
    notes: tuple[str, ...] = ()


def bake_targets(
    request: BakeRequest,
    observe: ImageObserver | None = None,
    *,
    accept: Callable[[tuple[str, ...]], None] | None = None,
) -> dict[str, ImageOutcome]:
    """Bake targets; every stage is taken from the caches and saved to them.

    Args:
        request: what to bake.
        observe: is told what happens, each event with its target, or an empty name where it is
            about none alone; from several threads, one event at a time for each target.
        accept: is given the names of the targets before anything is built; what it raises is
            raised.

    Returns:
        What became of each target, by its name. A target that ended well is saved, whatever became
        of the others. It is empty where there is no target, as of a group that has none.

    Raises:
        ConfigError: the configuration is wrong, or the bake file; nothing was built.
        EngineError: docker cannot do it; nothing was built.
    """
    # What saves runs in threads, which no signal reaches.
    request = replace(request, build=replace(request.build, stop=request.build.stop or Stop()))
    with open_build(request.build) as opening:
        base = prepare(opening, boot=True)
    request = replace(request, build=replace(request.build, extra=base.request.extra))
    with ExitStack() as stack:
        make_folder(base, stack)
        request, base, targets = define_bake(request, base)
        if not targets:
            return {}
        if accept is not None:
            accept(tuple(targets))
        return _Bake(request, base, targets, observe).run(stack)


def preview_bake(request: BakeRequest) -> BakePreview:
    """What `bake_targets` would do, without writing anything or starting a builder.

    Raises:
        BxcacheError: as `bake_targets` does before it starts docker.
    """
    with open_build(request.build) as opening:
        base = prepare(opening, boot=False)
    request = replace(request, build=replace(request.build, extra=base.request.extra))
    with ExitStack() as stack:
        if base.setup.is_guarded:
            make_folder(base, stack)
        request, base, targets = define_bake(request, base)
    bake = _Bake(request, base, targets, None)
    bakings = [
        bake.plan(target, prepared, look_at_store(prepared))
        for target, prepared in bake.prepare_all()
    ]
    arguments = render_bake(request, base, base.metadata_file, bakings)
    command = (*base.docker.command, *arguments)
    variables = (f"{name}={value}" for name, value in VARIABLES.items())
    return BakePreview(
        command=(*variables, *redact_argv(command, bake.redact)),
        plans={each.target.name: each.plan for each in bakings},
        notes=(
            *base.notes,
            *note_metadata(base),
            *_note_stores(bakings),
            *note_folders(request, bakings),
        ),
    )


def ask_bake(request: BakeRequest, tell: Callable[[str], None], progress: str = "plain") -> int:
    """Have bake answer what it is asked behind `--` instead of building, such as `--print`.

    No cache has a part in it.

    Args:
        request: the bake, of which `find_question` finds a question.
        tell: is given each line that docker writes to its stderr, secrets masked.
        progress: what it writes there, as its `--progress` has it.

    Returns:
        Docker's exit status.

    Raises:
        ConfigError: the configuration is wrong.
        EngineError: there is no docker.
    """
    build = request.build
    with open_build(build) as opening:
        docker, setup = opening.docker, opening.setup
    with ExitStack() as stack:
        if setup.is_guarded:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="bxcache-"))
            request, notes = guard_bake(request, docker, Path(folder))
            for note in notes:
                tell(f"note: {note}")
        return _ask(docker, render_question(request, setup, progress), build, tell)


def _ask(
    docker: Docker, arguments: Sequence[str], build: BuildRequest, tell: Callable[[str], None]
) -> int:
    redact = Redactor(find_secrets((*docker.command, *arguments), os.environ, build.directory))
    with docker.build(
        arguments, variables={}, directory=build.directory, stdout=build.stdout, stop=build.stop
    ) as process:
        for line in process.read_lines():
            tell(redact(line))
        return process.wait()


class _Bake:
    """One bake."""

    def __init__(
        self,
        request: BakeRequest,
        base: Prepared,
        targets: Mapping[str, BakeTarget],
        observe: ImageObserver | None,
    ) -> None:
        self._request, self._base, self._targets = request, base, targets
        self._observe, self._stop = observe, request.build.stop or Stop()
        words = [word for each in targets.values() for word in list_words(each)]
        words += [word for text in request.sets for word in ("--set", text)]
        words += [*request.build.extra, *base.docker.command]
        self.redact = Redactor(find_secrets(words, os.environ, request.build.directory))

    def prepare_all(self) -> list[tuple[BakeTarget, Prepared]]:
        """Every target with what is known of it."""
        every = self._targets.values()
        return [(each, prepare_target(self._base, self._request, each)) for each in every]

    def plan(self, target: BakeTarget, prepared: Prepared, state: LocalState | None) -> Baking:
        """A target with its caches."""
        return Baking(target, prepared, plan_target(target, prepared, state))

    def run(self, stack: ExitStack) -> dict[str, ImageOutcome]:
        """Bake, and settle each target."""
        opened = self._open_all(stack)
        started, buildx = time.time(), stack.enter_context(self._base.docker.asking_buildx())
        earlier = {
            name: begin_asking(each.baking.prepared, each.baking.plan, started)
            for name, each in opened.items()
        }
        ran = self._bake(opened)
        for _ in range(MORE_RUNS):
            apart = {name: each.avoid_meeting(ran[name]) for name, each in opened.items()}
            if all(apart[name] is each for name, each in opened.items()):
                break
            ran = self._bake_again(apart, ran)
        reasons = {name: explain_repetition(opened[name], ran[name]) for name in opened}
        if any(reasons.values()):
            # One run for all: what one of them imported may be what another one imported.
            for name, reason in reasons.items():
                if reason:
                    opened[name].runner.report(Warned(reason))
            opened = {name: each.without_imports() for name, each in opened.items()}
            ran = self._bake_again(opened, ran)
        own = {name for name, each in self._targets.items() if each.keeps_cache}
        version, trouble = buildx(), leave_metadata(self._base, own)
        ended = {
            name: Ended(
                plan=each.baking.plan,
                arguments=describe_arguments(each.baking.target),
                ran=ran[name],
                state=each.state,
                staging=each.staging,
                reason=reasons[name],
                started=started,
                buildx=version,
                earlier=earlier[name],
            )
            for name, each in opened.items()
        }
        failed = {name for name, each in ran.items() if has_failed(each)}
        stopped = {name: bool(failed - {name}) for name in ended}
        with open_pool(self._stop, _MOST_AT_ONCE) as pool:
            waiting = {
                name: pool.submit(conclude_target, opened[name], each, stopped=stopped[name])
                for name, each in ended.items()
            }
            outcomes = {name: job.result() for name, job in waiting.items()}
        return add_trouble(outcomes, trouble)

    def _open_all(self, stack: ExitStack) -> dict[str, OpenTarget]:
        """Open the store for each target, then look up all registries at once."""
        prepared = self.prepare_all()
        stores = []
        for _, own in prepared:
            make_folder(own, stack)
            stores.append(open_store(own, stack))
        with open_pool(self._stop, _MOST_AT_ONCE) as pool:
            states = [state for _, state in stores]
            bakings = list(pool.map(self.plan, *zip(*prepared, strict=True), states))
        opened = {
            baking.target.name: OpenTarget(baking, self._make_runner(baking), staging, state)
            for baking, (staging, state) in zip(bakings, stores, strict=True)
        }
        for note in (*self._base.notes, *_note_stores(bakings)):
            self._tell_of("")(Noted(note))
        for each in opened.values():
            for note in each.baking.plan.notes:
                each.runner.report(Noted(note))
        return opened

    def _make_runner(self, baking: Baking) -> Runner:
        tell = self._tell_of(baking.target.name)
        repeat = partial(repeat_target, self._request, self._targets, baking)
        return make_runner(baking.prepared, self.redact, tell, repeat)

    def _tell_of(self, name: str) -> Callable[[Event], None]:
        observe = self._observe
        if observe is None:
            return lambda _: None
        return redacting(lambda event: observe(name, event), self.redact)

    def _bake_again(
        self, opened: Mapping[str, OpenTarget], first: Mapping[str, RunResult]
    ) -> dict[str, RunResult]:
        """Run the bake once more; what the first run executed was executed."""
        return {name: each.after(first[name]) for name, each in self._bake(opened).items()}

    def _bake(self, opened: Mapping[str, OpenTarget]) -> dict[str, RunResult]:
        """Run the bake and tell its events; what became of each target."""
        bakings = [each.baking for each in opened.values()]
        stages = {each.target.name: each.target.settings.target for each in bakings}
        reader = BakeReader(tuple(opened), stages)
        tell = {
            "": self._tell_of(""),
            **{name: each.runner.report for name, each in opened.items()},
        }
        file = self._base.metadata_file
        begun = time.monotonic()

        def take(line: str) -> None:
            for name, event in reader.feed(line):
                tell[name](event)

        # What holds for all of them holds for the first.
        first = next(iter(opened.values())).runner
        status = run_docker(first, render_bake(self._request, self._base, file, bakings), take)
        for name, event in reader.end():
            tell[name](event)
        seconds = time.monotonic() - begun
        told = parse_bake_metadata("" if status else read_metadata(file), opened)
        if not status:
            docker = self._base.docker
            told = {name: complete_metadata(docker, each) for name, each in told.items()}
        ran = {
            name: hear_target(each.baking, reader, told[name], status, seconds)
            for name, each in opened.items()
        }
        if status and not any(each.exit_status for each in ran.values()):
            # What failed is no target, so none of them is known to be as it was to be.
            return {name: replace(each, exit_status=status) for name, each in ran.items()}
        return ran


def _note_stores(bakings: Iterable[Baking]) -> dict[str, None]:
    """What a person should know of a store in the build contexts, once for all that have one."""
    return dict.fromkeys(note for each in bakings for note in note_store(each.prepared))
