"""What the doctor says about a local store."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING

from bxcache.backends.clock import judge_newest
from bxcache.backends.finding import Finding, Status, explain_error, fine
from bxcache.config.quantities import format_count, format_size
from bxcache.config.wording import name_call
from bxcache.errors import StoreError
from bxcache.store.directory import LOSS_WARNING, Directory
from bxcache.store.health import look_at_store, sweep_store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bxcache.store.collection import Limits
    from bxcache.store.health import Health
    from bxcache.store.store import Store
    from bxcache.store.verification import Verification

_LEAST_FREE = 200_000_000
"""A disk with less free space, in bytes, cannot take the export of most builds."""
_UNUSED = "builds neither import from it nor save to it"
_NOT_SAVED = "builds import from it, and save nothing there"


def diagnose_store(store: Store, limits: Limits, *, saves: bool, mends: bool) -> Iterator[Finding]:
    """Examine a store; with `mends`, findings can mend it."""
    directory = Directory(store.path)
    try:
        directory.check()
        health = look_at_store(store.path)
    except StoreError as error:
        found = explain_error("store", error, _UNUSED)
        if directory.is_plain_cache and mends:
            remedy = f"`{name_call('store adopt', str(store.path))}`"
            found = Finding(
                "store", Status.ERROR, error.message, _UNUSED, remedy, lambda: _adopt(store)
            )
        yield found
        return
    except OSError as error:
        yield Finding("store", Status.ERROR, f"`{error.filename}`: {error.strerror}", _UNUSED)
        return
    yield from judge_health(health, str(store.path), saves=saves)
    if health.exists:
        yield judge_content(store.verify(), store if mends and not health.denied else None)
        yield from _judge_leftovers(health, store, mends=mends)
    yield judge_space(health, limits.max_size)
    if health.newest is not None:
        where = f"the last build in the store `{store.path}`"
        yield judge_newest(time.time(), health.newest, where)


def judge_health(health: Health, path: str, *, saves: bool) -> Iterator[Finding]:
    """Judge whether a store can be used as it is."""
    if not health.exists:
        yield fine("store", f"`{path}` does not exist yet; the first build makes it")
    elif health.denied is not None:
        why = health.denied
        if health.on_read_only_disk:
            why = f"the store `{path}` is on a disk that is mounted read-only"
        status = Status.ERROR if saves else Status.OK
        remedy = "make it writable, or set another directory as `dir` of the local backend"
        yield Finding("store", status, why, _NOT_SAVED, remedy) if saves else fine("store", why)
    elif health.lacks_own_folder:
        why = "histories and times of last use begin anew; the next build makes the folder"
        yield Finding("store", Status.WARNING, LOSS_WARNING % path, why)
    else:
        yield fine("store", f"`{path}` can be read and written")
    if health.links is False:
        why = "each build copies the layers that it imports, which takes time and space"
        remedy = "set a directory on a disk with hard links as `dir` of the local backend"
        yield Finding("links", Status.WARNING, f"`{path}` has no hard links", why, remedy)


def judge_content(found: Verification, store: Store | None) -> Finding:
    """Judge what a store contains; a `store` can be repaired."""
    count = format_count(found.scopes, "scope")
    if not found.damages:
        return fine("content", f"{count}, {format_size(found.bytes)}, nothing is missing")
    more = f"; {len(found.damages) - 1} more are broken" if len(found.damages) > 1 else ""
    return Finding(
        "content",
        Status.ERROR,
        f"{found.damages[0].why}{more}",
        "builds execute these steps again",
        f"`{name_call('store repair')}` drops what is broken",
        store.repair if store is not None else None,
    )


def _judge_leftovers(health: Health, store: Store, *, mends: bool) -> Iterator[Finding]:
    if health.leftovers:
        found = f"{format_count(health.leftovers, 'leftover')} of killed builds in the store"
        why, remedy = "they take space", "the next build removes them"
        mend = (lambda: _sweep(store)) if mends else None
        yield Finding("leftovers", Status.WARNING, found, why, remedy, mend)


def judge_space(health: Health, max_size: int | None) -> Finding:
    """Judge the free space of a store's disk by how much the store may grow."""
    free = f"{format_size(health.free_bytes)} free"
    more = max(0, max_size - health.used_bytes) if max_size is not None else 0
    remedy = "free some space, or lower `max_size` of the local backend"
    if health.free_bytes < _LEAST_FREE:
        why = "builds cannot save, and may fail"
        return Finding("disk", Status.ERROR, f"only {free} for the store", why, remedy)
    if health.free_bytes < more:
        found = f"{free}, and the store may grow by {format_size(more)}"
        why = "the disk is full before layers that are not worth their space are dropped"
        return Finding("disk", Status.WARNING, found, why, remedy)
    return fine("disk", f"{free} for the store")


def _adopt(store: Store) -> tuple[str, ...]:
    adopted = store.adopt()
    what = f"`{store.path}` is a store now, with {format_count(len(adopted.scopes), 'scope')}"
    return (*adopted.notes, what)


def _sweep(store: Store) -> tuple[str, ...]:
    from bxcache.buildx.run import locate_folder  # noqa: PLC0415  # runs docker

    for name in sweep_store(store.path):
        shutil.rmtree(locate_folder(name), ignore_errors=True)
    return (f"what killed builds left in `{store.path}` was removed",)
