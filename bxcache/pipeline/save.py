"""After docker: judge the import and export of every cache, and save with each backend."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from msgspec import Struct, field
from msgspec.structs import replace

from bxcache.backends.base import Built
from bxcache.backends.transfers import ABSENT, find_import_error, find_imports, match_exports
from bxcache.buildx.extra_flags import find_exports
from bxcache.buildx.stream.events import Noted, Phase
from bxcache.buildx.stream.names import CacheVertex
from bxcache.pipeline.borrowing import Known, add_made, find_borrowing
from bxcache.pipeline.ledger import Progress
from bxcache.pipeline.lost_steps import explain_lost
from bxcache.pipeline.plan import join_reasons

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bxcache.backends.base import Backend, KeptRecord, SavedScope
    from bxcache.backends.cache_result import CacheResult
    from bxcache.buildx.metadata import Metadata
    from bxcache.buildx.run import RunResult
    from bxcache.buildx.stream.trace import CacheTransfer
    from bxcache.pipeline.borrowing import Borrowing
    from bxcache.pipeline.plan import BuildPlan
    from bxcache.pipeline.prepare import Prepared
    from bxcache.pipeline.target import Target

_NEVER_OWN = (CacheVertex.EXPORT_GHA, CacheVertex.EXPORT_S3, CacheVertex.EXPORT_AZURE)


class Caches(Struct, frozen=True):
    """The caches after the build, with a warning for each failed one, and advice about others.

    `known` has the layers of trusted builds; None if the origin of layers does not matter.
    `why_unsalvaged` says why nothing of a failed build could be saved; empty if there is no reason.
    """

    results: tuple[CacheResult, ...] = ()
    saved: Mapping[Backend, SavedScope] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()
    known: Known | None = None
    why_unsalvaged: str = ""

    def complete(self, metadata: Metadata) -> Metadata:
        """Add the layers of steps that only the runs which saved the build have exported."""
        runs = (each.run for each in self.saved.values())
        return metadata.completed(run.metadata for run in runs if run is not None)

    def after_record(self, backend: Backend, kept: KeptRecord) -> Caches:
        """A copy after the build's record was stored with a scope."""
        before = self.saved.get(backend)
        if kept.saved is None or before is None:
            return self
        place, scope = before.result.place, before.result.scope
        results = tuple(
            replace(kept.saved.result, imported=each.imported)
            if (each.place, each.scope) == (place, scope)
            else each
            for each in self.results
        )
        more = kept.saved.warnings[len(before.warnings) :]
        saved = {**self.saved, backend: kept.saved}
        return replace(self, results=results, saved=saved, warnings=(*self.warnings, *more))


def save_build(target: Target, ran: RunResult) -> Caches:
    """Save the build; of a failed one, only judge the imports."""
    plan, runner = target.plan, target.runner
    given = find_exports(target.prepared.request.extra)
    warnings = [*_list_troubles(target)] if ran.trace.steps or not ran.exit_status else []
    if target.reason is not None:
        warnings.append(target.reason)
    imported = [*judge_imports(plan, ran, warnings)]
    for note in list_absent(plan, ran):
        runner.report(Noted(note))
    if ran.exit_status:
        return Caches(
            merge_results(imported), warnings=(*warnings, *warn_of_given(plan, ran, given))
        )
    known = find_known(target.prepared, plan, ran)
    refused = _find_refused(target, ran, known)
    transfers = match_exports(plan.exports, ran, given)
    sound = refused.sound if refused is not None else None
    saved: dict[Backend, SavedScope] = {}
    # Save the build's own exports before the slower separate runs.
    for save in sorted(plan.saves, key=lambda each: each.apart):
        own = tuple(transfers.get(save.use.place, ()))
        built = Built(runner, plan.imports, ran, transfers=own, sound=sound)
        with target.measure(Phase.COMMIT, save.use.place):
            found = saved[save.use.backend] = save.use.backend.save(save, built)
        warnings += found.warnings
    unsaved = [use.result for use in plan.unsaved]
    results = merge_results([*imported, *unsaved, *(each.result for each in saved.values())])
    advice = (refused.refuse(),) if refused is not None else ()
    caches = Caches(results, saved, (*warnings, *warn_of_given(plan, ran, given)), advice, known)
    if any(each.exported and each.contents for each in results):
        lost = explain_lost(ran.trace, caches.complete(ran.metadata))
        if lost is not None:
            runner.report(Noted(lost))
    return caches


