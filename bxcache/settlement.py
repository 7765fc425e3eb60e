"""After docker has ended: what became of each cache, and the result of it all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bxcache.buildx.events import Outcome
from bxcache.buildx.faults import explain_transfer
from bxcache.buildx.steps import find_layers, find_line, is_linked
from bxcache.buildx.vertex_names import CacheVertex
from bxcache.config.reference import Reference
from bxcache.errors import StoreError
from bxcache.result import CacheResult, Step
from bxcache.store.committing import Saved
from bxcache.store.journal import Work

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bxcache.buildx.metadata import Metadata
    from bxcache.buildx.trace import CacheTransfer, Trace
    from bxcache.plan.plan import BuildPlan, CacheUse
    from bxcache.redaction import Redactor

_ABSENT = "not found"
_FROM_STORE = " from local:"
_NEVER_OWN = (CacheVertex.EXPORT_GHA, CacheVertex.EXPORT_S3, CacheVertex.EXPORT_AZURE)


@dataclass(frozen=True, slots=True)
class Heard:
    """What a run of docker left.

    Attributes:
        exit_status: docker's.
        trace: what its stream told.
        metadata: what its metadata file says; empty for a failed build.
        seconds: how long it ran.
    """

    exit_status: int
    trace: Trace
    metadata: Metadata
    seconds: float

    @property
    def error(self) -> str:
        """Why docker failed, in its own words as far as there are any."""
        unsaid = f"docker ended with exit status {self.exit_status} and did not say why"
        return self.trace.last_error or unsaid

    def after(self, first: Heard) -> Heard:
        """The same as the second run of one build: what the first one executed was executed.

        One that failed does not count where the first one did not.
        """
        if self.exit_status and not first.exit_status:
            return first
        executed = {
            step.name: step for step in first.trace.steps if step.outcome is Outcome.EXECUTED
        }
        steps = tuple(
            replace(executed[step.name], digests=step.digests)
            if step.outcome is Outcome.REUSED and step.name in executed
            else step
            for step in self.trace.steps
        )
        trace = replace(self.trace, steps=steps)
        return replace(self, trace=trace, seconds=first.seconds + self.seconds)


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
    plan: BuildPlan, heard: Heard, commit: Commit | None, given: Sequence[str] = ()
) -> Settled:
    """Commit the local cache and tell what became of every one.

    A failed build saves nothing; the store is as it was.

    Args:
        plan: what the build was to do about caches.
        heard: what became of it.
        commit: saves to the store, where there is one.
        given: the refs of registries that the caller has docker export a cache to.
    """
    warnings: list[str] = []
    caches: dict[tuple[str, str, str], CacheResult] = {}
    for result in (
        *_settle_imports(plan, heard, warnings),
        *(_settle_exports(plan, heard, commit, warnings, given) if not heard.exit_status else ()),
    ):
        key = (result.backend, result.place, result.scope)
        before = caches.get(key)
        caches[key] = replace(result, imported=True) if before and before.imported else result
    return Settled(tuple(caches.values()), (*warnings, *_warn_of_given(plan, heard, given)))


def _warn_of_given(plan: BuildPlan, heard: Heard, given: Sequence[str]) -> Iterator[str]:
    """What failed of the caches that docker was given by the caller."""
    for each in _find_given_imports(plan, heard):
        if each.error and not each.error.endswith(_ABSENT):
            yield f"{_name_given(each)} could not be read: {each.error}"
    if heard.exit_status:
        return
    matched = _match_exports(plan, heard, given)
    for ref in given:
        errors = (each.error for each in matched.get(ref, ()) if each.error)
        yield from (f"the cache `{ref}` that docker was given was not saved: {e}" for e in errors)
    for kind in _NEVER_OWN:
        for each in heard.trace.find_transfers(kind):
            if each.error:
                yield f"{each.name}, which docker was told to, failed: {each.error}"


def list_absent(plan: BuildPlan, heard: Heard) -> Iterator[str]:
    """The caches that docker was given by the caller to import, and that are not there."""
    for each in _find_given_imports(plan, heard):
        if each.error.endswith(_ABSENT):
            yield f"{_name_given(each)} is not imported: {each.error}"


def _find_given_imports(plan: BuildPlan, heard: Heard) -> Iterator[CacheTransfer]:
    transfers = heard.trace.find_transfers(CacheVertex.IMPORT)
    own = [
        each
        for number in range(len(plan.imports))
        for each in _find_imports(plan.imports[number:], transfers)
    ]
    return (each for each in transfers if each not in own)


def _name_given(transfer: CacheTransfer) -> str:
    return f"the cache `{transfer.name.removeprefix(CacheVertex.IMPORT)}` that docker was given"


def _settle_imports(plan: BuildPlan, heard: Heard, warnings: list[str]) -> Iterator[CacheResult]:
    transfers = heard.trace.find_transfers(CacheVertex.IMPORT)
    for number, use in enumerate(plan.imports):
        failed = _find_import_error(plan.imports[number:], transfers)
        if failed and not failed.endswith(_ABSENT):
            warnings.append(_tell_failure(use, "reading", failed))
        imported = bool(transfers) and not failed
        digest = dict(use.attributes).get("digest")
        yield CacheResult(use.backend, use.place, use.scope, digest=digest, imported=imported)


def _find_import_error(uses: Sequence[CacheUse], transfers: list[CacheTransfer]) -> str:
    """Why the first of some imports failed, the others being all that follow."""
    return next((each.error for each in _find_imports(uses, transfers) if each.error), "")


def _find_imports(
    uses: Sequence[CacheUse], transfers: Sequence[CacheTransfer]
) -> Sequence[CacheTransfer]:
    """What became of the first of some imports, the others being all that follow.

    Registries are named by BuildKit, stores are not. What a caller or a bake file imports comes
    before all of them.
    """
    use = uses[0]
    named = [each for each in transfers if each.name.endswith(use.place)]
    if use.backend == "local":
        transfers = [each for each in transfers if _FROM_STORE in each.name]
        uses = [each for each in uses if each.backend == "local"]
    return named or transfers[-len(uses) :][:1]


def find_failed_import(plan: BuildPlan, heard: Heard, ref: str) -> str:
    """Why nothing could be read from the repository of a ref, or an empty string."""
    repository = Reference.parse(ref).name
    transfers = heard.trace.find_transfers(CacheVertex.IMPORT)
    for number, use in enumerate(plan.imports):
        if use.backend != "local" and Reference.parse(use.place).name == repository:
            error = _find_import_error(plan.imports[number:], transfers)
            if error and not error.endswith(_ABSENT):
                return error
    return ""


def find_trouble(heard: Heard, transfers: Sequence[CacheTransfer], ended: str) -> str:
    """Why a run that was to save something did not, or an empty string.

    Args:
        heard: what became of the run.
        transfers: its exports of what was to be saved.
        ended: why it was ended early, or an empty string.
    """
    if ended:
        return ": ".join([ended, *[each.log for each in transfers if each.log][-1:]])
    if not transfers:
        return heard.error if heard.exit_status else "BuildKit did not export it"
    return next((each.error for each in transfers if each.error), "")


def _tell_failure(use: CacheUse, operation: str, error: str) -> str:
    if use.backend == "local":
        what = "could not be read" if operation == "reading" else "was not saved"
        return f"the local cache `{use.place}` {what}: {error}"
    return str(explain_transfer(use.place, operation, error))


def _settle_exports(
    plan: BuildPlan,
    heard: Heard,
    commit: Commit | None,
    warnings: list[str],
    given: Sequence[str],
) -> Iterator[CacheResult]:
    for use in plan.unsaved:
        yield CacheResult(use.backend, use.place, use.scope)
    pushed = _match_exports(plan, heard, given)
    for use in plan.exports:
        if use.backend == "inline":
            exported = heard.metadata.image_digest is not None
            yield CacheResult(use.backend, use.place, use.scope, exported=exported)
            continue
        # Each node of a builder writes the store.
        written = heard.trace.find_transfers(CacheVertex.EXPORT_LOCAL)
        own = written if use.backend == "local" else pushed.get(use.place, [])
        error = next((each.error for each in own if each.error), "")
        if error or not own:
            # One warning for each registry.
            if use.backend == "local" or not find_failed_import(plan, heard, use.place):
                why = error or "BuildKit did not export it"
                warnings.append(_tell_failure(use, "saving", why))
            yield CacheResult(use.backend, use.place, use.scope)
        elif use.backend == "local":
            digests = tuple(each.digest for each in own if each.digest)
            yield _save(use, digests, heard, commit, warnings)
        else:
            yield _tell_registry(use, own[0], heard.metadata)


def _match_exports(
    plan: BuildPlan, heard: Heard, given: Sequence[str]
) -> dict[str, list[CacheTransfer]]:
    """Which export went to which registry: BuildKit names all of them alike.

    The error of one that failed has its repository, or at least its host; those that succeeded are
    alike.
    """
    found: dict[str, list[CacheTransfer]] = {}
    left = heard.trace.find_transfers(CacheVertex.EXPORT_REGISTRY)
    places = [*given, *(use.place for use in plan.exports if use.backend == "registry")]
    # One path can be a part of another one.
    places.sort(key=len, reverse=True)
    for fits in (_names_repository, _names_host, _has_succeeded, _is_any):
        for place in places:
            own = [each for each in left if place not in found and fits(each, place)][:1]
            if own:
                found[place] = own
                left.remove(own[0])
    return found


def _names_repository(transfer: CacheTransfer, place: str) -> bool:
    return _names_host(transfer, place) and Reference.parse(place).path in transfer.error


def _names_host(transfer: CacheTransfer, place: str) -> bool:
    return Reference.parse(place).host in transfer.error


def _has_succeeded(transfer: CacheTransfer, _: str) -> bool:
    return not transfer.error


def _is_any(_transfer: CacheTransfer, _place: str) -> bool:
    return True


def _save(
    use: CacheUse,
    digests: tuple[str, ...],
    heard: Heard,
    commit: Commit | None,
    warnings: list[str],
) -> CacheResult:
    if commit is None or not digests:
        # BuildKit writes no manifest when no step made a layer.
        return CacheResult(use.backend, use.place, use.scope, contents=frozenset())
    try:
        saved = commit(use.scope, digests, measure_work(heard))
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


def measure_work(heard: Heard) -> Work:
    """What the build did for each layer: what its steps took, as far as they were executed."""
    bases = (each for each in heard.metadata.operations.values() if each.source)
    layers = (layer for each in bases for chain in each.chains for layer in chain)
    seconds = {layer.digest: 0.0 for layer in layers}
    for step in heard.trace.steps:
        if step.outcome is Outcome.EXECUTED:
            for layer in find_layers(step, heard.metadata):
                seconds[layer.digest] = seconds.get(layer.digest, 0.0) + step.seconds
    return Work(len(heard.trace.steps), seconds)


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
