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

from bxcache.buildx.bake.stream import BakeReader
from bxcache.buildx.build_history import complete_metadata
from bxcache.buildx.command import VARIABLES
from bxcache.buildx.metadata import Metadata, parse_bake_metadata
from bxcache.buildx.run import RunResult, read_metadata, run_docker
from bxcache.buildx.secrets import find_secrets, redact_argv
from bxcache.buildx.stream.events import Noted, Outcome
from bxcache.buildx.stream.names import EXPORTS
from bxcache.pipeline.bake_definition import define_bake, guard_bake
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
from bxcache.pipeline.build import build_targets, redacting
from bxcache.pipeline.metadata_file import leave_metadata, note_metadata
from bxcache.pipeline.opening import open_build
from bxcache.pipeline.prepare import (
    list_notes,
    make_folder,
    make_runner,
    open_backends,
    prepare,
)
from bxcache.pipeline.record import begin_earlier
from bxcache.pipeline.target import Target
from bxcache.process import Stop, open_pool
from bxcache.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from bxcache.buildx.bake.definition import BakeTarget
    from bxcache.buildx.driver import Docker
    from bxcache.buildx.stream.events import Event
    from bxcache.buildx.stream.trace import Trace
    from bxcache.pipeline.batch import ImageObserver
    from bxcache.pipeline.plan import BuildPlan
    from bxcache.pipeline.prepare import Prepared
    from bxcache.pipeline.request import BuildRequest
    from bxcache.pipeline.result import ImageOutcome

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
        bake = _Bake(request, base, targets, observe)
        return build_targets(bake, bake.open(stack))


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
    prepared = bake.prepare_all()
    for _, own in prepared:
        open_backends(own, None)
    bakings = [bake.plan(*each) for each in prepared]
    arguments = render_bake(request, base, base.metadata_file, bakings)
    command = (*base.docker.command, *arguments)
    variables = (f"{name}={value}" for name, value in VARIABLES.items())
    return BakePreview(
        command=(*variables, *redact_argv(command, bake.redact)),
        plans={each.target.name: each.plan for each in bakings},
        notes=(
            *base.notes,
            *note_metadata(base),
            *_note_backends(bakings),
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
    """One bake: a job of the story, whose targets are built in one run."""

    what = "bake"

    def __init__(
        self,
        request: BakeRequest,
        base: Prepared,
        targets: Mapping[str, BakeTarget],
        observe: ImageObserver | None,
    ) -> None:
        self._request, self._base, self._targets = request, base, targets
        self._observe, self.stop = observe, request.build.stop or Stop()
        self.docker, self.bakings = base.docker, dict[str, Baking]()
        words = [word for each in targets.values() for word in list_words(each)]
        words += [word for text in request.sets for word in ("--set", text)]
        words += [*request.build.extra, *base.docker.command]
        self.redact = Redactor(find_secrets(words, os.environ, request.build.directory))

    def prepare_all(self) -> list[tuple[BakeTarget, Prepared]]:
        """Every target with what is known of it."""
        every = self._targets.values()
        return [(each, prepare_target(self._base, self._request, each)) for each in every]

    def plan(self, target: BakeTarget, prepared: Prepared) -> Baking:
        """A target with its caches."""
        return Baking(target, prepared, plan_target(target, prepared))

    def open(self, stack: ExitStack) -> dict[str, Target]:
        """Open the backends of each target, then look over the network for all of them at once."""
        prepared = self.prepare_all()
        for _, own in prepared:
            make_folder(own, stack)
            open_backends(own, stack)
        with open_pool(self.stop, _MOST_AT_ONCE) as pool:
            self.bakings = {
                each.target.name: each for each in pool.map(self.plan, *zip(*prepared, strict=True))
            }
        targets = {name: self._make_target(each) for name, each in self.bakings.items()}
        for note in (*self._base.notes, *_note_backends(self.bakings.values())):
            self._tell_of("")(Noted(note))
        for each in targets.values():
            for note in each.plan.notes:
                each.runner.report(Noted(note))
        return targets

    def _make_target(self, baking: Baking) -> Target:
        tell = self._tell_of(baking.target.name)
        repeat = partial(repeat_target, self._request, self._targets, baking)
        return Target(
            prepared=baking.prepared,
            plan=baking.plan,
            runner=make_runner(baking.prepared, self.redact, tell, repeat),
            arguments=describe_arguments(baking.target),
            name=baking.target.name,
            call=baking.target.call,
            earlier=begin_earlier(baking.prepared, baking.plan),
        )

    def _tell_of(self, name: str) -> Callable[[Event], None]:
        observe = self._observe
        if observe is None:
            return lambda _: None
        return redacting(lambda event: observe(name, event), self.redact)

    def run(self, targets: Mapping[str, Target]) -> dict[str, RunResult]:
        """Run the bake, and report its events."""
        bakings = [replace(self.bakings[name], plan=each.plan) for name, each in targets.items()]
        stages = {each.target.name: each.target.settings.target for each in bakings}
        reader = BakeReader(tuple(targets), stages)
        tell = {
            "": self._tell_of(""),
            **{name: each.runner.report for name, each in targets.items()},
        }
        file = self._base.metadata_file
        begun = time.monotonic()

        def take(line: str) -> None:
            for name, event in reader.feed(line):
                tell[name](event)

        # What holds for all of them holds for the first.
        first = next(iter(targets.values())).runner
        status = run_docker(first, render_bake(self._request, self._base, file, bakings), take)
        for name, event in reader.end():
            tell[name](event)
        seconds = time.monotonic() - begun
        told = parse_bake_metadata("" if status else read_metadata(file), targets)
        if not status:
            told = {name: complete_metadata(self.docker, each) for name, each in told.items()}
        ran = {
            each.target.name: read_result(each, reader, told[each.target.name], status, seconds)
            for each in bakings
        }
        if status and not any(each.exit_status for each in ran.values()):
            # What failed is no target, so none of them is known to be complete.
            return {name: replace(each, exit_status=status) for name, each in ran.items()}
        return ran

    def leave_metadata(self) -> str:
        """Write the metadata file that the caller wants."""
        own = {name for name, each in self._targets.items() if each.keeps_cache}
        return leave_metadata(self._base, own)


def read_result(
    baking: Baking, reader: BakeReader, told: Metadata, status: int, seconds: float
) -> RunResult:
    """The result of a target: one that came to its end has not failed with the others."""
    trace = reader.finish(baking.target.name, told.operations)
    failed = any(step.outcome is Outcome.FAILED for step in trace.steps)
    ended_well = not failed and _has_ended(baking, reader, trace)
    return RunResult(0 if ended_well else status, trace, told, seconds)


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


def _note_backends(bakings: Iterable[Baking]) -> dict[str, None]:
    """What a person should know of the backends, once for all targets."""
    return dict.fromkeys(note for each in bakings for note in list_notes(each.prepared))
