"""The state of a store's directory: permissions, space, and what killed builds left."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING

from msgspec import Struct

from bxcache.errors import StoreError
from bxcache.store.directory import Directory
from bxcache.store.locks import hold_lock
from bxcache.store.staging import list_dead, sweep_staging

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_DIGITS = 64


class Health(Struct, frozen=True):
    """What a look at a store shows.

    Attributes:
        exists: whether it is a store; otherwise the others have defaults, but for the space.
        free_bytes: the free space on its disk.
        used_bytes: the size of its blobs.
        denied: why it cannot be written; None if it can.
        on_read_only_disk: whether its disk is mounted read-only.
        lacks_own_folder: whether its records are lost.
        leftovers: how many layouts and files killed builds left; 0 if it cannot be written.
        links: whether its disk has hard links; None if unknown.
        newest: when a build last changed it, in seconds since 1970; None if none did.
    """

    exists: bool
    free_bytes: int
    used_bytes: int = 0
    denied: str | None = None
    on_read_only_disk: bool = False
    lacks_own_folder: bool = False
    leftovers: int = 0
    links: bool | None = None
    newest: float | None = None


def look_at_store(path: Path) -> Health:
    """Look at a store; an OSError or a StoreError means that it cannot be read.

    To see what killed builds left, it holds the store's lock for a moment, as a change does.
    """
    nearest = next(each for each in (path, *path.absolute().parents) if each.exists())
    free = shutil.disk_usage(nearest).free
    directory = Directory(path)
    if not directory.is_store:
        return Health(exists=False, free_bytes=free)
    denied, lacks = directory.find_denied(), directory.lacks_own_folder
    leftovers, links = 0, None
    if denied is None and not lacks:
        with hold_lock(directory.own, "looking for what killed builds left"):
            leftovers = len(list_dead(directory.staging)) + sum(1 for _ in directory.list_strays())
            links = _try_link(directory)
    return Health(
        exists=True,
        free_bytes=free,
        used_bytes=sum(each.st_size for each in directory.layout.blobs.list_files().values()),
        denied=denied,
        on_read_only_disk=bool(os.statvfs(path).f_flag & os.ST_RDONLY),
        lacks_own_folder=lacks,
        leftovers=leftovers,
        links=links,
        newest=max(_list_moments(directory), default=None),
    )


def _list_moments(directory: Directory) -> Iterator[float]:
    for folder in (directory.scopes, directory.records):
        for status in folder.list_files().values():
            yield status.st_mtime


def _try_link(directory: Directory) -> bool | None:
    """Whether a blob can be linked into bxcache's own folder; None without a blob."""
    blobs, own = directory.layout.blobs, directory.own
    name = next((each for each in blobs.list_names() if len(each) == _DIGITS), None)
    if name is None:
        return None
    link = f".{name[:12]}.{os.getpid()}.tmp"
    try:
        os.link(name, link, src_dir_fd=blobs.handle, dst_dir_fd=own.handle, follow_symlinks=False)
    except OSError:
        return False
    with suppress(OSError, StoreError):
        own.remove(link)
    return True


def sweep_store(path: Path) -> tuple[str, ...]:
    """Remove what killed builds left; return the names of their layouts.

    Raises:
        StoreError: the store cannot be changed.
    """
    directory = Directory(path)
    try:
        with hold_lock(directory.own, "removing what killed builds left"):
            directory.sweep()
            return sweep_staging(directory.staging)
    except OSError as error:
        raise StoreError(f"the store `{path}` cannot be changed: {error.strerror}") from error
