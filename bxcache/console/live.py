"""A live view of a build on a terminal: how far each stage is, what runs, what moves.

What stays on the screen are the lines of steps that were executed, and what bxcache and docker say.
The rest is drawn below and gone in the end. It is drawn a few times a second, however much happens.
"""

from __future__ import annotations

import tempfile
import time
from threading import Event as Signal
from threading import RLock, Thread
from typing import IO, TYPE_CHECKING, TextIO

from bxcache.buildx.events import (
    Noted,
    Outcome,
    Said,
    StepFinished,
    StepLogged,
    StepStarted,
    Warned,
)
from bxcache.config.quantities import format_count, format_size
from bxcache.console.board import Board
from bxcache.console.progress import PlainProgress, format_seconds
from bxcache.console.tables import cut_text, show_text

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from rich.console import OverflowMethod
    from rich.text import Text

    from bxcache.buildx.events import Event, Transfer
    from bxcache.buildx.vertex_names import StepName
    from bxcache.console.board import Movement, RunningStep, StageState

_TIMES_A_SECOND = 8
_LARGEST_IN_MEMORY = 64_000
_BAR = 20
_VERBS = {
    "pull": "pulling",
    "save": "saving",
    "push": "pushing",
    "send": "sending the context",
}
_MARKS = {
    Outcome.REUSED: ("=", "cyan"),
    Outcome.EXECUTED: ("+", "green"),
    Outcome.FAILED: ("!", "red"),
}


class LiveProgress:
    """Draws a build, or several side by side, while they run."""

    def __init__(self, stream: TextIO) -> None:
        """Nothing is drawn yet.

        Args:
            stream: a terminal.
        """
        from rich.console import Console  # noqa: PLC0415  # 60 ms, and only a terminal needs it
        from rich.live import Live  # noqa: PLC0415

        self._board = Board()
        # Rich writes what two threads print at once in any order, so all of it goes through here.
        self._lock = RLock()
        self._ended = Signal()
        self._drawer = Thread(target=self._draw_often, daemon=True)
        self._begun = time.monotonic()
        self._logs: dict[tuple[str, StepName], IO[str]] = {}
        self._said: list[str] = []
        self._failed: list[tuple[str, StepName]] = []
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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._drawer.join()
        with self._lock:
            self._live.stop()
            self._tell_failures()
            for log in self._logs.values():
                log.close()
            self._logs.clear()

    def __call__(self, event: Event, label: str = "") -> None:
        """Take an event of a build; the label is its image, where there are several."""
        with self._lock:
            self._board.take(event, time.monotonic(), label)
            self._keep(event, label)

    def _keep(self, event: Event, label: str) -> None:
        """Keep logs until it is known whether they are wanted; write what is to stay."""
        match event:
            case StepStarted(step):
                self._drop_log(label, step)
            case StepLogged(step, line):
                self._open_log(label, step).write(f"{line}\n")
            case StepFinished(step, Outcome.FAILED, _, _):
                self._failed.append((label, step))
                self._write(event, label)
            case StepFinished(step, outcome, _, _):
                self._drop_log(label, step)
                if outcome is Outcome.EXECUTED:
                    self._write(event, label)
            case Said(line) if self._failed or line.startswith("ERROR"):
                self._said.append(f"{label} | {line}" if label else line)
            case Said() | Warned() | Noted():
                self._write(event, label)
            case _:
                pass

    def _open_log(self, label: str, step: StepName) -> IO[str]:
        key = label, step
        if key not in self._logs:
            self._logs[key] = tempfile.SpooledTemporaryFile(  # noqa: SIM115  # closed at the end
                _LARGEST_IN_MEMORY, "w+", encoding="utf-8", errors="replace"
            )
        return self._logs[key]

    def _drop_log(self, label: str, step: StepName) -> None:
        log = self._logs.pop((label, step), None)
        if log is not None:
            log.close()

    def _write(self, event: Event, label: str) -> None:
        """Write above what is drawn, as where nothing is drawn."""
        from rich.text import Text  # noqa: PLC0415

        written = PlainProgress(self._stream, f"{label} | " if label else "").render(event)
        if written is not None:
            # A step has one line; what is said is never cut off.
            is_step = isinstance(event, StepFinished)
            overflow: OverflowMethod = "ellipsis" if is_step else "fold"
            text = Text.from_ansi(written)
            self._console.print(text, no_wrap=is_step, overflow=overflow, soft_wrap=not is_step)

    def _tell_failures(self) -> None:
        """Docker's last words, then the whole log of what failed: it is what people look for."""
        for line in self._said:
            print(show_text(line), file=self._stream)
        for label, step in self._failed:
            log = self._logs.get((label, step))
            if log is None:
                continue
            head = f"{label} | {step.label}" if label else step.label
            print(f"\nlog of {head} {show_text(step.text.splitlines()[0])}:", file=self._stream)
            log.seek(0)
            for line in log:
                print(show_text(line.rstrip("\n")), file=self._stream)
        self._stream.flush()

    def _draw_often(self) -> None:
        while not self._ended.wait(1 / _TIMES_A_SECOND):
            with self._lock:
                self._live.refresh()

    def _draw(self) -> Text:
        from rich.text import Text  # noqa: PLC0415

        width, height = self._console.size
        now = time.monotonic()
        lines = fit_lines(draw_board(self._board, now, width), height - 1)
        lines.append(_draw_tally(self._board, now - self._begun))
        text = Text(no_wrap=True, overflow="ellipsis")
        for number, (words, style) in enumerate(lines):
            text.append("\n" if number else "")
            text.append(cut_text(words, width), style=style)
        return text


