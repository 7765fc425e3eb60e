"""Build the targets of a bake file in one bake, each with its own cache."""

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
from bxcache.process import Stop, open_pool, run
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
    """A preview of a bake.

    Attributes:
        command: the command, secrets masked, after the variables it needs.
        plans: the caches of each target, with the reasons.
        notes: notes for the user about all targets.
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
    """Bake targets; restore every stage from the caches, and save it to them.

    Args:
        request: the bake.
        observe: gets each event as it happens, with its target's name, or an empty name for an
            event of the whole bake; called from several threads, one event at a time per target.
        accept: gets the names of the targets before the build starts; its exceptions propagate.

    Returns:
        The outcome of each target, by its name. A successful target is saved even if others fail.
        Empty if there are no targets, as for an empty group.

    Raises:
        ConfigError: the configuration or the bake file is wrong; nothing was built.
        EngineError: docker cannot do it; nothing was built.
    """
    # Saving runs in threads, which signals do not reach.
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
    """Preview `bake_targets`, without writing anything or starting a builder.

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


def ask_bake(request: BakeRequest, report: Callable[[str], None], progress: str = "plain") -> int:
    """Have bake answer a question behind `--`, such as `--print`, instead of building.

    This uses no cache.

    Args:
        request: the bake, in which `find_question` finds a question.
        report: gets each line that docker writes to stderr, secrets masked.
        progress: the value of docker's `--progress`.

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
                report(f"note: {note}")
        return _ask(docker, render_question(request, setup, progress), build, report)


def _ask(
    docker: Docker, arguments: Sequence[str], build: BuildRequest, report: Callable[[str], None]
) -> int:
    command = (*docker.command, *arguments)
    redact = Redactor(find_secrets(command, os.environ, build.directory))
    with run(
        command, variables={}, directory=build.directory, stdout=build.stdout, stop=build.stop
    ) as process:
        for line in process.read_lines():
            report(redact(line))
        return process.wait()


class _Bake:
    """One bake: a job whose targets docker builds in one run."""

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
        """Prepare every target."""
        every = self._targets.values()
        return [(each, prepare_target(self._base, self._request, each)) for each in every]

    def plan(self, target: BakeTarget, prepared: Prepared) -> Baking:
        """Choose the caches of a target."""
        return Baking(target, prepared, plan_target(target, prepared))

    def open(self, stack: ExitStack) -> dict[str, Target]:
        """Open the backends of each target, then look up the caches of all targets at once."""
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
            self._report_for("")(Noted(note))
        for each in targets.values():
            for note in each.plan.notes:
                each.runner.report(Noted(note))
        return targets

    def _make_target(self, baking: Baking) -> Target:
        report = self._report_for(baking.target.name)
        repeat = partial(repeat_target, self._request, self._targets, baking)
        return Target(
            prepared=baking.prepared,
            plan=baking.plan,
            runner=make_runner(baking.prepared, self.redact, report, repeat),
            arguments=describe_arguments(baking.target),
            name=baking.target.name,
            call=baking.target.call,
            earlier=begin_earlier(baking.prepared, baking.plan),
        )

    def _report_for(self, name: str) -> Callable[[Event], None]:
        observe = self._observe
        if observe is None:
            return lambda _: None
        return redacting(lambda event: observe(name, event), self.redact)

    def run(self, targets: Mapping[str, Target]) -> dict[str, RunResult]:
        """Run the bake, and report its events."""
        bakings = [replace(self.bakings[name], plan=each.plan) for name, each in targets.items()]
        stages = {each.target.name: each.target.settings.target for each in bakings}
        reader = BakeReader(tuple(targets), stages)
        report = {
            "": self._report_for(""),
            **{name: each.runner.report for name, each in targets.items()},
        }
        file = self._base.metadata_file
        begun = time.monotonic()

        def take(line: str) -> None:
            for name, event in reader.feed(line):
                report[name](event)

        # All runners share the settings of the bake; use the first.
        first = next(iter(targets.values())).runner
        status = run_docker(first, render_bake(self._request, self._base, file, bakings), take)
        for name, event in reader.end():
            report[name](event)
        seconds = time.monotonic() - begun
        metadata = parse_bake_metadata("" if status else read_metadata(file), targets)
        if not status:
            metadata = {n: complete_metadata(self.docker, each) for n, each in metadata.items()}
        ran = {
            name: read_result(each, reader, metadata[name], status, seconds)
            for name, each in zip(targets, bakings, strict=True)
        }
        if status and not any(each.exit_status for each in ran.values()):
            # No target failed, but bake did: any target may be incomplete.
            return {name: replace(each, exit_status=status) for name, each in ran.items()}
        return ran

    def leave_metadata(self) -> str:
        """Write the metadata file that the caller wants."""
        own = {name for name, each in self._targets.items() if each.keeps_cache}
        return leave_metadata(self._base, own)


def read_result(
    baking: Baking, reader: BakeReader, metadata: Metadata, status: int, seconds: float
) -> RunResult:
    """The result of a target: a completed one does not fail with the others."""
    trace = reader.finish(baking.target.name, metadata.operations)
    failed = any(step.outcome is Outcome.FAILED for step in trace.steps)
    ended_well = not failed and _has_ended(baking, reader, trace)
    return RunResult(0 if ended_well else status, trace, metadata, seconds)


def _has_ended(baking: Baking, reader: BakeReader, trace: Trace) -> bool:
    """Whether a target completed: buildx reports that, or has exported its cache, which is last."""
    settings, builder = baking.prepared.setup.config.build, baking.prepared.capabilities.builder
    # With several nodes, each reports its own end, and a target may not use all nodes.
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
    """The notes of the backends, once for all targets."""
    return dict.fromkeys(note for each in bakings for note in list_notes(each.prepared))
