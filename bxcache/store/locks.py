"""The lock of a store, held for milliseconds during a change, and the locks of staging layouts.

There are locks of other single files, too. All use `flock`:
https://man7.org/linux/man-pages/man2/flock.2.html. If a mount does not share it between machines,
only processes of one machine see each other's locks.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from msgspec import Struct

from bxcache.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bxcache.store.folders import Folder

_SECONDS_BEFORE_WARNING = 1.0
_POLL = 0.005
_LONGEST_NOTE = 200
_NOTE = re.compile(r"process [0-9]+ is [\w `.-]*", re.ASCII)
"""The note of the lock's holder. Anyone who can write to the store can write anything there."""

logger = logging.getLogger("bxcache.store")


@contextmanager
def hold_lock(folder: Folder, purpose: str) -> Iterator[None]:
    """Hold a store's lock in its own folder; processes that wait for it report the purpose."""
    handle = _open(folder, "lock", os.O_CREAT)
    try:
        if not _wait_briefly(handle):
            logger.warning(
                "waiting for the store `%s`: %s", folder.path.parent, _read_holder(folder)
            )
            fcntl.flock(handle, fcntl.LOCK_EX)
        with suppress(OSError):
            note = f"process {os.getpid()} is {purpose}"[:_LONGEST_NOTE]
            folder.write("holder", note.encode(), durable=False)
        yield
    finally:
        os.close(handle)


@contextmanager
def hold_file(path: Path, purpose: str) -> Iterator[None]:
    """Hold the lock of a file outside of a store, which is created; others wait for `purpose`."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with path.open("ab") as file:
        if not _wait_briefly(file.fileno()):
            logger.warning("waiting for another process, which is %s", purpose)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _open(folder: Folder, name: str, flags: int = 0) -> int:
    try:
        return folder.open_file(name, os.O_RDWR | flags)
    except PermissionError:
        if not os.access(".", os.W_OK, dir_fd=folder.handle):
            raise
        # Another user created it; a read-only handle can lock it, too.
        return folder.open_file(name)


def _wait_briefly(handle: int) -> bool:
    until = time.monotonic() + _SECONDS_BEFORE_WARNING
    while not _try(handle):
        if time.monotonic() > until:
            return False
        time.sleep(_POLL)
    return True


def _try(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read_holder(folder: Folder) -> str:
    with suppress(OSError, StoreError):
        note = folder.read("holder", 4 * _LONGEST_NOTE).decode(errors="replace")[:_LONGEST_NOTE]
        if _NOTE.fullmatch(note):
            return note
    return "another process is changing it"


class Lock(Struct, frozen=True):
    """A locked file, open for reading, and for writing if permissions allow it.

    The lock ends with this process.
    """

    folder: Folder
    name: str
    handle: int

    def release(self) -> None:
        """Release the lock and keep the file."""
        os.close(self.handle)

    def remove(self) -> None:
        """Remove the file, then release the lock."""
        with suppress(OSError):
            self.folder.remove(self.name)
        self.release()


def claim_lock(folder: Folder, name: str, *, make: bool = False) -> Lock | None:
    """Take the lock of a file, created if `make`; None if a process of this machine holds it."""
    handle = _open(folder, name, os.O_CREAT if make else 0)
    held = False
    try:
        held = _try(handle)
    finally:
        if not held:
            os.close(handle)
    return Lock(folder, name, handle) if held else None
