"""A terminal that a test can read: a program runs on a pty, an emulator keeps its output."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyte

_SECONDS = 240.0
_POLL = 0.03


@dataclass
class Terminal:
    """A terminal with a program on it.

    Attributes:
        columns: its width.
        rows: its height.
        seen: each new screen that stayed unchanged for two polls, in order.
        bytes: the number of bytes written to it.
    """

    columns: int = 80
    rows: int = 24
    seen: list[list[str]] = field(default_factory=list)
    bytes: int = 0

    def __post_init__(self) -> None:
        self._screen = pyte.HistoryScreen(self.columns, self.rows, history=10_000)
        self._stream = pyte.ByteStream(self._screen)

    @property
    def screen(self) -> list[str]:
        """The lines on the screen, without trailing spaces."""
        return [line.rstrip() for line in self._screen.display]

    @property
    def is_cursor_hidden(self) -> bool:
        """Whether the program has hidden the cursor and not shown it again."""
        return bool(self._screen.cursor.hidden)

    @property
    def all_lines(self) -> list[str]:
        """The lines that have scrolled off the top, then the screen."""
        above = [
            "".join(row[at].data for at in range(self.columns)).rstrip()
            for row in self._screen.history.top
        ]
        return [*above, *self.screen]

    def run(
        self,
        command: Sequence[str],
        *,
        folder: Path,
        environment: Mapping[str, str],
        watch: Callable[[Terminal, int], None] = lambda *_: None,
    ) -> int:
        """Run a program to its end and return its exit status.

        Args:
            command: the program.
            folder: its working directory.
            environment: its variables.
            watch: is called with the terminal and its file descriptor after each new screen.
        """
        child, master = pty.fork()
        if child == 0:
            _set_size(0, self.columns, self.rows)
            os.chdir(folder)
            os.execvpe(command[0], list(command), dict(environment))
        try:
            self._read(master, child, watch)
        finally:
            os.close(master)
        _, status = os.waitpid(child, 0)
        return os.waitstatus_to_exitcode(status)

    def resize(self, master: int, columns: int, rows: int) -> None:
        """Change the size, as dragging a window does."""
        self.columns, self.rows = columns, rows
        self._screen.resize(rows, columns)
        _set_size(master, columns, rows)

    def _read(self, master: int, child: int, watch: Callable[[Terminal, int], None]) -> None:
        end, quiet = time.monotonic() + _SECONDS, 0
        while time.monotonic() < end:
            ready, _, _ = select.select([master], [], [], _POLL)
            quiet = 0 if ready else quiet + 1
            if not ready:
                # On a busy machine, one poll may fall between two halves of a screen.
                if quiet > 1 and (not self.seen or self.seen[-1] != self.screen):
                    self.seen.append(self.screen)
                    watch(self, master)
                continue
            try:
                data = os.read(master, 65_536)
            except OSError:
                # Linux raises this when the program has closed its side.
                return
            if not data:
                return
            self.bytes += len(data)
            self._stream.feed(data)
        os.kill(child, signal.SIGKILL)


def _set_size(descriptor: int, columns: int, rows: int) -> None:
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
