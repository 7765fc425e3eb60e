"""The story of a build, from top to bottom. A bake is the same story over several targets."""

from __future__ import annotations

import os
from contextlib import ExitStack, nullcontext
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from bxcache.buildx.capabilities import check_buildx, check_reachable
from bxcache.buildx.command import reads_context
from bxcache.buildx.extra_flags import CACHE_TO, find_values
from bxcache.buildx.memory import OutdatedError
from bxcache.buildx.run import run_build, take_stdin
from bxcache.buildx.secrets import find_secrets
from bxcache.buildx.stream.events import Noted, Recalled, Warned, redact_event
from bxcache.config.wording import name_option
from bxcache.errors import OutputError, StoppedError
from bxcache.pipeline.choose import plan_build
from bxcache.pipeline.context_files import ContextFiles
from bxcache.pipeline.earlier import ask_earlier, note_salvaged
from bxcache.pipeline.ledger import Ledger, Progress
from bxcache.pipeline.seen_steps import SeenSteps
from bxcache.pipeline.target import Target
from bxcache.pipeline.tripwire import refuse_secrets
from bxcache.process import Stop, open_pool
from bxcache.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Mapping, Sequence

    from bxcache.buildx.run import RunResult
    from bxcache.buildx.stream.events import Event, Observer
    from bxcache.insight.earlier import EarlierBuilds
    from bxcache.pipeline.plan import BuildPlan
    from bxcache.pipeline.prepare import Prepared
    from bxcache.pipeline.result import BuildResult, ImageOutcome

MOST_AT_ONCE = 4
"""How many targets are looked up or finished at once."""
_MORE_RUNS = 2
"""How often to run a build again while its nodes collide."""
_AGAIN = "the build failed because of its cache and is run again without it"
_ONCE = (
    "the build failed because of its cache, and what it read from stdin is gone; run it anew, "
    "with `{}` if that fails too"
)


class Job(Struct, frozen=True):
    """A job that docker builds in one run: one image, or the targets of a bake.

    Attributes:
        prepared: what all of them share.
        run: runs docker for targets, and reports its events. It calls the function once docker
            has started, and so has time.
        caching: the targets for which the caller exports a cache; the name of an image is empty.
    """

    what: str
    prepared: Prepared
    stop: Stop
    run: Callable[[Mapping[str, Target], Callable[[], None]], dict[str, RunResult]]
    caching: Container[str] = ()


def build_image(prepared: Prepared, observe: Observer | None) -> BuildResult:
    """Build one image, or raise its error."""
    request, settings = prepared.request, prepared.setup.config.build
    stdin = take_stdin(settings, request.extra, request.stop)
    with ExitStack() as stack:
        prepared.make_folder(stack)
        prepared.open_backends(stack)
        files = ContextFiles(settings, request.directory, stdin)
        plan = plan_build(prepared, files)
        arguments = prepared.render_arguments(plan.uses)
        words = (*arguments, *prepared.docker.command)
        secrets = find_secrets(words, os.environ, request.directory)
        redact = Redactor((*secrets, *prepared.list_secrets()))
        earlier, timeline, seen = (
            ask_earlier(prepared, plan),
            prepared.start_timeline(),
            SeenSteps(),
        )
        takers = (timeline.take, seen.take)
        report = recalling(redacting(observe, redact), earlier, plan, takers)
        missing = prepared.find_missing()
        runner = replace(
            prepared.make_runner(redact, report, prepared.render_save, stdin), missing=missing
        )
        notes = (plan.start, *prepared.notes, *prepared.list_notes(), *plan.notes)
        for note in notes if missing is None else ():
            runner.report(Noted(note))
        target = Target(
            *(prepared, plan, runner, arguments),
            earlier=earlier,
            files=files,
            timeline=timeline,
            seen=seen,
        )
        (outcome,) = build_targets(_make_job(prepared), {"": target}).values()
    if outcome.result is None or outcome.error is not None:
        raise outcome.error or ValueError(outcome)
    return outcome.result


def _make_job(prepared: Prepared) -> Job:
    def run(targets: Mapping[str, Target], begin: Callable[[], None]) -> dict[str, RunResult]:
        ((name, each),) = targets.items()
        arguments = prepared.render_arguments(each.plan.uses)
        return {name: run_build(each.runner, arguments, begin, each.plan.limit)}

    caching = [""] if find_values(prepared.request.extra, CACHE_TO) else ()
    return Job("build", prepared, prepared.request.stop or Stop(), run, caching)


