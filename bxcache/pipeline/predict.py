"""Predict a build: which steps it would reuse from which cache, without docker building."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from bxcache.backends.declared import list_holders
from bxcache.insight.earlier import EarlierQuery, read_earlier
from bxcache.insight.expectation import expect_build
from bxcache.insight.inputs import InputWriter
from bxcache.insight.misses.explain import describe_basis
from bxcache.insight.prediction import Prediction, list_assumptions, predict_steps
from bxcache.insight.record_steps import hash_arguments
from bxcache.pipeline.context_files import ContextFiles
from bxcache.pipeline.misses import find_layers
from bxcache.pipeline.record import list_uncached
from bxcache.redaction import Redactor

if TYPE_CHECKING:
    from bxcache.insight.record import Record
    from bxcache.pipeline.plan import BuildPlan
    from bxcache.pipeline.prepare import Prepared

_NO_CACHE = "no cache would be imported, so every step would be executed"
_NO_RECORD = "the cache of `{}` has no record, so nobody knows what is in it"
_NO_INPUTS = "the record of `{}` does not say what its steps read; the next build leaves one"
_NO_FILES = "the Dockerfile is not a local file"


def predict_plan(prepared: Prepared, plan: BuildPlan) -> Prediction:
    """Predict a planned build."""
    if not plan.imports:
        return Prediction(why_unknown=_NO_CACHE)
    scope = plan.imports[0].scope
    before = _find_record(prepared, plan)
    if before is None:
        return Prediction(why_unknown=_NO_RECORD.format(scope))
    if not before.instructions or not before.arguments.key:
        return Prediction(why_unknown=_NO_INPUTS.format(scope))
    expected = _expect(prepared, plan, before)
    if expected is None:
        return Prediction(basis=describe_basis(before), why_unknown=_NO_FILES)
    present = find_layers(prepared.backends, plan.imports)
    return Prediction(
        steps=predict_steps(expected, before, present),
        basis=describe_basis(before),
        assumptions=tuple(list_assumptions(expected)),
    )


def _find_record(prepared: Prepared, plan: BuildPlan) -> Record | None:
    """Find the record of the last successful build of an imported cache."""
    scopes = tuple(use.scope for use in plan.imports)
    query = EarlierQuery(scopes, time.time(), most=1, everywhere=False)
    found = read_earlier(list_holders(prepared.setup), query)
    return next((each for each in found if not each.exit_status), None)


def _expect(prepared: Prepared, plan: BuildPlan, before: Record) -> Record | None:
    settings, request = prepared.setup.config.build, prepared.request
    reading = ContextFiles(settings, request.directory, None)
    reading.start()
    files = reading.wait(patience=None)
    if not files.dockerfile:
        return None
    key = before.arguments.key
    arguments = hash_arguments(prepared.render_arguments(plan.uses), os.environ, key)
    writer = InputWriter(key, files, Redactor())
    return expect_build(writer, arguments, settings.target, before, list_uncached(settings))
