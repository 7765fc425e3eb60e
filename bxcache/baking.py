"""The targets of a bake file, built by one bake, each with a cache of its own."""

from __future__ import annotations

import os
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bxcache.bake_definition import define_bake, guard_bake
from bxcache.bake_preparation import (
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
from bxcache.batch import ImageOutcome
from bxcache.buildx.bake_stream import BakeReader
from bxcache.buildx.build_history import complete_metadata
from bxcache.buildx.command import VARIABLES
from bxcache.buildx.events import Noted, Outcome, Warned
from bxcache.buildx.metadata import parse_bake_metadata
from bxcache.buildx.secrets import find_secrets, redact_argv
from bxcache.buildx.vertex_names import EXPORTS
from bxcache.conclusion import Ended, begin_asking, conclude
from bxcache.errors import (
    BuildFailedError,
    BxcacheError,
    OutputError,
    ResultError,
    StoppedError,
)
from bxcache.execution import redacting
from bxcache.node_export import MORE_RUNS, avoid_meeting
from bxcache.pipeline import open_build
from bxcache.preparation import (
    leave_metadata,
    look_at_store,
    make_folder,
    note_metadata,
    note_store,
    open_store,
    prepare,
    read_metadata,
)
from bxcache.process import Stop, open_pool
from bxcache.redaction import Redactor
from bxcache.rescue import AGAIN, find_reason
from bxcache.running import Run, run_docker
from bxcache.settlement import Heard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from bxcache.batch import ImageObserver
    from bxcache.buildx.bake_definition import BakeTarget
    from bxcache.buildx.driver import Docker
    from bxcache.buildx.events import Event
    from bxcache.buildx.metadata import Metadata
    from bxcache.buildx.trace import Trace
    from bxcache.plan.plan import BuildPlan, LocalState
    from bxcache.preparation import Prepared
    from bxcache.request import BuildRequest
    from bxcache.store.staging import Staging

_MOST_AT_ONCE = 4
_CANCELED = "context canceled"


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


@dataclass(frozen=True, slots=True)
class _Open:
    """A target with its part of the store.

    Attributes:
        baking: the target with its caches.
        run: what its runs of docker have in common.
        staging: where it exports to, for the store.
        state: the store as it found it.
    """

    baking: Baking
    run: Run
    staging: Staging | None
    state: LocalState | None

    def avoid_meeting(self, heard: Heard) -> _Open:
        """The same as it is to be baked again where the nodes of the builder met; else itself."""
        plan = avoid_meeting(self.run, self.baking.plan, heard, self.staging)
        return self if plan is None else replace(self, baking=replace(self.baking, plan=plan))

    def without_imports(self) -> _Open:
        """The same, to be built from nothing."""
        if self.staging is not None:
            self.staging.empty()
        plan = self.baking.plan.without_imports()
        return replace(self, baking=replace(self.baking, plan=plan))


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
        heard = self._bake(opened)
        for _ in range(MORE_RUNS):
            apart = {name: each.avoid_meeting(heard[name]) for name, each in opened.items()}
            if all(apart[name] is each for name, each in opened.items()):
                break
            heard = self._bake_again(apart, heard)
        reasons = {name: _find_reason(opened[name], heard[name]) for name in opened}
        if any(reasons.values()):
            # One run for all: what one of them imported may be what another one imported.
            for name, reason in reasons.items():
                if reason:
                    opened[name].run.tell(Warned(reason))
            opened = {name: each.without_imports() for name, each in opened.items()}
            heard = self._bake_again(opened, heard)
        own = {name for name, each in self._targets.items() if each.keeps_cache}
        version, trouble = buildx(), leave_metadata(self._base, own)
        ended = {
            name: Ended(
                plan=each.baking.plan,
                arguments=describe_arguments(each.baking.target),
                heard=heard[name],
                state=each.state,
                staging=each.staging,
                reason=reasons[name],
                started=started,
                buildx=version,
                earlier=earlier[name],
            )
            for name, each in opened.items()
        }
        failed = {name for name, each in heard.items() if _has_failed(each)}
        with open_pool(self._stop, _MOST_AT_ONCE) as pool:
            waiting = {
                name: pool.submit(_conclude, opened[name], each, stopped=bool(failed - {name}))
                for name, each in ended.items()
            }
            outcomes = {name: job.result() for name, job in waiting.items()}
        return _add_trouble(outcomes, trouble)

    def _open_all(self, stack: ExitStack) -> dict[str, _Open]:
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
            baking.target.name: _Open(baking, self._make_run(baking), staging, state)
            for baking, (staging, state) in zip(bakings, stores, strict=True)
        }
        for note in (*self._base.notes, *_note_stores(bakings)):
            self._tell_of("")(Noted(note))
        for each in opened.values():
            for note in each.baking.plan.notes:
                each.run.tell(Noted(note))
        return opened

    def _make_run(self, baking: Baking) -> Run:
        tell = self._tell_of(baking.target.name)
        repeat = partial(repeat_target, self._request, self._targets, baking)
        return Run(baking.prepared, self.redact, tell, repeat)

    def _tell_of(self, name: str) -> Callable[[Event], None]:
        observe = self._observe
        if observe is None:
            return lambda _: None
        return redacting(lambda event: observe(name, event), self.redact)

    def _bake_again(
        self, opened: Mapping[str, _Open], first: Mapping[str, Heard]
    ) -> dict[str, Heard]:
        """Run the bake once more; what the first run executed was executed."""
        return {name: each.after(first[name]) for name, each in self._bake(opened).items()}

    def _bake(self, opened: Mapping[str, _Open]) -> dict[str, Heard]:
        """Run the bake and tell its events; what became of each target."""
        bakings = [each.baking for each in opened.values()]
        stages = {each.target.name: each.target.settings.target for each in bakings}
        reader = BakeReader(tuple(opened), stages)
        tell = {"": self._tell_of(""), **{name: each.run.tell for name, each in opened.items()}}
        file = self._base.metadata_file
        begun = time.monotonic()

        def take(line: str) -> None:
            for name, event in reader.feed(line):
                tell[name](event)

        # What holds for all of them holds for the first.
        first = next(iter(opened.values())).run
        status = run_docker(first, render_bake(self._request, self._base, file, bakings), take)
        for name, event in reader.end():
            tell[name](event)
        seconds = time.monotonic() - begun
        told = parse_bake_metadata("" if status else read_metadata(file), opened)
        if not status:
            docker = self._base.docker
            told = {name: complete_metadata(docker, each) for name, each in told.items()}
        heard = {
            name: _hear(each.baking, reader, told[name], status, seconds)
            for name, each in opened.items()
        }
        if status and not any(each.exit_status for each in heard.values()):
            # What failed is no target, so none of them is known to be as it was to be.
            return {name: replace(each, exit_status=status) for name, each in heard.items()}
        return heard


