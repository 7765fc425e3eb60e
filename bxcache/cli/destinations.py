"""Output files that the caller names."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import TextIO

_LINK = "it is a link, and bxcache does not write through links"
_STREAMS = (Path("/dev"), Path("/dev/fd"), Path("/proc/self/fd"))
"""Directories whose links belong to the system, such as /dev/stderr."""
_WITHOUT_CONTENT = (stat.S_ISCHR, stat.S_ISFIFO)


def open_destination(path: Path) -> TextIO:
    """Create or empty a file, and open it for text.

    The author of the checkout may have placed a link there. It is followed only to something
    without content to lose, such as a terminal.

    Raises:
        OSError: the file cannot be written, or is such a link.
    """
    handle = _open(path, os.O_CREAT | os.O_TRUNC)
    return os.fdopen(handle, "w", encoding="utf-8", errors="replace")


def check_destination(path: Path) -> None:
    """Check that a file can be written, and change nothing.

    Raises:
        OSError: it cannot, or it is a link that `open_destination` would not follow.
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
