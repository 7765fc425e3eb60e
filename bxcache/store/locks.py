"""The lock of a store, held for the milliseconds of a change, and those of staging layouts."""

from __future__ import annotations

import logging
import os
import re
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from bxcache.store.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from filelock import BaseFileLock

_SECONDS_BEFORE_WAITING_IS_SAID = 1.0
_LONGEST_NOTE = 200
_NOTE = re.compile(r"process [0-9]+ is [\w `.-]*", re.ASCII)
"""What a process says of itself. Whoever can write a store can write anything else there."""

logger = logging.getLogger("bxcache.store")


@contextmanager
def hold_lock(folder: Path, purpose: str) -> Iterator[None]:
    """Hold a store's lock; whoever waits for it is told for what.

    Args:
        folder: the store's own folder.
        purpose: what it is held for, such as `saving the scope app`.

    Raises:
        OSError: the folder cannot be written.
    """
    from filelock import FileLock, Timeout  # noqa: PLC0415  # 30 ms that only a change pays

    lock = FileLock(folder / "lock")
    holder = folder / "holder"
    try:
        lock.acquire(timeout=_SECONDS_BEFORE_WAITING_IS_SAID, poll_interval=0.005)
    except Timeout:
        logger.warning("waiting for the store `%s`: %s", folder.parent, _read_holder(holder))
        lock.acquire(poll_interval=0.02)
    try:
        with suppress(OSError):
            note = f"process {os.getpid()} is {purpose}"[:_LONGEST_NOTE]
            write_atomically(holder, note.encode(), durable=False)
        yield
    finally:
        lock.release()


def _read_holder(path: Path) -> str:
    try:
        note = path.read_text("utf-8", errors="replace")[:_LONGEST_NOTE]
    except OSError:
        note = ""
    return note if _NOTE.fullmatch(note) else "another process changes it"


def claim_lock(folder: Path, name: str) -> BaseFileLock | None:
    """The lock of a staging layout, or None while a living process holds it."""
    from filelock import FileLock, Timeout  # noqa: PLC0415  # 30 ms that only a build pays

    lock = FileLock(folder / f"{name}.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        return None
    return lock


def remove_lock(lock: BaseFileLock) -> None:
    """Remove a lock that this process holds, then let go of it."""
    with suppress(OSError):
        os.unlink(lock.lock_file)  # `lock_file` is a text
    lock.release()
