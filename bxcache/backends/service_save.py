"""A scope of a cache service after the build: leave it, copy another one, or export."""

from __future__ import annotations

import math
import time
from contextlib import suppress
from secrets import token_hex
from typing import TYPE_CHECKING

from msgspec.structs import replace

from bxcache.backends.base import NO_LAYER, SavedScope
from bxcache.backends.transfers import save_quietly
from bxcache.buildx.metadata import reuses_only
from bxcache.buildx.stream.events import Noted
from bxcache.errors import StoreError, Trouble
from bxcache.oci.documents import compute_digest
from bxcache.oci.merging import merge_caches
from bxcache.oci.succession import choose_successor
from bxcache.oci.union import unite_caches
from bxcache.services.cache_document import restore_annotations
from bxcache.services.faults import ServiceError
from bxcache.services.service import Stored, look_up

if TYPE_CHECKING:
    from bxcache.backends.base import Built, CacheUse, Salvage
    from bxcache.backends.cache_result import CacheResult
    from bxcache.backends.service_scope import ServiceSave
    from bxcache.buildx.run import RunResult
    from bxcache.oci.graph import Cache
    from bxcache.services.service import Sighting


def save_scope(save: ServiceSave, built: Built) -> SavedScope:
    """Save a successful build, or what finished of a failed one."""
    begun = time.monotonic()
    try:
        sighting = _look(save)
        if sighting.error is not None:
            saved = _export_unseen(save, built)
        elif built.salvage is not None:
            saved = _save_finished(save, built, sighting.stored)
        else:
            saved = _leave(save, built, sighting.stored) or _export(save, built, sighting.stored)
    except (ServiceError, StoreError) as error:
        why = error.cause if isinstance(error, ServiceError) else error.message
        warning = save.use.backend.explain_failure(save.use.place, "saving", why)
        return SavedScope(save.use.result, warnings=(warning,))
    seconds = round(time.monotonic() - begun, 3)
    return replace(saved, result=replace(saved.result, seconds=seconds))


def _look(save: ServiceSave) -> Sighting:
    """Look up what was imported, or else what the scope has; ServiceError if a save would fail."""
    sighting = save.before or look_up(save.service, save.use.scope)
    if sighting.error is not None and sighting.error.trouble is not Trouble.DENIED:
        raise sighting.error
    return sighting


def _leave(save: ServiceSave, built: Built, before: Stored | None) -> SavedScope | None:
    """Leave the scope if it has everything, or copy the imported one that has; else None."""
    cache = before.cache if before is not None else None
    if before is None or cache is None or save.before is None or _is_old(save, before):
        return None
    if not reuses_only(built.ran.trace.steps, built.ran.metadata, cache[0].layer_sizes.keys()):
        return None
    if save.before_scope == save.use.scope:
        return SavedScope(replace(_describe(save, before), unchanged=True))
    save.service.write(save.use.scope, before.data)
    note = f"`{save.use.scope}` is now what `{save.before_scope}` is; nothing was uploaded"
    built.runner.report(Noted(note))
    return SavedScope(replace(_describe(save, before), aliased=True))


def _is_old(save: ServiceSave, stored: Stored) -> bool:
    """Whether its layers may soon fall under the service's rules for old objects."""
    oldest, modified = save.touch_refresh, stored.modified
    return oldest is not None and modified is not None and time.time() - modified > oldest


def _export(save: ServiceSave, built: Built, before: Stored | None) -> SavedScope:
    _report(save, built)
    platforms = built.runner.settings.platforms if save.splits else (None,)
    found, ran = [], None
    for platform in platforms:
        ran, written = _export_aside(save, built, platform)
        found.append(written)
    # What was not imported may be what made the build fail before.
    imported = before if save.before is not None else None
    written = _keep_results(imported, _join(found), executed=built.executed)
    save.service.write(save.use.scope, written.data)
    result = _describe(save, written)
    if not result.layers:
        return SavedScope(replace(result, contents=frozenset()), ran, why=NO_LAYER)
    return SavedScope(replace(result, exported=True), ran)


def _export_unseen(save: ServiceSave, built: Built) -> SavedScope:
    """Export to a scope that only the builder may read."""
    if built.salvage is not None or save.splits:
        why = "what the scope has cannot be read here, and would be lost"
        return SavedScope(save.use.result, why=why)
    _report(save, built)
    ran = _run(save, built, save.use)
    return SavedScope(replace(save.use.result, exported=True), ran)


def _report(save: ServiceSave, built: Built) -> None:
    where = save.use.backend.name_cache(save.use.scope)
    built.runner.report(Noted(f"saving the cache to {where}"))


def _export_aside(
    save: ServiceSave, built: Built, part: str | Salvage | None
) -> tuple[RunResult, Stored]:
    """Export to a name of its own, and read what was exported.

    The scope changes only when all of its new content is known: builds read it meanwhile.
    """
    name = f"{save.use.scope}.{token_hex(4)}"
    try:
        ran = _run(save, built, save.name_aside(name), part)
        written = save.service.read(name)
    finally:
        # A leftover is small, and no build reads it.
        with suppress(ServiceError):
            save.service.remove(name)
    if written is None:
        raise StoreError("BuildKit did not export it")
    return ran, written


def _run(
    save: ServiceSave, built: Built, use: CacheUse, part: str | Salvage | None = None
) -> RunResult:
    ran, _, error = save_quietly(built.runner, built.imports, use, save.seconds, part)
    if error is not None:
        raise StoreError(error)
    return ran


def _join(found: list[Stored]) -> Stored:
    """Join what each node of the builder saved."""
    if len(found) == 1:
        return found[0]
    merged = merge_caches([_expect(each) for each in found], largest=math.inf)
    return Stored(restore_annotations(merged.config, [each.data for each in found]))


def _keep_results(before: Stored | None, written: Stored, *, executed: bool) -> Stored:
    """Give an export the results that it lost from the cache that its build started from."""
    if before is None or before.cache is None or written.cache is None:
        return written
    with suppress(StoreError):
        chosen = choose_successor(before.cache, written.cache, executed=executed, largest=math.inf)
        if chosen.is_before:
            return before
        if chosen.merged is not None:
            return Stored(restore_annotations(chosen.merged.config, [before.data, written.data]))
    return written


def _save_finished(save: ServiceSave, built: Built, before: Stored | None) -> SavedScope:
    """Add what has finished of a failed build to the cache that it started from, if any."""
    if save.before is None and before is not None:
        return SavedScope(save.use.result, why="its cache was not imported")
    ran, written = _export_aside(save, built, built.salvage)
    # Another build may have saved the scope meanwhile.
    before = save.service.read(save.use.scope) or before
    cache = _expect(before) if before is not None else None
    united = unite_caches(cache, _expect(written), largest=math.inf)
    if united.merged is None:
        return SavedScope(save.use.result, ran, why="the scope has all of it")
    sources = [each.data for each in (before, written) if each is not None]
    written = Stored(restore_annotations(united.merged.config, sources))
    save.service.write(save.use.scope, written.data)
    return SavedScope(replace(_describe(save, written), exported=True), ran)


def _expect(stored: Stored) -> Cache:
    if stored.cache is None:
        raise StoreError("what the service has is not a build cache")
    return stored.cache


def _describe(save: ServiceSave, stored: Stored) -> CacheResult:
    sizes = stored.cache[0].layer_sizes if stored.cache is not None else {}
    return replace(
        save.use.result,
        digest=compute_digest(stored.data),
        bytes=sum(sizes.values()) or None,
        layers=len(sizes),
        contents=frozenset(sizes),
    )
