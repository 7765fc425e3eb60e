"""The standard streams of the command: what cannot be written to them stops nothing."""

from __future__ import annotations

import io
import os
import select
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_INPUT, _ERROR = 0, 2


class Sink(io.FileIO):
    """A file that takes what it cannot write as well.

    Attributes:
        trouble: why something was not written, if so.
    """

    trouble: OSError | None = None

    def write(self, data: ReadableBuffer, /) -> int:
        """Write what can be written, and say that all of it was."""
        try:
            written = self._try_writing(data)
            while written is None:
                select.select((), (self,), ())
                written = self._try_writing(data)
        except OSError as error:
            self.trouble = self.trouble or error
            return memoryview(data).nbytes
        return written

    def _try_writing(self, data: ReadableBuffer) -> int | None:
        """Write; None where another process has made it a file that waits for nobody."""
        return super().write(data)


def open_streams() -> Sink:
    """Make stdout and stderr such that a reader who has gone, or a full disk, stops no build.

    Those that are closed lead nowhere afterwards, also for commands that are started.

    Returns:
        where stdout goes, which is data: whoever asked for it has to hear of trouble.
    """
    _fill_gaps()
    output, error = _open_sink(sys.stdout), _open_sink(sys.stderr)
    sys.stdout = _open_text(output, sys.stdout)
    sys.stderr = _open_text(error, sys.stderr)
    return output


def _fill_gaps() -> None:
    """No file that is opened later takes the number of a standard stream."""
    for number in range(_INPUT, _ERROR + 1):
        try:
            os.fstat(number)
        except OSError:
            # The lowest number that is free is this one.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # noqa: FBT003


def _open_sink(stream: TextIO | None) -> Sink:
    if stream is None:
        return Sink(os.devnull, "w")
    return Sink(stream.fileno(), "w", closefd=False)


def _open_text(sink: Sink, like: TextIO | None) -> TextIO:
    buffer = io.BufferedWriter(sink)
    if not isinstance(like, io.TextIOWrapper):
        return io.TextIOWrapper(buffer, "utf-8", "backslashreplace", line_buffering=True)
    return io.TextIOWrapper(
        buffer,
        like.encoding,
        like.errors,
        line_buffering=like.line_buffering,
        write_through=like.write_through,
    )
