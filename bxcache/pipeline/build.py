"""The story of a build, from top to bottom. A bake is the same story over several targets."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from bxcache.buildx.capabilities import check_buildx
from bxcache.buildx.command import reads_context
from bxcache.buildx.extra_flags import CACHE_TO, find_values
from bxcache.buildx.run import run_build, take_stdin
from bxcache.buildx.secrets import find_secrets
from bxcache.buildx.stream.events import Noted, Warned, redact_event
from bxcache.errors import BxcacheError, OutputError, ResultError
from bxcache.pipeline.choose import plan_build
from bxcache.pipeline.finish import explain_end, finish_target, has_failed
from bxcache.pipeline.metadata_file import leave_metadata
from bxcache.pipeline.prepare import (
    list_notes,
    make_folder,
    make_runner,
    open_backends,
    render_arguments,
    render_save,
)
from bxcache.pipeline.record import begin_earlier
from bxcache.pipeline.rescue import AGAIN, ONCE, find_reason
from bxcache.pipeline.result import ImageOutcome
from bxcache.pipeline.target import Target
from bxcache.process import Stop, open_pool
from bxcache.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bxcache.buildx.driver import Docker
    from bxcache.buildx.run import RunResult
    from bxcache.buildx.stream.events import Event, Observer
    from bxcache.pipeline.prepare import Prepared
    from bxcache.pipeline.result import BuildResult

_MORE_RUNS = 2
"""How often to run a build again while its nodes collide."""
_MOST_AT_ONCE = 4


class Job(Protocol):
    """A job that docker builds in one run: one image, or the targets of a bake.

    Attributes:
        what: its name in messages.
        docker: docker.
        stop: stops it from another thread.
    """

    @property
    def what(self) -> str: ...

    @property
    def docker(self) -> Docker: ...

    @property
    def stop(self) -> Stop: ...

    def run(self, targets: Mapping[str, Target]) -> dict[str, RunResult]:
        """Run docker, and report its events."""

    def leave_metadata(self) -> str:
        """Write the caller's metadata file; return why that failed, or an empty string."""


def build_targets(job: Job, targets: dict[str, Target]) -> dict[str, ImageOutcome]:
    """Build open and planned targets: run docker, save, record, judge.

    Returns:
        the outcome of each target, by its name.
    """
    started = time.time()
    with job.docker.asking_buildx() as ask_version:
        ran = job.run(targets)
        ran = _retry_after_collisions(job, targets, ran)
        _check_stream(job, ran)
        targets, ran = _retry_without_caches(job, targets, ran)
        trouble, version = job.leave_metadata(), ask_version()
    failed = {name for name, each in ran.items() if has_failed(each)}
    finish = partial(_finish, started=started, version=version, failed=failed)
    if len(targets) == 1:
        outcomes = {name: finish(each, ran[name]) for name, each in targets.items()}
    else:
        with open_pool(job.stop, _MOST_AT_ONCE) as pool:
            jobs = {name: pool.submit(finish, each, ran[name]) for name, each in targets.items()}
            outcomes = {name: each.result() for name, each in jobs.items()}
    return _add_trouble(job, outcomes, trouble)


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
    """Refuse a buildx that does not support the requested stream, and so built nothing.

    Raises:
        EngineError: buildx is too old.
    """
    output = [each.trace.said[:3] for each in ran.values() if each.exit_status]
    if any("progress" in line or "rawjson" in line for lines in output for line in lines):
        check_buildx(job.docker.ask_buildx_version())


def _retry_without_caches(
    job: Job, targets: dict[str, Target], ran: dict[str, RunResult]
) -> tuple[dict[str, Target], dict[str, RunResult]]:
    """Run again without any imports if a cache made a build fail.

    All targets run again together: they may have imported the same cache.
    """
    reasons = {name: _explain_retry(each, ran[name]) for name, each in targets.items()}
    for name, reason in reasons.items():
        if reason is not None:
            targets[name].runner.report(Warned(reason))
    if not any(reasons.values()):
        return targets, ran
    if any(reads_context(each.runner.settings) for each in targets.values()):
        return {n: replace(each, reason=reasons[n]) for n, each in targets.items()}, ran
    targets = {name: each.without_caches(reasons[name]) for name, each in targets.items()}
    return targets, run_again(job, targets, ran)


