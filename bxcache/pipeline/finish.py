"""Finish a target after docker: save its caches, write its files, judge the gates."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from bxcache.buildx.faults import locate_steps
from bxcache.buildx.metadata import limit_metadata
from bxcache.buildx.run import read_metadata
from bxcache.buildx.stream.events import Noted, Outcome, Phase, Warned
from bxcache.errors import BuildFailedError, BxcacheError, CacheError, GateError, StoppedError
from bxcache.insight.gates import judge_gates
from bxcache.pipeline.earlier import is_wanted
from bxcache.pipeline.ledger import Progress
from bxcache.pipeline.misses import add_misses
from bxcache.pipeline.record import make_record, measure_time, remember_build
from bxcache.pipeline.result import BuildResult, ImageOutcome, list_steps
from bxcache.pipeline.salvage import read_text, salvage_build
from bxcache.pipeline.save import Caches, advise, explain_unsaved, save_build
from bxcache.store.folders import Folder

if TYPE_CHECKING:
    from collections.abc import Container
    from collections.abc import Set as AbstractSet

    from bxcache.buildx.run import RunResult
    from bxcache.insight.record import Record
    from bxcache.pipeline.prepare import Prepared
    from bxcache.pipeline.target import Target

_PATIENCE = 2.0
"""How long a finished build waits for earlier records that are optional, in seconds."""
_CANCELED = "context canceled"


class SavedTarget(Struct, frozen=True):
    """A target that docker has built, and its caches or why they were not saved."""

    ran: RunResult
    caches: Caches
    error: BxcacheError | None = None


def save_target(target: Target, ran: RunResult) -> SavedTarget:
    """Save the caches of a target that docker has built."""
    try:
        for backend in target.prepared.backends:
            ran = backend.finish_export(target.runner, target.plan.uses, ran)
        ran = _locate(target, ran)
        caches = save_build(target, ran)
    except BxcacheError as error:
        target.entry.report(Progress.SAVED, ran)
        return SavedTarget(ran, Caches(), error)
    target.entry.report(Progress.SAVED, replace(ran, metadata=caches.complete(ran.metadata)))
    return SavedTarget(ran, caches)


def salvage_target(target: Target, saved: SavedTarget) -> SavedTarget:
    """Save what finished of a target that failed, after all others are saved.

    As long as another run of the same builder lasts, BuildKit may execute again what both share.
    """
    ran = saved.ran
    if saved.error is not None or not ran.exit_status:
        return saved
    try:
        caches = salvage_build(target, ran, saved.caches)
    except BxcacheError as error:
        return replace(saved, error=error)
    target.entry.report(Progress.SAVED, replace(ran, metadata=caches.complete(ran.metadata)))
    return replace(saved, caches=caches)


def finish_target(
    target: Target, saved: SavedTarget, *, buildx: str, failed: AbstractSet[str]
) -> ImageOutcome:
    """Write the record, check the gates, build the result.

    `failed` names the targets that are known to have failed themselves; `make_record` explains the
    other arguments.
    """
    ran = saved.ran
    if saved.error is not None:
        return ImageOutcome(target.name, error=saved.error)
    try:
        caches = advise(target, ran, saved.caches)
        # Optional records are not worth a long wait.
        patience = None if is_wanted(target.prepared) else _PATIENCE
        earlier = target.earlier.wait(patience) if target.earlier is not None else ()
        record = make_record(target, ran, caches, buildx, earlier)
        record = _judge(target, add_misses(target, record, caches, earlier), earlier)
        caches = _keep_record(target, record, caches)
        took = measure_time(target, ran)
    except BxcacheError as error:
        return ImageOutcome(target.name, error=error)
    # Storing the record took time, too, which the record itself cannot contain.
    result = replace(_make_result(target, ran, caches, record, earlier), **took)
    return ImageOutcome(target.name, result, _find_error(target, ran, caches, result, failed))


def _locate(target: Target, ran: RunResult) -> RunResult:
    """Add line numbers to the steps of a build without metadata, such as one that failed."""
    if ran.metadata.definitions:
        return ran
    return replace(ran, trace=locate_steps(ran.trace, read_text(target)))


def _judge(target: Target, record: Record, earlier: tuple[Record, ...]) -> Record:
    """Check the gates, and report those that only warn."""
    gate = target.prepared.setup.config.gate
    verdicts = judge_gates(gate, record, earlier) if gate.is_set else ()
    for each in verdicts:
        if not each.fails:
            target.runner.report(Warned(str(each)))
    return record.model_copy(update={"gates": verdicts})


def _keep_record(target: Target, record: Record, caches: Caches) -> Caches:
    """Store the record with each cache and for the directory, and report all warnings."""
    data, is_kept = record.to_json(), False
    runner, prepared = target.runner, target.prepared
    # A build without its context, Dockerfile or stage never began.
    began = bool(record.steps) or not runner.missing
    trouble = remember_build(prepared, record) if began else None
    for backend in prepared.backends if prepared.trust.writes and began else ():
        saved = caches.saved.get(backend)
        with target.measure(Phase.COLLECT, backend.kind):
            kept = backend.keep_record(prepared.scope, data, record.arguments.key, saved)
        is_kept |= kept.is_kept
        caches = caches.after_record(backend, kept)
        for note in kept.notes:
            runner.report(Noted(note))
    if trouble and not is_kept:
        runner.report(Noted(trouble))
    warnings, advice = (tuple(map(runner.redact, e)) for e in (caches.warnings, caches.advice))
    for warning in (*warnings, *advice):
        if warning != runner.redact(target.reason or ""):
            runner.report(Warned(warning))
    return replace(caches, warnings=warnings, advice=advice)


def _make_result(
    target: Target, ran: RunResult, caches: Caches, record: Record, earlier: tuple[Record, ...]
) -> BuildResult:
    redact, results = target.runner.redact, caches.results
    shown = (replace(each, place=redact(each.place), where=redact(each.where)) for each in results)
    return BuildResult(
        exit_status=ran.exit_status,
        digest=ran.metadata.image_digest,
        tags=target.prepared.setup.config.build.tags,
        steps=list_steps(ran.trace, caches.complete(ran.metadata), redact),
        caches=tuple(shown),
        warnings=(*caches.warnings, *caches.advice),
        seconds=record.seconds,
        record=record,
        earlier=earlier,
        gates=record.gates,
        why_unsaved=redact(
            caches.why_unsalvaged if ran.exit_status else explain_unsaved(target.plan, caches)
        ),
    )


def _find_error(
    target: Target, ran: RunResult, caches: Caches, result: BuildResult, failed: AbstractSet[str]
) -> BxcacheError | None:
    """The error of a target; one that did not complete may not have failed itself."""
    if ran.exit_status:
        why = target.runner.redact(ran.error)
        if target.name not in failed:
            if failed:
                return StoppedError("it was stopped, since another target failed")
            if target.call:
                why = f"{why}; what its `call` found is on docker's stdout"
        return BuildFailedError(why, exit_status=ran.exit_status, result=result)
    if target.prepared.setup.config.cache.strict and caches.warnings:
        return CacheError("; ".join(caches.warnings), result=result)
    gates = [each for each in result.gates if each.fails]
    return GateError(gates, result=result) if gates else None


def has_failed(ran: RunResult) -> bool:
    """Whether a target is known to have failed itself, and was not just stopped."""
    if not ran.exit_status:
        return False
    failed = [step for step in ran.trace.steps if step.outcome is Outcome.FAILED]
    own = any(not step.error.endswith(_CANCELED) for step in failed)
    return own or (not failed and ran.trace.says_why)


def leave_metadata(prepared: Prepared, caching: Container[str]) -> str | None:
    """Write docker's metadata to the caller's file, as plain buildx would; return why that failed.

    A failed build has no metadata, and an earlier file stays unchanged. The caller exports a cache
    for the targets named in `caching`; the name of a single build is empty.
    """
    path, text = prepared.metadata_wish, read_metadata(prepared.metadata_file)
    if path is None or not text:
        return None
    try:
        if path.is_symlink() or (path.exists() and not path.is_file()):
            return f"the metadata file `{path}` was not written: it is not a regular file"
        limited = limit_metadata(text, os.environ, caching).encode()
        Folder(path.parent).write(path.name, limited, mode=0o644, durable=False)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        return f"the metadata file `{path}` was not written: {why}"
    return None