def build_targets(job: Job, targets: dict[str, Target]) -> dict[str, ImageOutcome]:
    """Build open and planned targets: run docker, save, record, judge."""
    ledger = job.prepared.request.ledger or Ledger()
    with ledger.open(len(targets)) as entries:
        named = zip(targets.items(), entries, strict=True)
        return _build_targets(job, {n: replace(each, entry=entry) for (n, each), entry in named})


def _build_targets(job: Job, targets: dict[str, Target]) -> dict[str, ImageOutcome]:
    allowed = job.prepared.setup.config.cache.allow_args
    refuse_secrets([(each.plan, each.arguments) for each in targets.values()], allowed)
    with ExitStack() as stack:
        begin = _Beginning(job.prepared, targets, stack)
        ran = _run_first(job, targets, begin)
        _check_memory(job.prepared, targets, ran)
        targets, ran = _retry_without_exports(job, targets, ran)
        ran = _retry_after_collisions(job, targets, ran)
        _check_stream(job, ran)
        targets, ran = _retry_without_caches(job, targets, ran)
        version = begin.wait_for_version()
    from bxcache.pipeline.finish import (  # noqa: PLC0415  # loaded while docker started
        finish_target,
        has_failed,
        leave_metadata,
        salvage_target,
        save_target,
    )

    trouble = leave_metadata(job.prepared, job.caching)
    failed = {name for name, each in ran.items() if has_failed(each)}
    finish = partial(finish_target, buildx=version, failed=failed)
    for name, each in targets.items():
        each.entry.report(Progress.BUILT, ran[name])
    runs = [ran[name] for name in targets]
    all_targets = targets.values()
    with open_pool(job.stop, MOST_AT_ONCE) if len(targets) > 1 else nullcontext() as pool:
        map_all = pool.map if pool is not None else map
        saved = [*map(salvage_target, all_targets, [*map_all(save_target, all_targets, runs)])]
        outcomes = [*map_all(finish, all_targets, saved)]
    return _add_trouble(job, {each.image: each for each in outcomes}, trouble)


def _run_first(
    job: Job, targets: Mapping[str, Target], begin: Callable[[], None]
) -> dict[str, RunResult]:
    """Run docker; if it is stopped, save what has finished, if that is wanted."""
    try:
        return job.run(targets, begin)
    except (KeyboardInterrupt, StoppedError):
        if job.prepared.setup.config.cache.salvage == "always":
            from bxcache.pipeline.salvage import salvage_stopped  # noqa: PLC0415  # rarely needed

            for each in targets.values():
                salvage_stopped(each)
        raise


class _Beginning:
    """What is done once docker has started, and takes as long to reach BuildKit anyway."""

    def __init__(self, prepared: Prepared, targets: Mapping[str, Target], stack: ExitStack) -> None:
        self._prepared, self._targets, self._stack = prepared, targets, stack
        self._ask_version: Callable[[], str] | None = None
        self._begun = False

    def __call__(self) -> None:
        if self._begun:
            return
        self._begun = True
        for target in self._targets.values():
            if target.earlier is not None:
                target.earlier.start()
            if target.files is not None:
                target.files.start()
        import_module("bxcache.pipeline.finish")
        if not self._prepared.capabilities.buildx:
            asking = self._prepared.docker.asking_buildx()
            self._ask_version = self._stack.enter_context(asking)

    def wait_for_version(self) -> str:
        """Return buildx's version, and remember it with what else docker answered."""
        found = self._prepared.capabilities
        if self._ask_version is None:
            return found.buildx
        found = replace(found, buildx=self._ask_version())
        self._prepared.memory.keep(found)
        return found.buildx


def _check_memory(
    prepared: Prepared, targets: Mapping[str, Target], ran: Mapping[str, RunResult]
) -> None:
    """Forget what was remembered of docker if BuildKit never began; raise if it was wrong."""
    remembered, settings = prepared.capabilities, prepared.setup.config.build
    has_begun = any(not each.exit_status or each.trace.began is not None for each in ran.values())
    if has_begun or not remembered.buildx:
        return
    prepared.memory.forget()
    found, _ = prepared.docker.learn(None, settings.builder, boot=True, on_slow=lambda: None)
    check_reachable(found)
    reads_stdin = any(each.runner.stdin is not None for each in targets.values())
    if found != replace(remembered, buildx="") and not (reads_context(settings) or reads_stdin):
        raise OutdatedError


