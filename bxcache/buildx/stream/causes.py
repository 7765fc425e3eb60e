"""The causes of errors that docker and BuildKit report in their own terms."""

from __future__ import annotations

import re

_PATH = r"\b[a-z]+ (?P<path>/[^:\n]+): "
"""The operation and the path of an error of Go: https://pkg.go.dev/io/fs#PathError"""
_CAUSES = (
    (rf"(?:{_PATH})?(?:no space left on device|disk quota exceeded)", "the disk{of} is full"),
    (rf"{_PATH}(?:permission denied|operation not permitted)", "access{to} is denied"),
    (rf"{_PATH}read-only file system", "the file system{of} is read-only"),
    # The client failed to write an output, and docker does not report why:
    # https://github.com/tonistiigi/fsutil/blob/master/send.go
    (
        r"error from receiver: |failed to solve: EOF$",
        "docker could not write the output, as on a full disk",
    ),
    (
        r"\bUnavailable\b.*(?:EOF|transport is closing|connection refused|connection reset)",
        "the builder is gone: it was stopped, it ran out of memory, or the network failed",
    ),
)
_PATTERNS = tuple((re.compile(pattern), words) for pattern, words in _CAUSES)
OWN_FAULT = "did not complete successfully"
"""Reported if the process of a RUN failed, whatever its command line contains."""


def prepend_cause(error: str) -> str:
    """Return an error with its cause before it, if the cause is known.

    >>> prepend_cause("failed to solve: write /out/o.tar: no space left on device")
    'the disk of `/out/o.tar` is full: failed to solve: write /out/o.tar: no space left on device'
    """
    if OWN_FAULT in error:
        return error
    for pattern, words in _PATTERNS:
        if found := pattern.search(error):
            path = found.groupdict().get("path")
            places = {link: f" {link} `{path}`" if path else "" for link in ("of", "to")}
            return f"{words.format(**places)}: {error}"
    return error
