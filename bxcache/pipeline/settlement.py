"""After docker has ended: what became of each cache, and the result of it all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bxcache.backends.base import CacheResult
from bxcache.backends.transfers import (
    ABSENT,
    find_failed_import,
    find_import_error,
    find_imports,
    match_exports,
)
from bxcache.buildx.faults import explain_transfer
from bxcache.buildx.steps import find_layers, find_line, is_linked
from bxcache.buildx.stream.events import Outcome
from bxcache.buildx.stream.names import CacheVertex
from bxcache.errors import StoreError
from bxcache.pipeline.result import Step
from bxcache.store.committing import Saved
from bxcache.store.journal import Work

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bxcache.backends.base import CacheUse
    from bxcache.buildx.metadata import Metadata
    from bxcache.buildx.run import RunResult
    from bxcache.buildx.stream.trace import CacheTransfer, Trace
    from bxcache.pipeline.plan import BuildPlan
    from bxcache.redaction import Redactor

_NEVER_OWN = (CacheVertex.EXPORT_GHA, CacheVertex.EXPORT_S3, CacheVertex.EXPORT_AZURE)


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of the caches.

    Attributes:
        caches: each of them.
        warnings: one for each that failed.
        advice: warnings about what did not fail.
    """

    caches: tuple[CacheResult, ...]
    warnings: tuple[str, ...]
    advice: tuple[str, ...] = ()


Commit = Callable[[str, tuple[str, ...], Work], Saved]
"""Saves what was staged as a scope, by its name and the manifest's digest that each node of the
builder wrote, with the work it took; raises `StoreError`."""


def settle(
    plan: BuildPlan, ran: RunResult, commit: Commit | None, given: Sequence[str] = ()
) -> Settled:
    """Commit the local cache and tell what became of every one.

    A failed build saves nothing; the store is as it was.

    Args:
        plan: what the build was to do about caches.
        ran: what became of it.
        commit: saves to the store, where there is one.
        given: the refs of registries that the caller has docker export a cache to.
    """
    warnings: list[str] = []
    caches: dict[tuple[str, str, str], CacheResult] = {}
    for result in (
        *_settle_imports(plan, ran, warnings),
        *(_settle_exports(plan, ran, commit, warnings, given) if not ran.exit_status else ()),
    ):
        key = (result.backend, result.place, result.scope)
        before = caches.get(key)
        caches[key] = replace(result, imported=True) if before and before.imported else result
    return Settled(tuple(caches.values()), (*warnings, *_warn_of_given(plan, ran, given)))


def _warn_of_given(plan: BuildPlan, ran: RunResult, given: Sequence[str]) -> Iterator[str]:
    """What failed of the caches that docker was given by the caller."""
    for each in _find_given_imports(plan, ran):
        if each.error and not each.error.endswith(ABSENT):
            yield f"{_name_given(each)} could not be read: {each.error}"
    if ran.exit_status:
        return
    matched = match_exports(plan.exports, ran, given)
    for ref in given:
        errors = (each.error for each in matched.get(ref, ()) if each.error)
        yield from (f"the cache `{ref}` that docker was given was not saved: {e}" for e in errors)
    for kind in _NEVER_OWN:
        for each in ran.trace.find_transfers(kind):
            if each.error:
                yield f"{each.name}, which docker was told to, failed: {each.error}"


def list_absent(plan: BuildPlan, ran: RunResult) -> Iterator[str]:
    """The caches that docker was given by the caller to import, and that are not there."""
    for each in _find_given_imports(plan, ran):
        if each.error.endswith(ABSENT):
            yield f"{_name_given(each)} is not imported: {each.error}"


def _find_given_imports(plan: BuildPlan, ran: RunResult) -> Iterator[CacheTransfer]:
    transfers = ran.trace.find_transfers(CacheVertex.IMPORT)
    own = [
        each
        for number in range(len(plan.imports))
        for each in find_imports(plan.imports[number:], transfers)
    ]
    return (each for each in transfers if each not in own)


def _name_given(transfer: CacheTransfer) -> str:
    return f"the cache `{transfer.name.removeprefix(CacheVertex.IMPORT)}` that docker was given"


def _settle_imports(plan: BuildPlan, ran: RunResult, warnings: list[str]) -> Iterator[CacheResult]:
    transfers = ran.trace.find_transfers(CacheVertex.IMPORT)
    for number, use in enumerate(plan.imports):
        failed = find_import_error(plan.imports[number:], transfers)
        if failed and not failed.endswith(ABSENT):
            warnings.append(_tell_failure(use, "reading", failed))
        imported = bool(transfers) and not failed
        digest = dict(use.attributes).get("digest")
        yield CacheResult(use.backend, use.place, use.scope, digest=digest, imported=imported)