def _retry_without_exports(
    job: Job, targets: dict[str, Target], ran: dict[str, RunResult]
) -> tuple[dict[str, Target], dict[str, RunResult]]:
    """Run again without exports if they stalled: a cache must not delay the build."""
    if not any(each.is_late for each in ran.values()):
        return targets, ran
    targets = {name: each.without_exports() for name, each in targets.items()}
    return targets, run_again(job, targets, ran)


def _retry_after_collisions(
    job: Job, targets: Mapping[str, Target], ran: dict[str, RunResult]
) -> dict[str, RunResult]:
    """Run again while nodes of the builder collide in one layout."""
    for _ in range(_MORE_RUNS):
        again = {name: each.retry_after_collision(ran[name]) for name, each in targets.items()}
        if all(again[name] is each for name, each in targets.items()):
            break
        ran = run_again(job, again, ran)
    return ran


def _check_stream(job: Job, ran: Mapping[str, RunResult]) -> None:
    """Refuse a buildx that does not support the requested stream, and so built nothing."""
    output = [each.trace.said[:3] for each in ran.values() if each.exit_status]
    if any("progress" in line or "rawjson" in line for lines in output for line in lines):
        check_buildx(job.prepared.docker.ask_buildx_version())


def _retry_without_caches(
    job: Job, targets: dict[str, Target], ran: dict[str, RunResult]
) -> tuple[dict[str, Target], dict[str, RunResult]]:
    """Run all again without imports if a cache made one fail: they may have imported the same."""
    faults = {name: each.mend_caches(ran[name]) for name, each in targets.items()}
    if not any(faults.values()):
        return targets, ran
    once = any(reads_context(each.runner.settings) for each in targets.values())
    why = _ONCE.format(name_option("no_cache", value=True)) if once else _AGAIN
    reasons = {n: f"{why}: {fault}" for n, fault in faults.items() if fault}
    for name, reason in reasons.items():
        targets[name].runner.report(Warned(reason))
    if once:
        return {n: replace(each, reason=reasons.get(n)) for n, each in targets.items()}, ran
    targets = {name: each.without_caches(reasons.get(name)) for name, each in targets.items()}
    return targets, run_again(job, targets, ran)


def run_again(
    job: Job, targets: Mapping[str, Target], first: Mapping[str, RunResult]
) -> dict[str, RunResult]:
    """Run again, and merge each result with that of the first run."""
    again = job.run(targets, lambda: None)
    return {name: each.after(first[name]) for name, each in again.items()}


def _add_trouble(
    job: Job, outcomes: dict[str, ImageOutcome], trouble: str | None
) -> dict[str, ImageOutcome]:
    """Add an error to a successful outcome if the metadata file could not be written."""
    done = next((name for name, each in outcomes.items() if each.error is None), None)
    if trouble is None or done is None:
        return outcomes
    error = OutputError(f"the {job.what} is done, but {trouble}", result=outcomes[done].result)
    return {**outcomes, done: replace(outcomes[done], error=error)}


def recalling(
    report: Callable[[Event], None],
    earlier: EarlierBuilds | None,
    plan: BuildPlan,
    takers: Sequence[Callable[[Event], None]],
) -> Callable[[Event], None]:
    """Wrap an observer so that it gets the times of earlier builds once they are known.

    The takers get the events before it.
    """
    waiting = [earlier] if earlier is not None else []

    def recall(event: Event) -> None:
        if waiting and waiting[0].has_ended:
            from bxcache.insight.record_steps import list_last_times  # noqa: PLC0415  # as above

            records = waiting.pop().wait()
            times = list_last_times(records)
            if times:
                report(Recalled(times))
            for note in note_salvaged(records, plan):
                report(Noted(note))
        for take in takers:
            take(event)
        report(event)

    return recall


def redacting(observe: Observer | None, redact: Redactor) -> Callable[[Event], None]:
    """Wrap an observer so that it gets events with secrets masked."""

    def report(event: Event) -> None:
        if observe is not None:
            observe(redact_event(event, redact))

    return report
