"""A live view of a build on a terminal: the progress of stages, running steps and other work.

The lines of executed steps and the output of bxcache and docker stay on the screen. The rest is
drawn below and disappears at the end. It is drawn a few times a second at most, less often while
nothing happens.
"""

from __future__ import annotations

import time
from threading import Event as Signal
from threading import RLock, Thread
from typing import TYPE_CHECKING, TextIO

from bxcache.buildx.stream import events
from bxcache.buildx.stream.events import Outcome
from bxcache.console.board import Board
from bxcache.console.drawing import draw_board, draw_tally, fit_lines
from bxcache.console.progress import PlainProgress
from bxcache.console.tables import cut_text

if TYPE_CHECKING:
    from typing import Self

    from rich.console import OverflowMethod
    from rich.text import Text

    from bxcache.buildx.stream.events import Event
    from bxcache.console.failures import Failures

_TIMES_A_SECOND = 8
_LONGEST_REST = 1.0
"""In seconds. The view is redrawn after this time even if nothing happened, to update times."""


class LiveProgress:
    """Draws a build, or several side by side, while they run."""

    def __init__(self, stream: TextIO, failures: Failures) -> None:
        """Take over a terminal; the failures are printed after the view has ended."""
        from rich.console import Console  # noqa: PLC0415  # 60 ms, and only a terminal needs it
        from rich.live import Live  # noqa: PLC0415

        self._board = Board()
        # Rich does not order the output of several threads, so all output takes this lock.
        self._lock = RLock()
        self._ended = Signal()
        self._drawer = Thread(target=self._draw_often, daemon=True)
        self._begun = time.monotonic()
        # The last drawing's time and size, and whether anything happened since.
        self._drawn, self._size, self._is_stale = self._begun, (0, 0), True
        self._failures = failures
        self._console = Console(file=stream, highlight=False, markup=False, emoji=False)
        self._stream = stream
        self._live = Live(
            console=self._console,
            get_renderable=self._draw,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            vertical_overflow="crop",
        )

    def __enter__(self) -> Self:
        self._live.start()
        self._drawer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._drawer.join()
        with self._lock:
            self._live.stop()

    def __call__(self, event: Event, label: str = "") -> None:
        """Show an event of a build; the label is its image, if there are several."""
        with self._lock:
            self._is_stale = True
            self._board.take(event, time.monotonic(), label)
            if not self._failures.take(event, label) and _stays(event):
                self._write(event, label)

    def _write(self, event: Event, label: str) -> None:
        """Write above the view."""
        from rich.text import Text  # noqa: PLC0415

        written = PlainProgress(self._stream, f"{label} | " if label else "").render(event)
        if written is not None:
            # A step has one line; other output is never shortened.
            is_step = isinstance(event, events.StepFinished)
            overflow: OverflowMethod = "ellipsis" if is_step else "fold"
            text = Text.from_ansi(written)
            self._console.print(text, no_wrap=is_step, overflow=overflow, soft_wrap=not is_step)

    def _draw_often(self) -> None:
        while not self._ended.wait(1 / _TIMES_A_SECOND):
            with self._lock:
                has_rested = time.monotonic() - self._drawn >= _LONGEST_REST
                if self._is_stale or has_rested or self._size != self._console.size:
                    self._live.refresh()

    def _draw(self) -> Text:
        from rich.text import Text  # noqa: PLC0415

        width, height = self._size = self._console.size
        now = self._drawn = time.monotonic()
        self._is_stale = False
        lines = fit_lines(draw_board(self._board, now, width, height), height - 1)
        lines.append(draw_tally(self._board, now - self._begun))
        shown = (Text(cut_text(words, width), style) for words, style in lines)
        return Text("\n", no_wrap=True, overflow="ellipsis").join(shown)


def _stays(event: Event) -> bool:
    """Whether an event's lines stay on the screen."""
    if isinstance(event, events.StepFinished):
        return event.outcome is not Outcome.REUSED
    return isinstance(event, events.Worked | events.Said | events.Warned | events.Noted)
