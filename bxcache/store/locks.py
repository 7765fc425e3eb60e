"""The lock of a store, held for the milliseconds of a change, and those of staging layouts.

Both are `flock`: https://man7.org/linux/man-pages/man2/flock.2.html. Where a mount does not share
it between machines, only the processes of one machine see each other's locks.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from bxcache.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bxcache.store.folders import Folder

_SECONDS_BEFORE_WAITING_IS_SAID = 1.0
_POLL = 0.005
_LONGEST_NOTE = 200
_NOTE = re.compile(r"process [0-9]+ is [\w `.-]*", re.ASCII)
"""What a process says of itself. Whoever can write a store can write anything else there."""

logger = logging.getLogger("bxcache.store")


@contextmanager
def hold_lock(folder: Folder, purpose: str) -> Iterator[None]:
    """Hold a store's lock; whoever waits for it is told for what.

    Args:
        folder: the store's own folder.
        purpose: what it is held for, such as `saving the scope app`.

    Raises:
        StoreError: something else is in the lock's place.
        OSError: the folder cannot be written.
    """
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


def _open(folder: Folder, name: str, flags: int = 0) -> int:
    try:
        return folder.open_file(name, os.O_RDWR | flags)
    except PermissionError:
        if not os.access(".", os.W_OK, dir_fd=folder.handle):
            raise
        # Another user of the same store made it; it can be locked all the same.
        return folder.open_file(name)


def _wait_briefly(handle: int) -> bool:
    until = time.monotonic() + _SECONDS_BEFORE_WAITING_IS_SAID
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
    try:
        note = folder.read("holder", 4 * _LONGEST_NOTE).decode(errors="replace")[:_LONGEST_NOTE]
    except (OSError, StoreError):
        note = ""
    return note if _NOTE.fullmatch(note) else "another process changes it"


class Lock:
    """A file that this process holds locked until it ends or removes the file."""

    def __init__(self, folder: Folder, name: str, handle: int) -> None:
        self._folder = folder
        self._name = name
        self._handle = handle

    def write(self, data: bytes) -> None:
        """Write into the file."""
        os.write(self._handle, data)

    def read(self, most: int) -> bytes:
        """Read so many bytes of it."""
        return os.pread(self._handle, most, 0)

    @property
    def status(self) -> os.stat_result:
        """What there is to know of the file."""
        return os.fstat(self._handle)

    def release(self) -> None:
        """Let go of it, and leave the file."""
        os.close(self._handle)

    def remove(self) -> None:
        """Remove the file, then let go of it."""
        with suppress(OSError):
            self._folder.remove(self._name)
        self.release()


def claim_lock(folder: Folder, name: str, *, make: bool = False) -> Lock | None:
    """A lock that no living process of this machine holds, or None.

    Args:
        folder: where its file is.
        name: the file.
        make: make it where it does not exist.

    Raises:
        FileNotFoundError: it does not exist.
        StoreError: something else is in its place.
        OSError: it cannot be opened.
    """
    handle = _open(folder, name, os.O_CREAT if make else 0)
    try:
        held = _try(handle)
    except BaseException:
        os.close(handle)
        raise
    if held:
        return Lock(folder, name, handle)
    os.close(handle)
    return None
