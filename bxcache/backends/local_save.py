"""Saving to a store: exports from several nodes, the work behind each layer, limits.

buildx lets all nodes of a builder write one layout at once, so they can collide. The export is then
repeated, one platform after the other, and so one node after the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from bxcache.backends.base import IMPORT
from bxcache.backends.transfers import save_quietly
from bxcache.buildx.command import explain_once, reads_context
from bxcache.buildx.faults import have_nodes_collided
from bxcache.buildx.metadata import find_layers, reuses_only
from bxcache.buildx.stream.events import Noted, Outcome
from bxcache.buildx.stream.names import CacheVertex
from bxcache.buildx.stream.trace import CacheTransfer
from bxcache.config.quantities import format_count, format_least
from bxcache.errors import StoreError
from bxcache.store.journal import Work
from bxcache.store.layout import read_manifest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bxcache.backends.base import Built, CacheUse, SavedScope
    from bxcache.backends.cache_result import CacheResult
    from bxcache.buildx.run import Runner, RunResult
    from bxcache.oci.documents import Descriptor
    from bxcache.store.collection import Limits
    from bxcache.store.layout import Layout
    from bxcache.store.staging import Staging
    from bxcache.store.store import Store

_KIND = CacheVertex.EXPORT_LOCAL
_WHY = "two nodes of the builder were to write the store at the same instant, which buildx refuses"
_SECONDS = 600.0
"""How long the export of one platform may take."""


def retry_after_collision(
    runner: Runner, uses: Sequence[CacheUse], ran: RunResult, staging: Staging, export: CacheUse
) -> tuple[CacheUse, ...] | None:
    """The flags for another run of a build whose nodes collided; None if it does not run again.

    If `export_again` can save it afterwards, the new run does not export to the store. Otherwise it
    has the same flags: a blob that one node has written is not written again.
    """
    settings, failed = runner.settings, ran.exit_status != 0
    if not have_nodes_collided(ran.trace):
        return None
    repeatable = explain_once(settings, runner.extra) is None
    # Without a cache, every step would be executed again.
    if reads_context(settings) or (not failed and (repeatable or settings.no_cache)):
        return None
    runner.report(Noted(f"{_WHY}; the build is run again"))
    staging.layout.remove_ingest()
    return tuple(each for each in uses if each is not export or not repeatable)


def export_again(
    runner: Runner, uses: Sequence[CacheUse], ran: RunResult, staging: Staging, export: CacheUse
) -> RunResult:
    """Repeat the export of a build whose nodes collided, one node at a time.

    The result of any other build is returned unchanged.
    """
    written = ran.trace.find_transfers(_KIND) and not have_nodes_collided(ran.trace)
    if written or explain_once(runner.settings, runner.extra) is not None:
        return ran
    runner.report(Noted(f"{_WHY}; it is saved platform by platform"))
    imports = [each for each in uses if each.flag == IMPORT]
    kept = [each for each in ran.trace.transfers if not each.name.startswith(_KIND)]
    for platform in runner.settings.platforms or ("",):
        staging.layout.remove_ingest()
        _, transfers, error = save_quietly(runner, imports, export, _SECONDS, platform)
        kept += [CacheTransfer(_KIND, None, error)] if error else transfers
    return replace(ran, trace=replace(ran.trace, transfers=tuple(kept)))


def has_all(layout: Layout, donor: Descriptor, ran: RunResult) -> bool:
    """Whether a build reused every step from the scope that it started from."""
    try:
        known = read_manifest(layout, donor).layer_sizes.keys()
    except (StoreError, OSError):
        return False
    return reuses_only(ran.trace.steps, ran.metadata, known)


def export_apart(built: Built, export: CacheUse) -> tuple[Built, RunResult]:
    """Export a finished build, or what has finished of one, in another run of docker."""
    ran, transfers, error = save_quietly(
        built.runner, built.imports, export, _SECONDS, built.salvage
    )
    found = (CacheTransfer(_KIND, None, error),) if error else tuple(transfers)
    return replace(built, transfers=found), ran


def collect_store(
    store: Store, limits: Limits, saved: SavedScope
) -> tuple[SavedScope, tuple[str, ...]]:
    """Enforce the limits of a store after a save; with a note if the store dropped something."""
    result, trouble = saved.result, None
    try:
        collected = store.collect(max_size=limits.max_size, max_age=limits.max_age)
        if result.scope in (*collected.evicted, *collected.dropped):
            result, trouble = _read_left(store, result, collected.bytes, limits.max_size)
    except StoreError as error:
        warning = f"the store `{store.path}` could not be kept small: {error.message}"
        return replace(saved, warnings=(*saved.warnings, warning)), ()
    result = replace(
        result,
        store_bytes=collected.bytes,
        store_budget=limits.max_size,
        freed_bytes=collected.freed_bytes,
    )
    warnings = (*saved.warnings, *filter(None, [trouble]), *collected.notes)
    noted = collected.summary and trouble is None
    notes = (f"the store {collected.summary}",) if noted else ()
    return replace(saved, result=result, warnings=warnings), notes


def _read_left(
    store: Store, saved: CacheResult, store_bytes: int, most: int | None
) -> tuple[CacheResult, str | None]:
    """The rest of a scope in the store, and why all of it can never fit; None if it can."""
    usage = store.usage(identify=False)
    left = next((each for each in usage.scopes if each.name == saved.scope), None)
    needed = (saved.bytes or 0) + store_bytes - usage.bytes
    trouble = None
    if most is not None and needed > most:
        trouble = (
            f"the cache `{saved.scope}` is larger than the store may be: "
            f"{left.layers if left else 0} of its {format_count(saved.layers or 0, 'layer')} were "
            f"kept in {store.path}; all of them need a `max_size` of {format_least(needed)}"
        )
    kept = replace(
        saved,
        exported=saved.exported and left is not None,
        unchanged=False,
        new_bytes=None,
        digest=left.digest if left else None,
        bytes=left.bytes if left else None,
        layers=left.layers if left else None,
    )
    return kept, trouble


def join_times(failed: RunResult, run: RunResult) -> RunResult:
    """Return a run that saved what finished of a failed build, with what was executed in that."""
    waiting = {
        (each.name.platform, each.name.index, each.name.text): each for each in failed.trace.steps
    }
    steps = []
    for step in run.trace.steps:
        done = waiting.get((step.name.platform, step.name.index, step.name.text))
        if done is not None:
            steps.append(replace(done, digests=step.digests))
    return replace(run, trace=replace(run.trace, steps=tuple(steps)))


def measure_work(ran: RunResult) -> Work:
    """Measure the work behind each layer: the time of its executed steps."""
    bases = (each for each in ran.metadata.operations.values() if each.source)
    layers = (layer for each in bases for chain in each.chains for layer in chain)
    seconds = {layer.digest: 0.0 for layer in layers}
    for step in ran.trace.steps:
        if step.outcome is Outcome.EXECUTED:
            for layer in find_layers(step, ran.metadata):
                seconds[layer.digest] = seconds.get(layer.digest, 0.0) + step.seconds
    return Work(len(ran.trace.steps), seconds)