Line = tuple[str, str]
"""What a line says, and its style."""


def draw_board(board: Board, now: float, width: int) -> list[list[Line]]:
    """The lines of each stage and of what moves; a stage that is done has one line."""
    names = max((len(name) for name in board.stages), default=0)
    names = min(names, max(12, width // 3))
    blocks = [_draw_stage(stage, now, names) for stage in board.stages.values()]
    blocks += [
        [(_draw_movement(kind, movement, now), "blue")]
        for kind, movement in board.movements.items()
        if not movement.is_done
    ]
    return blocks


def fit_lines(blocks: list[list[Line]], room: int) -> list[Line]:
    """As many lines as there is room for: what is done goes first, from the top."""
    kept = list(blocks)
    hidden = 0
    while sum(map(len, kept)) + bool(hidden) > max(1, room - 1):
        at = next((n for n, block in enumerate(kept) if len(block) == 1), None)
        if at is None:
            break
        del kept[at]
        hidden += 1
    lines = [line for block in kept for line in block]
    if hidden:
        lines.insert(0, (f"… {format_count(hidden, 'stage')} above", "dim"))
    return lines[: max(1, room - 1)]


def _draw_stage(stage: StageState, now: float, names: int) -> list[Line]:
    done = len(stage.outcomes)
    marks = [
        f"{stage.count(outcome)} {outcome.value}" for outcome in Outcome if stage.count(outcome)
    ]
    worst = next((o for o in reversed(Outcome) if stage.count(o)), None)
    mark, color = _MARKS[worst] if worst is not None else (" ", "")
    if stage.running:
        mark, color = ">", "yellow"
    head = f"{mark} {cut_text(stage.name, names):<{names}} {done:>3}/{stage.total:<3}"
    lines = [(f"{head} {', '.join(marks)}", color)]
    for running in stage.running.values():
        lines += _draw_running(running, now)
    return lines


def _draw_running(running: RunningStep, now: float) -> list[Line]:
    took = format_seconds(now - running.since)
    first = running.step.text.splitlines()[0] if running.step.text else ""
    lines = [(f"  {took:>9} {show_text(first)}", "")]
    if running.line:
        lines.append((f"            {show_text(running.line)}", "dim"))
    return lines


def _draw_movement(kind: Transfer, movement: Movement, now: float) -> str:
    current, total = sum(movement.current.values()), sum(movement.total.values())
    count = format_count(len(movement.current), "item" if kind.value == "send" else "layer")
    seconds = now - movement.since
    rate = f" {format_size(int(current / seconds))}/s" if current and seconds > 1 else ""
    if not total:
        sizes = f" {format_size(current)}" if current else ""
        return f"  {_VERBS[kind.value]} {count} ({len(movement.done)} done){sizes}{rate}"
    filled = round(_BAR * min(1.0, current / total))
    bar = "#" * filled + "-" * (_BAR - filled)
    sizes = f"{format_size(current)} of {format_size(total)}"
    return f"  {_VERBS[kind.value]} {count} [{bar}] {sizes}{rate}"


def _draw_tally(board: Board, seconds: float) -> Line:
    counts = [f"{board.count(each)} {each.value}" for each in Outcome if board.count(each)]
    counts += [f"{board.running} running"] if board.running else []
    return f"{', '.join(counts) or 'preparing'}, {format_seconds(seconds)}", "bold"