def _tell_failure(use: CacheUse, operation: str, error: str) -> str:
    if use.backend == "local":
        what = "could not be read" if operation == "reading" else "was not saved"
        return f"the local cache `{use.place}` {what}: {error}"
    return str(explain_transfer(use.place, operation, error))


def _settle_exports(
    plan: BuildPlan,
    ran: RunResult,
    commit: Commit | None,
    warnings: list[str],
    given: Sequence[str],
) -> Iterator[CacheResult]:
    for use in plan.unsaved:
        yield CacheResult(use.backend, use.place, use.scope)
    pushed = match_exports(plan.exports, ran, given)
    for use in plan.exports:
        if use.backend == "inline":
            exported = ran.metadata.image_digest is not None
            yield CacheResult(use.backend, use.place, use.scope, exported=exported)
            continue
        # Each node of a builder writes the store.
        written = ran.trace.find_transfers(CacheVertex.EXPORT_LOCAL)
        own = written if use.backend == "local" else pushed.get(use.place, [])
        error = next((each.error for each in own if each.error), "")
        if error or not own:
            # One warning for each registry.
            if use.backend == "local" or not find_failed_import(plan.imports, ran, use.place):
                why = error or "BuildKit did not export it"
                warnings.append(_tell_failure(use, "saving", why))
            yield CacheResult(use.backend, use.place, use.scope)
        elif use.backend == "local":
            digests = tuple(each.digest for each in own if each.digest)
            yield _save(use, digests, ran, commit, warnings)
        else:
            yield _tell_registry(use, own[0], ran.metadata)


def _save(
    use: CacheUse,
    digests: tuple[str, ...],
    ran: RunResult,
    commit: Commit | None,
    warnings: list[str],
) -> CacheResult:
    if commit is None or not digests:
        # BuildKit writes no manifest when no step made a layer.
        return CacheResult(use.backend, use.place, use.scope, contents=frozenset())
    try:
        saved = commit(use.scope, digests, measure_work(ran))
    except StoreError as error:
        warnings.append(f"the local cache `{use.place}` was not saved: {error.message}")
        return CacheResult(use.backend, use.place, use.scope)
    return CacheResult(
        backend=use.backend,
        place=use.place,
        scope=use.scope,
        digest=saved.digest,
        bytes=saved.bytes,
        exported=True,
        new_bytes=saved.new_bytes,
        unchanged=saved.unchanged,
        layers=saved.layers,
        contents=saved.contents,
    )


def _tell_registry(use: CacheUse, transfer: CacheTransfer, metadata: Metadata) -> CacheResult:
    digest = transfer.digest
    layers = metadata.layers if digest else {}
    return CacheResult(
        backend=use.backend,
        place=use.place,
        scope=use.scope,
        digest=digest,
        bytes=sum(layers.values()) or None,
        exported=digest is not None,
        layers=len(layers) or None,
    )


def measure_work(ran: RunResult) -> Work:
    """What the build did for each layer: what its steps took, as far as they were executed."""
    bases = (each for each in ran.metadata.operations.values() if each.source)
    layers = (layer for each in bases for chain in each.chains for layer in chain)
    seconds = {layer.digest: 0.0 for layer in layers}
    for step in ran.trace.steps:
        if step.outcome is Outcome.EXECUTED:
            for layer in find_layers(step, ran.metadata):
                seconds[layer.digest] = seconds.get(layer.digest, 0.0) + step.seconds
    return Work(len(ran.trace.steps), seconds)


def list_steps(trace: Trace, metadata: Metadata, redact: Redactor) -> tuple[Step, ...]:
    """The steps, those of one stage together, in the order of the Dockerfile as far as known.

    Those of another build, whose result is a named context of this one, are that one's.
    """
    own = (step for step in trace.steps if not is_linked(step, metadata))
    found = [(step, find_line(step, metadata)) for step in own]
    first: dict[str, float] = {}
    for step, line in found:
        stage = step.name.stage
        first[stage] = min(line or float("inf"), first.get(stage, float("inf")))
    found.sort(
        key=lambda each: (
            first[each[0].name.stage],
            each[0].name.stage,
            each[0].name.platform or "",
            each[0].name.index,
        )
    )
    return tuple(
        Step(
            stage=step.name.stage,
            text=redact(step.name.text),
            line=line,
            outcome=step.outcome,
            seconds=round(step.seconds, 3),
            layers=find_layers(step, metadata),
            platform=step.name.platform,
            error=redact(step.error),
        )
        for step, line in found
    )