def _add_trouble(outcomes: dict[str, ImageOutcome], trouble: str) -> dict[str, ImageOutcome]:
    """The same with an error for the file of all of them, where that could not be written."""
    done = next((name for name, each in outcomes.items() if each.error is None), None)
    if not trouble or done is None:
        return outcomes
    error = OutputError(f"the bake is done, but {trouble}", result=outcomes[done].result)
    return {**outcomes, done: replace(outcomes[done], error=error)}


def _note_stores(bakings: Iterable[Baking]) -> dict[str, None]:
    """What a person should know of a store in the build contexts, once for all that have one."""
    return dict.fromkeys(note for each in bakings for note in note_store(each.prepared))


def _hear(baking: Baking, reader: BakeReader, told: Metadata, status: int, seconds: float) -> Heard:
    """What became of a target: one that came to its end has not failed with the others."""
    trace = reader.finish(baking.target.name, told.operations)
    failed = any(step.outcome is Outcome.FAILED for step in trace.steps)
    ended_well = not failed and _has_ended(baking, reader, trace)
    return Heard(0 if ended_well else status, trace, told, seconds)


def _has_ended(baking: Baking, reader: BakeReader, trace: Trace) -> bool:
    """Whether a target came to its end: buildx says so, or its cache was exported, as the last."""
    settings, builder = baking.prepared.setup.config.build, baking.prepared.capabilities.builder
    # Of several nodes each comes to an end of its own, and not all of them may work for a target.
    if len(builder.nodes) <= 1 or len(settings.platforms) <= 1:
        ended = reader.find_end(baking.target.name)
        if ended is not None:
            return ended
    return bool(baking.plan.exports) and any(
        transfer.digest and not transfer.error
        for kind in EXPORTS.values()
        for transfer in trace.find_transfers(kind)
    )


def _find_reason(each: _Open, heard: Heard) -> str:
    reason = find_reason(each.baking.plan, heard, each.run.prepared.store, each.staging)
    return f"{AGAIN}: {reason}" if reason else ""


def _conclude(each: _Open, ended: Ended, *, stopped: bool) -> ImageOutcome:
    """Save a target and tell what became of it.

    Args:
        each: the target.
        ended: its build.
        stopped: another target has failed, so this one was stopped unless it failed by itself.
    """
    name = each.baking.target.name
    try:
        return ImageOutcome(name, conclude(each.run, ended))
    except ResultError as error:
        result: Any = error.result
        if isinstance(error, BuildFailedError) and not _has_failed(ended.heard):
            return ImageOutcome(name, result, _explain_end(each, error, stopped=stopped))
        return ImageOutcome(name, result, error)
    except BxcacheError as error:
        return ImageOutcome(name, None, error)


def _explain_end(each: _Open, error: BuildFailedError, *, stopped: bool) -> BxcacheError:
    """Why a target did not come to its end that is not known to have failed by itself."""
    if stopped:
        return StoppedError("it was stopped, since another target failed")
    if each.baking.target.call:
        why = f"{error.message}; what its `call` found is on docker's stdout"
        return BuildFailedError(why, exit_status=error.exit_status, result=error.result)
    return error


def _has_failed(heard: Heard) -> bool:
    """Whether a target is known to have failed by itself, and was not only stopped."""
    if not heard.exit_status:
        return False
    failed = [step for step in heard.trace.steps if step.outcome is Outcome.FAILED]
    own = any(not step.error.endswith(_CANCELED) for step in failed)
    return own or (not failed and heard.trace.says_why)
