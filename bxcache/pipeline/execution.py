"""A prepared build: run it, settle its caches, report."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from bxcache.backends.local_nodes import MORE_RUNS, avoid_meeting
from bxcache.buildx.capabilities import check_buildx
from bxcache.buildx.command import reads_context
from bxcache.buildx.extra_flags import CACHE_TO, find_values
from bxcache.buildx.run import Runner, run_build, take_stdin
from bxcache.buildx.secrets import find_secrets
from bxcache.buildx.stream.events import Noted, Warned, redact_event
from bxcache.errors import OutputError
from bxcache.pipeline.conclusion import Ended, begin_asking, conclude
from bxcache.pipeline.metadata_file import leave_metadata
from bxcache.pipeline.prepare import (
    make_folder,
    make_runner,
    note_store,
    open_store,
    plan_build,
    render_arguments,
    render_save,
)
from bxcache.pipeline.rescue import AGAIN, ONCE, find_reason
from bxcache.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import Callable

    from bxcache.buildx.run import RunResult
    from bxcache.buildx.stream.events import Event, Observer
    from bxcache.pipeline.plan import BuildPlan
    from bxcache.pipeline.prepare import Prepared
    from bxcache.pipeline.result import BuildResult
    from bxcache.store.staging import Staging


def execute(prepared: Prepared, observe: Observer | None) -> BuildResult:
    """Run the build and settle its caches; what it raises is told at `run_build`."""
    request = prepared.request
    stdin = take_stdin(prepared.setup.config.build, request.extra, request.stop)
    with ExitStack() as stack:
        make_folder(prepared, stack)
        staging, state = open_store(prepared, stack)
        plan = plan_build(prepared, state)
        arguments = render_arguments(prepared, plan.uses)
        words = (*arguments, *prepared.docker.command)
        redact = Redactor(find_secrets(words, os.environ, prepared.request.directory))
        tell, repeat = redacting(observe, redact), partial(render_save, prepared)
        runner = make_runner(prepared, redact, tell, repeat, stdin)
        for note in (*prepared.notes, *note_store(prepared), *plan.notes):
            runner.report(Noted(note))
        started, buildx = time.time(), stack.enter_context(prepared.docker.asking_buildx())
        earlier = begin_asking(prepared, plan, started)
        ran = run_build(runner, arguments)
        for _ in range(MORE_RUNS):
            apart = avoid_meeting(runner, plan.uses, ran, staging)
            if apart is None:
                break
            ran = run_build(runner, render_arguments(prepared, apart)).after(ran)
        if ran.exit_status and _refused_stream(ran):
            check_buildx(prepared.docker.ask_buildx_version())
        reason = find_reason(plan, ran, prepared.store, staging)
        if reason:
            once = reads_context(prepared.setup.config.build)
            reason = f"{ONCE if once else AGAIN}: {reason}"
            runner.report(Warned(reason))
            if not once:
                plan, ran = _run_again(prepared, runner, plan, ran, staging)
        version = buildx()
        ended = Ended(plan, arguments, ran, state, staging, reason, started, version, earlier)
        extra = prepared.request.extra
        trouble = leave_metadata(prepared, [""] if find_values(extra, CACHE_TO) else ())
        result = conclude(prepared, runner, ended)
        if trouble:
            raise OutputError(f"the build is done, but {trouble}", result=result)
        return result


def _run_again(
    prepared: Prepared, runner: Runner, plan: BuildPlan, first: RunResult, staging: Staging | None
) -> tuple[BuildPlan, RunResult]:
    """Build once more, from nothing: what was imported is not trusted any more."""
    if staging is not None:
        staging.empty()
    plan = plan.without_imports()
    return plan, run_build(runner, render_arguments(prepared, plan.uses)).after(first)


def _refused_stream(ran: RunResult) -> bool:
    """Whether buildx does not know the stream it was asked for, and so built nothing."""
    return any("progress" in line or "rawjson" in line for line in ran.trace.said[:3])


def redacting(observe: Observer | None, redact: Redactor) -> Callable[[Event], None]:
    """What tells an observer of events, secrets masked."""

    def tell(event: Event) -> None:
        if observe is not None:
            observe(redact_event(event, redact))

    return tell