def _explain_retry(target: Target, ran: RunResult) -> str | None:
    reason = find_reason(target, ran)
    once = reads_context(target.runner.settings)
    return f"{ONCE if once else AGAIN}: {reason}" if reason else None


def run_again(
    job: Job, targets: Mapping[str, Target], first: Mapping[str, RunResult]
) -> dict[str, RunResult]:
    """Run again, and merge each result with that of the first run."""
    return {name: each.after(first[name]) for name, each in job.run(targets).items()}


def _finish(
    target: Target, ran: RunResult, *, started: float, version: str, failed: set[str]
) -> ImageOutcome:
    """Save, record and judge one target."""
    stopped = bool(failed - {target.name})
    try:
        return ImageOutcome(target.name, finish_target(target, ran, started, version))
    except ResultError as error:
        result: Any = error.result
        return ImageOutcome(target.name, result, explain_end(target, ran, error, stopped=stopped))
    except BxcacheError as error:
        return ImageOutcome(target.name, None, error)


def _add_trouble(
    job: Job, outcomes: dict[str, ImageOutcome], trouble: str
) -> dict[str, ImageOutcome]:
    """Add an error to a successful outcome if the metadata file could not be written."""
    done = next((name for name, each in outcomes.items() if each.error is None), None)
    if not trouble or done is None:
        return outcomes
    error = OutputError(f"the {job.what} is done, but {trouble}", result=outcomes[done].result)
    return {**outcomes, done: replace(outcomes[done], error=error)}


@dataclass(frozen=True, slots=True)
class _Single:
    """A build of one image."""

    prepared: Prepared
    docker: Docker
    stop: Stop
    what: str = "build"

    def run(self, targets: Mapping[str, Target]) -> dict[str, RunResult]:
        """Run `docker buildx build`."""
        ((name, each),) = targets.items()
        return {name: run_build(each.runner, render_arguments(self.prepared, each.plan.uses))}

    def leave_metadata(self) -> str:
        """Write the caller's metadata file."""
        exports = find_values(self.prepared.request.extra, CACHE_TO)
        return leave_metadata(self.prepared, [""] if exports else ())


def build_image(prepared: Prepared, observe: Observer | None) -> BuildResult:
    """Build one image.

    Raises:
        BxcacheError: as `run_build` of the opening does.
    """
    request, settings = prepared.request, prepared.setup.config.build
    stdin = take_stdin(settings, request.extra, request.stop)
    with ExitStack() as stack:
        make_folder(prepared, stack)
        open_backends(prepared, stack)
        plan = plan_build(prepared)
        arguments = render_arguments(prepared, plan.uses)
        words = (*arguments, *prepared.docker.command)
        redact = Redactor(find_secrets(words, os.environ, request.directory))
        report, repeat = redacting(observe, redact), partial(render_save, prepared)
        runner = make_runner(prepared, redact, report, repeat, stdin)
        for note in (*prepared.notes, *list_notes(prepared), *plan.notes):
            runner.report(Noted(note))
        earlier = begin_earlier(prepared, plan)
        target = Target(prepared, plan, runner, arguments, earlier=earlier)
        job = _Single(prepared, prepared.docker, request.stop or Stop())
        (outcome,) = build_targets(job, {"": target}).values()
    if outcome.error is not None:
        raise outcome.error
    if outcome.result is None:
        raise ValueError(outcome)
    return outcome.result


def redacting(observe: Observer | None, redact: Redactor) -> Callable[[Event], None]:
    """Wrap an observer so that it gets events with secrets masked."""

    def report(event: Event) -> None:
        if observe is not None:
            observe(redact_event(event, redact))

    return report
