"""A prepared build: run it, settle its caches, report."""

from __future__ import annotations

import os
import shutil
import time
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from bxcache.buildx.capabilities import check_buildx
from bxcache.buildx.events import Noted, Warned, redact_event
from bxcache.errors import BuildFailedError, CacheError, StoreError
from bxcache.preparation import open_store, plan_build, render_arguments
from bxcache.redaction import Redactor, find_secrets
from bxcache.remembering import Story, keep_record, make_record
from bxcache.rescue import find_reason
from bxcache.result import BuildResult
from bxcache.running import Run, run_build
from bxcache.settlement import Settled, list_steps, settle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bxcache.buildx.events import Event, Observer
    from bxcache.insight.record import Record
    from bxcache.plan.plan import BuildPlan, LocalState
    from bxcache.preparation import Prepared
    from bxcache.saving import Kept
    from bxcache.settlement import Commit, Heard
    from bxcache.store.committing import Saved
    from bxcache.store.journal import Work
    from bxcache.store.staging import Staging
    from bxcache.store.store import Store


def execute(prepared: Prepared, observe: Observer | None) -> BuildResult:
    """Run the build and settle its caches; what it raises is told at `run_build`."""
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, prepared.folder, ignore_errors=True)
        prepared.folder.mkdir(mode=0o700)
        staging, state = open_store(prepared, stack)
        plan = plan_build(prepared, state)
        arguments = render_arguments(prepared, plan)
        redact = Redactor(find_secrets((*arguments, *prepared.docker.command), os.environ))
        run = Run(prepared, redact, _redacting(observe, redact))
        for note in (*prepared.notes, *plan.notes):
            run.tell(Noted(note))
        started, buildx = time.time(), stack.enter_context(prepared.docker.asking_buildx())
        heard = run_build(run, arguments)
        if heard.exit_status and _refused_stream(heard):
            check_buildx(prepared.docker.ask_buildx_version())
        reason = find_reason(plan, heard, prepared.store, staging)
        if reason:
            plan, heard = _run_again(run, plan, heard, staging, reason)
        settled = settle(plan, heard, _make_commit(prepared.store, staging, heard))
        kept = _save_registries(run, plan, heard, settled)
        settled = _merge(settled, kept)
        story = Story(plan, arguments, heard, kept, settled.caches, started, buildx())
        record = _remember(run, story, stored=staging is not None)
        settled = _collect(run, settled)
    troubles = (*plan.troubles, *_list_troubles(state), *([reason] if reason else []))
    warnings = tuple(map(redact, (*troubles, *settled.warnings)))
    for warning in warnings:
        if warning != redact(reason):
            run.tell(Warned(warning))
    return _report(run, story, record, replace(settled, warnings=warnings))


def _run_again(
    run: Run, plan: BuildPlan, first: Heard, staging: Staging | None, reason: str
) -> tuple[BuildPlan, Heard]:
    """Build once more, from nothing: what was imported is not trusted any more."""
    run.tell(Warned(reason))
    if staging is not None:
        staging.empty()
    plan = plan.without_imports()
    heard = run_build(run, render_arguments(run.prepared, plan))
    return plan, replace(heard, seconds=first.seconds + heard.seconds)


def _make_commit(store: Store | None, staging: Staging | None, heard: Heard) -> Commit | None:
    if store is None or staging is None:
        return None
    suspect = bool(heard.trace.unloaded)

    def commit(scope: str, digests: tuple[str, ...], work: Work) -> Saved:
        first, *others = digests
        return store.commit(staging, scope, first, work, others=others, suspect=suspect)

    return commit


def _save_registries(run: Run, plan: BuildPlan, heard: Heard, settled: Settled) -> tuple[Kept, ...]:
    if not plan.saves or heard.exit_status:
        return ()
    from bxcache.saving import save_registries  # noqa: PLC0415  # only a registry needs it

    return tuple(save_registries(run, plan, heard, settled.caches))


def _merge(settled: Settled, kept: tuple[Kept, ...]) -> Settled:
    """What became of all caches, those included that were saved after the build."""
    caches, warnings = list(settled.caches), list(settled.warnings)
    for each in kept:
        same = [cache for cache in caches if cache.place == each.result.place]
        caches = [cache for cache in caches if cache not in same]
        caches.append(replace(each.result, imported=any(cache.imported for cache in same)))
        warnings += [each.warning] if each.warning else []
    return Settled(tuple(caches), tuple(warnings))


def _remember(run: Run, story: Story, *, stored: bool) -> Record:
    """Leave the build's record beside each of its caches."""
    record = make_record(run, story)
    if story.kept:
        from bxcache.saving import label_scope  # noqa: PLC0415  # only a registry needs it

        data = record.to_json()
        for each in story.kept:
            label_scope(run, each, data, record.arguments.key)
    if stored and run.prepared.placement.writes:
        trouble = keep_record(run, record)
        if trouble:
            run.tell(Noted(trouble))
    return record


def _collect(run: Run, settled: Settled) -> Settled:
    """Keep the store within its bounds, where something was saved to it."""
    store, limits = run.prepared.store, run.prepared.limits
    at = next(
        (n for n, each in enumerate(settled.caches) if each.backend == "local" and each.exported),
        None,
    )
    if store is None or at is None:
        return settled
    try:
        collected = store.collect(max_size=limits.max_size, max_age=limits.max_age)
    except StoreError as error:
        warning = f"the store `{store.path}` could not be kept small: {error.message}"
        return replace(settled, warnings=(*settled.warnings, warning))
    if collected.summary:
        run.tell(Noted(f"the store {collected.summary}"))
    warnings = (*settled.warnings, *collected.notes)
    caches = list(settled.caches)
    caches[at] = replace(caches[at], store_bytes=collected.bytes, freed_bytes=collected.freed_bytes)
    return replace(settled, caches=tuple(caches), warnings=warnings)


def _refused_stream(heard: Heard) -> bool:
    """Whether buildx does not know the stream it was asked for, and so built nothing."""
    return any("progress" in line or "rawjson" in line for line in heard.trace.said[:3])


def _list_troubles(state: LocalState | None) -> Iterator[str]:
    if state is not None and state.trouble:
        yield f"the local cache `{state.store}` was not used: {state.trouble}"
    if state is not None:
        yield from (f"in the store `{state.store}`: {note}" for note in state.notes)


def _report(run: Run, story: Story, record: Record, settled: Settled) -> BuildResult:
    config, heard, redact = run.prepared.setup.config, story.heard, run.redact
    result = BuildResult(
        exit_status=heard.exit_status,
        digest=heard.metadata.image_digest,
        tags=config.build.tags,
        steps=list_steps(heard.trace, heard.metadata, redact),
        caches=tuple(replace(each, place=redact(each.place)) for each in settled.caches),
        warnings=settled.warnings,
        seconds=round(heard.seconds, 3),
        record=record,
    )
    if heard.exit_status:
        why = redact(heard.trace.last_error)
        raise BuildFailedError(why, exit_status=heard.exit_status, result=result)
    if config.cache.strict and settled.warnings:
        raise CacheError("; ".join(settled.warnings), result=result)
    return result


def _redacting(observe: Observer | None, redact: Redactor) -> Callable[[Event], None]:
    def tell(event: Event) -> None:
        if observe is not None:
            observe(redact_event(event, redact))

    return tell
