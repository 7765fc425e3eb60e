"""A prepared build: run it, settle its caches, report."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from bxcache.buildx.capabilities import check_buildx
from bxcache.buildx.command import reads_context
from bxcache.buildx.events import Noted, Warned, redact_event
from bxcache.buildx.extra_flags import CACHE_TO, find_values
from bxcache.buildx.secrets import find_secrets
from bxcache.conclusion import Ended, begin_asking, conclude
from bxcache.errors import OutputError
from bxcache.node_export import MORE_RUNS, avoid_meeting
from bxcache.preparation import (
    leave_metadata,
    make_folder,
    note_store,
    open_store,
    plan_build,
    render_arguments,
    render_save,
)
from bxcache.redaction import Redactor
from bxcache.rescue import AGAIN, ONCE, find_reason
from bxcache.running import Run, run_build, take_stdin

if TYPE_CHECKING:
    from collections.abc import Callable

    from bxcache.buildx.events import Event, Observer
    from bxcache.plan.plan import BuildPlan
    from bxcache.preparation import Prepared
    from bxcache.result import BuildResult
    from bxcache.settlement import Heard
    from bxcache.store.staging import Staging


def execute(prepared: Prepared, observe: Observer | None) -> BuildResult:
    """Run the build and settle its caches; what it raises is told at `run_build`."""
    stdin = take_stdin(prepared)
    with ExitStack() as stack:
        make_folder(prepared, stack)
        staging, state = open_store(prepared, stack)
        plan = plan_build(prepared, state)
        arguments = render_arguments(prepared, plan)
        words = (*arguments, *prepared.docker.command)
        redact = Redactor(find_secrets(words, os.environ, prepared.request.directory))
        tell, repeat = redacting(observe, redact), partial(render_save, prepared)
        run = Run(prepared, redact, tell, repeat, stdin)
        for note in (*prepared.notes, *note_store(prepared), *plan.notes):
            run.tell(Noted(note))
        started, buildx = time.time(), stack.enter_context(prepared.docker.asking_buildx())
        earlier = begin_asking(prepared, plan, started)
        heard = run_build(run, arguments)
        for _ in range(MORE_RUNS):
            apart = avoid_meeting(run, plan, heard, staging)
            if apart is None:
                break
            heard = run_build(run, render_arguments(prepared, apart)).after(heard)
        if heard.exit_status and _refused_stream(heard):
            check_buildx(prepared.docker.ask_buildx_version())
        reason = find_reason(plan, heard, prepared.store, staging)
        if reason:
            once = reads_context(prepared.setup.config.build)
            reason = f"{ONCE if once else AGAIN}: {reason}"
            run.tell(Warned(reason))
            if not once:
                plan, heard = _run_again(run, plan, heard, staging)
        version = buildx()
        ended = Ended(plan, arguments, heard, state, staging, reason, started, version, earlier)
        extra = prepared.request.extra
        trouble = leave_metadata(prepared, [""] if find_values(extra, CACHE_TO) else ())
        result = conclude(run, ended)
        if trouble:
            raise OutputError(f"the build is done, but {trouble}", result=result)
        return result


def _run_again(
    run: Run, plan: BuildPlan, first: Heard, staging: Staging | None
) -> tuple[BuildPlan, Heard]:
    """Build once more, from nothing: what was imported is not trusted any more."""
    if staging is not None:
        staging.empty()
    plan = plan.without_imports()
    return plan, run_build(run, render_arguments(run.prepared, plan)).after(first)


def _refused_stream(heard: Heard) -> bool:
    """Whether buildx does not know the stream it was asked for, and so built nothing."""
    return any("progress" in line or "rawjson" in line for line in heard.trace.said[:3])


def redacting(observe: Observer | None, redact: Redactor) -> Callable[[Event], None]:
    """What tells an observer of events, secrets masked."""

    def tell(event: Event) -> None:
        if observe is not None:
            observe(redact_event(event, redact))

    return tell
