"""Predict a build: which steps it would reuse from which cache, without docker building."""

from __future__ import annotations

import os
import time
from functools import partial
from typing import TYPE_CHECKING

from bxcache.backends.declared import list_holders
from bxcache.insight.earlier import EarlierQuery, read_earlier
from bxcache.insight.expectation import expect_build
from bxcache.insight.inputs import InputWriter
from bxcache.insight.misses.explain import describe_basis
from bxcache.insight.prediction import Prediction, list_assumptions, predict_from
from bxcache.insight.record_steps import hash_arguments
from bxcache.pipeline.context_files import ContextFiles
from bxcache.pipeline.misses import find_layers
from bxcache.pipeline.record import list_uncached
from bxcache.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bxcache.backends.base import CacheUse
    from bxcache.insight.inputs import BuildFiles
    from bxcache.insight.record import Record
    from bxcache.pipeline.plan import BuildPlan
    from bxcache.pipeline.prepare import Prepared

_NO_CACHE = "no cache would be imported, so every step would be executed"
_NO_RECORD = "the cache of `{}` has no record, so nobody knows what is in it"
_NO_INPUTS = "the record of `{}` does not say what its steps read; the next build leaves one"
_NO_FILES = "the Dockerfile is not a local file"


def predict_plan(prepared: Prepared, plan: BuildPlan) -> Prediction:
    """Predict a planned build."""
    reading = ContextFiles(prepared.setup.config.build, prepared.request.directory, None)
    reading.start()
    return _predict(prepared, plan.imports, lambda: reading.wait(patience=None))


def is_certain(prepared: Prepared, imports: Sequence[CacheUse], files: BuildFiles) -> bool:
    """Whether a build with these imports and files is certain to reuse every step."""
    return _predict(prepared, imports, lambda: files).reuses_all


def _predict(
    prepared: Prepared, imports: Sequence[CacheUse], read_files: Callable[[], BuildFiles]
) -> Prediction:
    if not imports:
        return Prediction(why_unknown=_NO_CACHE)
    before, failed = _find_records(prepared, imports)
    if before is None:
        return Prediction(why_unknown=_NO_RECORD.format(imports[0].scope))
    if not before.instructions or not before.arguments.key:
        return Prediction(why_unknown=_NO_INPUTS.format(imports[0].scope))
    basis, files = describe_basis(before), read_files()
    if not files.dockerfile:
        return Prediction(basis=basis, why_unknown=_NO_FILES)
    settings = prepared.setup.config.build
    present = find_layers(prepared.backends, imports)
    known = [before]
    if failed is not None and failed.instructions and failed.arguments.key:
        known.append(failed)
    return Prediction(
        steps=predict_from(known, partial(_expect, prepared, files), present),
        basis=basis,
        assumptions=(
            *list_assumptions(files.dockerfile, settings.target, settings.build_contexts),
            *_list_settings(prepared, before),
        ),
    )


def _list_settings(prepared: Prepared, before: Record) -> Iterator[str]:
    """List what may differ from the earlier build, and is not compared."""
    if before.network != (prepared.setup.config.build.network or ""):
        yield "no step depends on the network mode, which is another one"
    if prepared.request.extra:
        yield "no argument for docker matters"


def _find_records(
    prepared: Prepared, imports: Sequence[CacheUse]
) -> tuple[Record | None, Record | None]:
    """Find the record of the last successful build of an imported cache, or else of a failed one.

    The second one is that of a later build that failed, if the cache has what that finished.
    """
    scopes = tuple(use.scope for use in imports)
    query = EarlierQuery(scopes, time.time(), most=1, everywhere=False)
    found = read_earlier(list_holders(prepared.setup), query)
    known = [each for each in found if not each.exit_status or each.is_salvaged]
    last = next((each for each in known if not each.exit_status), None)
    newest = next(iter(known), None)
    return (newest, None) if last is None or last is newest else (last, newest)


def _expect(prepared: Prepared, files: BuildFiles, before: Record) -> Record:
    settings, key = prepared.setup.config.build, before.arguments.key
    arguments = hash_arguments(prepared.render_arguments(()), os.environ, key)
    writer = InputWriter(key, files, Redactor())
    return expect_build(writer, arguments, settings.target, before, list_uncached(settings))
