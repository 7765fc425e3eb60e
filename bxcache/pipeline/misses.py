"""Add to a record why steps were executed: compare it with the build whose cache was imported."""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING

from bxcache.buildx.stream.events import Outcome
from bxcache.insight.causes import Cause
from bxcache.insight.expectation import expect_build
from bxcache.insight.inputs import InputWriter
from bxcache.insight.misses.advice import list_advice
from bxcache.insight.misses.explain import Donor, describe_basis, explain_misses
from bxcache.insight.prediction import judge_prediction, predict_from
from bxcache.insight.recent_builds import read_trusted
from bxcache.insight.record_misses import RecordedChange
from bxcache.pipeline.record import find_checkout

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from collections.abc import Set as AbstractSet

    from bxcache.backends.base import Backend, CacheUse
    from bxcache.insight.record import Record
    from bxcache.insight.record_misses import RecordedPrediction
    from bxcache.insight.record_parts import RecordedStep
    from bxcache.pipeline.save import Caches
    from bxcache.pipeline.target import Target


def add_misses(target: Target, record: Record, caches: Caches, earlier: Sequence[Record]) -> Record:
    """Return the record of a build with its misses, what to do about them, and its donor.

    `earlier` has the newest record first.
    """
    donor = _find_donor(target, record, caches, earlier)
    basis = describe_basis(donor.record) if donor.record is not None else None
    update = {
        "steps": _mark_steps(record, donor),
        "misses": explain_misses(record, donor),
        "basis": basis,
        "prediction": _predict(target, record, donor),
    }
    found = record.model_copy(update=update)
    own = [each for each in earlier if each.scope.name == record.scope.name]
    return found.model_copy(update={"advice": list_advice([found, *own])})


def _mark_steps(record: Record, donor: Donor) -> tuple[RecordedStep, ...]:
    """Mark the steps that were reused from the builder's own cache, beside an imported one."""
    present = donor.find_layers() if donor.is_imported else None
    if present is None:
        return record.steps
    return tuple(
        each.model_copy(update={"from_builder": True})
        if each.outcome is Outcome.REUSED and each.layers and not _has_any(each, present)
        else each
        for each in record.steps
    )


def _has_any(step: RecordedStep, present: AbstractSet[str]) -> bool:
    return any(layer.digest in present for form in step.forms for layer in form)


def _find_donor(target: Target, record: Record, caches: Caches, earlier: Sequence[Record]) -> Donor:
    imported = [each for each in caches.results if each.imported]
    done = [each for each in earlier if not each.exit_status or each.is_salvaged]
    redact, plan = target.runner.redact, target.plan
    if imported:
        scopes = {each.scope for each in imported}
        find = partial(find_layers, target.prepared.backends, plan.imports)
        before = next((each for each in done if each.scope.name in scopes), None)
        return Donor(
            before,
            RecordedChange(cause=Cause.UNKNOWN_DONOR, after=redact(imported[0].where)),
            older=_find_older(before, earlier),
            is_imported=True,
            find_layers=cache(find),
        )
    if plan.wants_import:
        # The warning says all of it.
        said = target.reason or next(iter(caches.warnings), "")
        why = redact(said.partition(": ")[2] or said)
        return Donor(None, RecordedChange(cause=Cause.UNREADABLE, after=why))
    last = _find_last(target, record, done)
    if last is None:
        return Donor(None, RecordedChange(cause=Cause.FIRST_BUILD, name=record.scope.name))
    seen = redact("; ".join(f"{e.candidate.name}: {e.verdict}" for e in plan.choices))
    # The builder's own cache may have had some of it.
    has_some = any(step.outcome is Outcome.REUSED for step in record.steps)
    return Donor(last if has_some else None, RecordedChange(cause=Cause.NO_DONOR, after=seen))


def _find_older(before: Record | None, earlier: Sequence[Record]) -> Record | None:
    """Find the last successful build of a scope whose cache has what a failed one finished."""
    if before is None or not before.exit_status:
        return None
    own = (each for each in earlier if each.scope.name == before.scope.name)
    return next((each for each in own if not each.exit_status), None)


def _find_last(target: Target, record: Record, done: Sequence[Record]) -> Record | None:
    """Find the last build of the scope, also in the user's own records."""
    own = (each for each in done if each.scope.name == record.scope.name)
    recent = read_trusted(find_checkout(target.prepared), record.scope.name)
    return next(own, None) or next((each for each in recent if not each.exit_status), None)


def _predict(target: Target, record: Record, donor: Donor) -> RecordedPrediction | None:
    """Predict the build from what was known before it, and judge that."""
    files = target.files.wait() if target.files is not None else None
    if donor.record is None or record.exit_status or files is None or not donor.is_imported:
        return None
    key, stage = record.arguments.key, target.prepared.setup.config.build.target
    known = [each for each in (donor.older, donor.record) if each is not None]
    if not all(each.instructions and each.arguments.key == key for each in known):
        return None

    def expect(before: Record) -> Record:
        writer = InputWriter(key, files, target.runner.redact)
        return expect_build(writer, record.arguments, stage, before, record.uncached)

    return judge_prediction(predict_from(known, expect, donor.find_layers()), record)


def find_layers(
    backends: Iterable[Backend], imports: Sequence[CacheUse]
) -> AbstractSet[str] | None:
    """Find the layers of imported caches; None if one of them cannot be read."""
    contents = [
        content
        for backend in backends
        for content in backend.read_imports([use for use in imports if use.backend is backend])
    ]
    known = [each.layer_sizes.keys() for each in contents if each is not None]
    return set().union(*known) if len(known) == len(contents) >= len(imports) else None
