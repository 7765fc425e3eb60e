"""Build the targets of a bake file in one bake, each with its own cache."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from bxcache.buildx.bake.stream import BakeReader
from bxcache.buildx.build_history import complete_metadata
from bxcache.buildx.driver import Docker
from bxcache.buildx.metadata import Metadata, parse_bake_metadata
from bxcache.buildx.run import RunResult, Stopwatch, read_metadata, run_docker
from bxcache.buildx.stream.events import Noted, Outcome
from bxcache.buildx.stream.names import EXPORTS
from bxcache.pipeline.bake_definition import define_bake, guard_bake
from bxcache.pipeline.bake_targets import (
    Bake,
    BakeRequest,
    describe_arguments,
    plan_target,
    prepare_target,
    render_words,
)
from bxcache.pipeline.build import MOST_AT_ONCE, Job, build_targets, recalling, redacting
from bxcache.pipeline.context_files import ContextFiles
from bxcache.pipeline.earlier import ask_earlier
from bxcache.pipeline.entry import ask_docker, remembering
from bxcache.pipeline.prepare import prepare, read_setup
from bxcache.pipeline.preview import show_command
from bxcache.pipeline.question import relay_answer
from bxcache.pipeline.result import TargetOutcomes
from bxcache.pipeline.seen_steps import SeenSteps
from bxcache.pipeline.target import Target
from bxcache.pipeline.tripwire import refuse_secrets
from bxcache.process import Stop, open_pool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from bxcache.buildx.bake.definition import BakeTarget
    from bxcache.buildx.stream.events import Event
    from bxcache.buildx.stream.trace import Trace
    from bxcache.pipeline.batch import ImageObserver
    from bxcache.pipeline.plan import BuildPlan
    from bxcache.pipeline.prepare import Prepared
    from bxcache.pipeline.result import Outcomes
    from bxcache.redaction import Redactor


class BakePreview(Struct, frozen=True):
    """A bake's command, secrets masked, the caches of each target, and notes about all of them."""

    command: tuple[str, ...]
    plans: Mapping[str, BuildPlan]
    notes: tuple[str, ...] = ()


def bake_targets(
    request: BakeRequest,
    observe: ImageObserver | None = None,
    *,
    accept: Callable[[tuple[str, ...]], None] | None = None,
) -> Outcomes:
    """Bake targets; restore every stage from the caches, and save it to them.

    A successful target is saved even if others fail; an empty group has no outcomes. `accept` gets
    the names of the targets before the build starts, and its exceptions propagate. A ConfigError or
    an EngineError means that nothing was built.
    """
    # Saving runs in threads, which signals do not reach.
    stop = request.build.stop or Stop()
    request = replace(request, build=replace(request.build.begin(), stop=stop))
    return remembering(lambda: _bake_targets(request, observe, accept, stop))


def _bake_targets(
    request: BakeRequest,
    observe: ImageObserver | None,
    accept: Callable[[tuple[str, ...]], None] | None,
    stop: Stop,
) -> Outcomes:
    request, base = _prepare(request, boot=True)
    with ExitStack() as stack:
        base.make_folder(stack)
        bake = define_bake(request, base)
        if not bake.targets:
            return TargetOutcomes()
        if accept is not None:
            accept(tuple(bake.targets))
        run = _Run(bake, bake.find_secrets(), observe)
        own = {name for name, each in bake.targets.items() if each.keeps_cache}
        job = Job("bake", base, stop, run.run, own)
        return TargetOutcomes(build_targets(job, run.open(stop, stack)))


def preview_bake(request: BakeRequest) -> BakePreview:
    """Preview `bake_targets`, without writing anything or starting a builder, with its errors."""
    request, base = _prepare(request, boot=False)
    with ExitStack() as stack:
        if base.setup.is_guarded:
            base.make_folder(stack)
        bake = define_bake(request, base)
    prepared = _prepare_all(bake)
    for own in prepared.values():
        own.open_backends(None)
    plans = {name: plan_target(bake.targets[name], own) for name, own in prepared.items()}
    given = [(plan, describe_arguments(bake.targets[name])) for name, plan in plans.items()]
    refuse_secrets(given, base.setup.config.cache.allow_args)
    words = (*base.docker.command, *bake.render(plans, base.metadata_file))
    notes = (
        *bake.base.notes,
        *base.note_metadata(),
        *_note_backends(prepared.values()),
        *bake.note_folders(plans),
    )
    return BakePreview(show_command(words, bake.find_secrets()), plans, notes)


def ask_bake(request: BakeRequest, report: Callable[[str], None], progress: str = "plain") -> int:
    """Have bake answer a question behind `--`, such as `--print`; return docker's exit status.

    This builds nothing and uses no cache. Each line that docker writes to stderr is reported, with
    secrets masked; the progress is a value of docker's `--progress`.
    """
    build = request.build
    build.check_extra()
    setup, docker = read_setup(build)[0], Docker.find()
    with ExitStack() as stack:
        if setup.is_guarded:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="bxcache-"))
            request, notes = guard_bake(request, docker, Path(folder))
            for note in notes:
                report(f"note: {note}")
        return relay_answer(docker, render_words(request, setup, progress), build, report)


def _prepare(request: BakeRequest, *, boot: bool) -> tuple[BakeRequest, Prepared]:
    """Prepare what all targets share."""
    with ask_docker(request.build, fresh=not boot) as ahead:
        base = prepare(request.build, ahead, boot=boot)
    return replace(request, build=replace(request.build, extra=base.request.extra)), base


def _prepare_all(bake: Bake) -> dict[str, Prepared]:
    return {n: prepare_target(bake.base, bake.request, each) for n, each in bake.targets.items()}


