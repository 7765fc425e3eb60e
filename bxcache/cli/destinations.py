"""The files that a caller names for something to be written to."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import TextIO

_LINK = "it is a link, and nothing is written through one"
_STREAMS = (Path("/dev"), Path("/dev/fd"), Path("/proc/self/fd"))
"""Where links are the system's, such as /dev/stderr."""
_WITHOUT_CONTENT = (stat.S_ISCHR, stat.S_ISFIFO)


def open_destination(path: Path) -> TextIO:
    """A file to write text to, made or emptied.

    A link in its place can be of whoever wrote the checkout, so that none is followed to a file:
    only to what has no content to lose, such as a terminal.

    Raises:
        OSError: it cannot be written, or is such a link.
    """
    handle = _open(path, os.O_CREAT | os.O_TRUNC)
    return os.fdopen(handle, "w", encoding="utf-8", errors="replace")


def check_destination(path: Path) -> None:
    """Make sure that a file can be written; nothing is changed.

    Raises:
        OSError: it cannot be, or is a link that is not followed.
    """
    existed = os.path.lexists(path)
    os.close(_open(path, os.O_CREAT | os.O_APPEND))
    if not existed:
        path.unlink()


def _open(path: Path, flags: int) -> int:
    plain = os.O_WRONLY | os.O_CLOEXEC
    if path.parent in _STREAMS:
        return os.open(path, plain | flags, 0o666)
    try:
        return os.open(path, plain | flags | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
    refused = OSError(errno.ELOOP, _LINK, str(path))
    try:
        handle = os.open(path, plain)
    except OSError as error:
        raise refused from error
    if not any(is_kind(os.fstat(handle).st_mode) for is_kind in _WITHOUT_CONTENT):
        os.close(handle)
        raise refused
    return handle