def _list_troubles(target: Target) -> Iterator[str]:
    """List why caches could not be used; of no interest after a build that never began."""
    yield from target.plan.troubles
    for backend in target.prepared.backends:
        yield from backend.list_warnings()


def explain_unsaved(plan: BuildPlan, caches: Caches) -> str:
    """Explain in a few words why no cache has a successful build; empty if one has."""
    if any(each.is_kept for each in caches.results):
        return ""
    return join_reasons((plan.why_unsaved, *map(_explain_one, caches.saved.values())))


def _explain_one(saved: SavedScope) -> str:
    if saved.result.store_bytes is not None:
        return "the store has no room for it"
    return saved.why or ("saving failed" if saved.warnings else "")


def merge_results(results: Sequence[CacheResult]) -> tuple[CacheResult, ...]:
    """One result for each cache: the last, marked as imported if any is."""
    found: dict[tuple[str, str, str], CacheResult] = {}
    for each in results:
        key = (each.backend, each.place, each.scope)
        before = found.pop(key, None)
        imported = each.imported or (before is not None and before.imported)
        found[key] = replace(each, imported=imported)
    return tuple(found.values())


def judge_imports(plan: BuildPlan, ran: RunResult, warnings: list[str]) -> Iterator[CacheResult]:
    """Yield the result of each imported cache; add a warning for an unreadable one."""
    transfers = ran.trace.find_transfers(CacheVertex.IMPORT)
    for number, use in enumerate(plan.imports):
        failed = find_import_error(plan.imports[number:], transfers)
        if failed and not failed.endswith(ABSENT):
            warnings.append(use.backend.explain_failure(use.place, "reading", failed))
        imported = bool(transfers) and not failed
        digest = dict(use.attributes).get("digest")
        yield replace(use.result, digest=digest, imported=imported)


def warn_of_given(plan: BuildPlan, ran: RunResult, given: Sequence[str]) -> Iterator[str]:
    """Warn about failed caches that the caller gave to docker."""
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
                yield f"{each.name}, which arguments for docker ask for, failed: {each.error}"


def list_absent(plan: BuildPlan, ran: RunResult) -> Iterator[str]:
    """List the caches that the caller gave to docker to import and that do not exist."""
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


def find_known(prepared: Prepared, plan: BuildPlan, ran: RunResult) -> Known | None:
    """Find the layers that trusted builds have saved; None if the origin of layers does not matter.

    Nothing is looked up for a build whose imports explain all reused steps.
    """
    wanted = prepared.setup.config.cache.shared_builder
    if not prepared.trust.is_guarded or wanted == "trust" or ran.exit_status:
        return None
    backends = sorted(prepared.backends, key=lambda each: each.is_remote)
    imports = {each: [use for use in plan.imports if use.backend is each] for each in backends}
    known: set[str] = set()
    for contents in chain(
        (each.read_imports(own) for each, own in imports.items()),
        (each.read_trusted(own) for each, own in imports.items()),
    ):
        for content in contents:
            if content is None:
                return Known(known, "what the build started from cannot be read here")
            known |= content.layer_sizes.keys()
        if not find_borrowing(ran, ran.metadata, Known(known)).steps:
            break
    return Known(known)


def _find_refused(target: Target, ran: RunResult, known: Known | None) -> Borrowing | None:
    """Find the steps from the builder's own cache, if the build must not save them; else None."""
    if known is None or not target.prepared.refuses_borrowed:
        return None
    found = find_borrowing(ran, ran.metadata, known)
    if found.is_unsound:
        known = add_made(known, target.entry.wait_for_others(Progress.BUILT))
        found = find_borrowing(ran, ran.metadata, known)
    return found if found.is_unsound else None


def advise(target: Target, ran: RunResult, caches: Caches) -> Caches:
    """Add the warning about saved results from the builder's own cache, if any."""
    known = caches.known
    saved = [each.contents for each in caches.results if each.exported or each.aliased]
    if known is None or caches.advice or not saved:
        return caches
    metadata = caches.complete(ran.metadata)
    # The content of an inline cache is not read back.
    layers = {layer for own in saved for layer in (metadata.layers if own is None else own)}
    warning = find_borrowing(ran, metadata, known).warn(layers)
    if warning is not None:
        # Only its save may tell which layers another build made.
        known = add_made(known, target.entry.wait_for_others(Progress.SAVED))
        warning = find_borrowing(ran, metadata, known).warn(layers)
    return replace(caches, advice=(warning,) if warning is not None else ())