class _Run(Struct, frozen=True):
    """The run of docker that bakes all targets."""

    bake: Bake
    redact: Redactor
    observe: ImageObserver | None

    def open(self, stop: Stop, stack: ExitStack) -> dict[str, Target]:
        """Open the backends of each target, then look up the caches of all targets at once."""
        declared, prepared = self.bake.targets.values(), _prepare_all(self.bake).values()
        for own in prepared:
            own.make_folder(stack)
            own.open_backends(stack)
        directory = self.bake.base.request.directory
        files = [ContextFiles(each.settings, directory, None) for each in declared]
        with open_pool(stop, MOST_AT_ONCE) as pool:
            plans = [*pool.map(plan_target, declared, prepared, files)]
        targets = [*map(self._make_target, declared, prepared, plans, files)]
        for each in targets:
            for note in filter(None, (each.plan.start, *each.plan.notes)):
                each.runner.report(Noted(note))
        for note in (*self.bake.base.notes, *_note_backends(prepared)):
            self._report_for("")(Noted(note))
        return {each.name: each for each in targets}

    def _make_target(
        self, declared: BakeTarget, prepared: Prepared, plan: BuildPlan, files: ContextFiles
    ) -> Target:
        name, earlier = declared.name, ask_earlier(prepared, plan)
        timeline, seen = prepared.start_timeline(), SeenSteps()
        takers = (timeline.take, seen.take)
        report = recalling(self._report_for(name), earlier, plan, takers)
        runner = prepared.make_runner(self.redact, report, partial(self.bake.repeat, name))
        return Target(
            *(prepared, plan, runner, describe_arguments(declared)),
            name=name,
            call=declared.call,
            earlier=earlier,
            files=files,
            timeline=timeline,
            seen=seen,
        )

    def _report_for(self, name: str) -> Callable[[Event], None]:
        observe = self.observe
        return redacting(None if observe is None else partial(observe, name), self.redact)

    def run(self, targets: Mapping[str, Target], begin: Callable[[], None]) -> dict[str, RunResult]:
        plans = {name: each.plan for name, each in targets.items()}
        stages = {name: self.bake.targets[name].settings.target for name in targets}
        reader = BakeReader(tuple(targets), stages)
        report = {name: each.runner.report for name, each in targets.items()}
        report[""] = self._report_for("")
        docker, file = self.bake.base.docker, self.bake.base.metadata_file
        watch = Stopwatch()

        def take(line: str) -> Iterator[Event]:
            for name, event in reader.feed(line):
                watch.take(event)
                report[name](event)
                yield event

        # All runners share the settings of the bake; use the first.
        first = next(iter(targets.values())).runner
        limit = min((each.limit for each in plans.values() if each.limit), default=None)
        ended = run_docker(first, self.bake.render(plans, file), take, begin, limit)
        status = ended.status
        for name, event in reader.end():
            report[name](event)
        seconds = watch.seconds
        metadata = parse_bake_metadata("" if status else read_metadata(file), targets)
        if not status:
            metadata = {name: complete_metadata(docker, each) for name, each in metadata.items()}
            metadata = share_layers(reader, metadata)
        ran = {
            name: read_result(each, reader, metadata[name], status, seconds)
            for name, each in targets.items()
        }
        begins = (each.trace.began for each in ran.values())
        began = min((each for each in begins if each is not None), default=None)
        ran = {
            name: replace(watch.place(each, began), is_late=ended.is_late)
            for name, each in ran.items()
        }
        if status and not any(each.exit_status for each in ran.values()):
            # No target failed, but bake did: any target may be incomplete.
            return {name: replace(each, exit_status=status) for name, each in ran.items()}
        return ran


def share_layers(reader: BakeReader, metadata: Mapping[str, Metadata]) -> dict[str, Metadata]:
    """Add the layers of steps that BuildKit reports only for another target with the same step."""
    operations = (each for own in metadata.values() for each in own.operations.values())
    known = {each.vertex: each.chains for each in operations if each.chains}
    shared = {name: reader.find_shared(name, own.operations) for name, own in metadata.items()}
    return {
        name: own.with_shared(
            {vertex: known.get(shared[name].get(vertex, vertex), ()) for vertex in own.operations}
        )
        for name, own in metadata.items()
    }


def read_result(
    target: Target, reader: BakeReader, metadata: Metadata, status: int, seconds: float
) -> RunResult:
    """The result of a target: a completed one does not fail with the others."""
    trace = reader.finish(target.name, metadata.operations)
    failed = any(step.outcome is Outcome.FAILED for step in trace.steps)
    ended_well = not failed and _has_ended(target, reader, trace)
    return RunResult(0 if ended_well else status, trace, metadata, seconds)


def _has_ended(target: Target, reader: BakeReader, trace: Trace) -> bool:
    """Whether a target completed: buildx reports that, or has exported its cache, which is last."""
    settings, builder = target.prepared.setup.config.build, target.prepared.capabilities.builder
    # With several nodes, each reports its own end, and a target may not use all nodes.
    if len(builder.nodes) <= 1 or len(settings.platforms) <= 1:
        ended = reader.find_end(target.name)
        if ended is not None:
            return ended
    return bool(target.plan.exports) and any(
        transfer.digest and not transfer.error
        for kind in EXPORTS.values()
        for transfer in trace.find_transfers(kind)
    )


def _note_backends(prepared: Iterable[Prepared]) -> dict[str, None]:
    """The notes of the backends, once for all targets."""
    return dict.fromkeys(note for each in prepared for note in each.list_notes())
