"""Files that a CI provider writes for a build; their content cannot be trusted."""

from __future__ import annotations

import os
import stat

LONGEST_FILE = 32 * 1024 * 1024
"""In bytes. GitHub drops webhook events larger than 25 MB:
https://docs.github.com/en/webhooks/webhook-events-and-payloads#payload-cap"""


def read_file(path: str) -> bytes:
    """Read a regular file of limited size.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not a regular file, is too large, or the path is invalid.
    """
    # Opening a pipe would block forever.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("it is not a regular file")
        if status.st_size > LONGEST_FILE:
            raise ValueError(f"it is larger than {LONGEST_FILE} bytes")
        return file.read(LONGEST_FILE)
