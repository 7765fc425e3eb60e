"""The layers of a build in a store: the work behind each, and which of them the limits leave."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from bxcache.buildx.metadata import find_layers
from bxcache.buildx.stream.events import Outcome
from bxcache.config.quantities import format_count, format_least
from bxcache.errors import StoreError
from bxcache.store.journal import Work

if TYPE_CHECKING:
    from bxcache.backends.base import SavedScope
    from bxcache.backends.cache_result import CacheResult
    from bxcache.buildx.run import RunResult
    from bxcache.store.collection import Limits
    from bxcache.store.store import Store


def collect_store(
    store: Store, limits: Limits, saved: SavedScope
) -> tuple[SavedScope, tuple[str, ...]]:
    """Enforce the limits of a store after a save.

    Returns:
        the saved scope afterwards, and a note if the store dropped something.
    """
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
    warnings = (*saved.warnings, *((trouble,) if trouble else ()), *collected.notes)
    noted = bool(collected.summary) and trouble is None
    notes = (f"the store {collected.summary}",) if noted else ()
    return replace(saved, result=result, warnings=warnings), notes


def _read_left(
    store: Store, saved: CacheResult, store_bytes: int, most: int | None
) -> tuple[CacheResult, str | None]:
    """The rest of a scope in the store, and why all of it can never fit; None if it can."""
    usage = store.usage()
    left = next((each for each in usage.scopes if each.name == saved.scope), None)
    needed = (saved.bytes or 0) + store_bytes - usage.bytes
    trouble = None
    if most is not None and needed > most:
        trouble = (
            f"the cache `{saved.scope}` is larger than the store may be: "
            f"{left.layers if left else 0} of its {format_count(saved.layers or 0, 'layer')} were "
            f"kept in {store.path}; all of them need a `max_size` of {format_least(needed)}"
        )
    if left is None:
        nothing = replace(saved, exported=False, unchanged=False, new_bytes=None)
        return replace(nothing, digest=None, bytes=None, layers=None), trouble
    kept = replace(saved, digest=left.digest, bytes=left.bytes, layers=left.layers)
    return replace(kept, unchanged=False, new_bytes=None), trouble


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
