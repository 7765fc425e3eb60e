"""The standard streams of the command; a failing write does not stop it."""

from __future__ import annotations

import io
import os
import select
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class Sink(io.FileIO):
    """A file that accepts data even if it cannot write it; `trouble` is the first failed write."""

    trouble: OSError | None = None

    def write(self, data: ReadableBuffer, /) -> int:
        """Write as much as possible, and report all of it as written."""
        try:
            while (written := self._try_writing(data)) is None:
                select.select((), (self,), ())
        except OSError as error:
            self.trouble = self.trouble or error
            return memoryview(data).nbytes
        return written

    def _try_writing(self, data: ReadableBuffer) -> int | None:
        """Write; None if another process has made the file non-blocking, and it is full."""
        return super().write(data)


def open_streams() -> Sink:
    """Open stdout and stderr so that a closed pipe or a full disk does not stop a build.

    Closed streams become /dev/null, for started commands too. Returns the file behind stdout:
    lost data has to fail the command.
    """
    _fill_gaps()
    output, sys.stdout = _open(sys.stdout)
    _, sys.stderr = _open(sys.stderr)
    return output


def _fill_gaps() -> None:
    """Keep files that are opened later from taking the number of a standard stream."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is this one.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # noqa: FBT003


def _open(stream: TextIO | None) -> tuple[Sink, TextIO]:
    """Open a stream anew, in its encoding; also return the file behind it."""
    sink = Sink(os.devnull, "w") if stream is None else Sink(stream.fileno(), "w", closefd=False)
    return sink, io.TextIOWrapper(
        io.BufferedWriter(sink),
        getattr(stream, "encoding", "utf-8"),
        getattr(stream, "errors", "backslashreplace"),
        line_buffering=getattr(stream, "line_buffering", True),
        write_through=getattr(stream, "write_through", False),
    )
