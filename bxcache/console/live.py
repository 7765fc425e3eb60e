"""A live view of a build on a terminal: the progress of stages, running steps and transfers.

The lines of executed steps and the output of bxcache and docker stay on the screen. The rest is
drawn below and disappears at the end. It is drawn a few times a second at most, less often while
nothing happens.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from threading import Event as Signal
from threading import RLock, Thread
from typing import TYPE_CHECKING, TextIO

from bxcache.buildx.stream import events
from bxcache.buildx.stream.events import Outcome
from bxcache.config.quantities import format_count, format_size
from bxcache.console.progress import PlainProgress, format_seconds
from bxcache.console.tables import cut_text, show_plain, show_text

if TYPE_CHECKING:
    from typing import Self

    from rich.console import OverflowMethod
    from rich.text import Text

    from bxcache.buildx.stream.events import Event
    from bxcache.buildx.stream.names import StepName, Transfer
    from bxcache.console.failures import Failures

    Key = tuple[int, str]
    """A step's number, and its vertex, since two platforms can share a number."""
    Line = tuple[str, str]
    """The text of a line, and its style."""

_TIMES_A_SECOND = 8
_LONGEST_REST = 1.0
"""In seconds. The view is redrawn after this time even if nothing happened, to update times."""
_BAR = 20
_VERBS = {"pull": "pulling", "save": "saving", "push": "pushing", "send": "sending the context"}
_HIDDEN = [("", "")]
"""The line of a stage that never fits."""
_MARKS = {
    Outcome.REUSED: ("=", "cyan"),
    Outcome.EXECUTED: ("+", "green"),
    Outcome.FAILED: ("!", "red"),
}


@dataclass(slots=True)
class RunningStep:
    """A running step: when it began, on the board's clock, and the last line that it printed."""

    step: StepName
    since: float
    line: str | None = None


@dataclass(slots=True)
class StageState:
    """The progress of a stage; its name has the image and the platform if there are several."""

    name: str
    total: int
    """The number of steps and, as BuildKit counts it, of an image in `FROM`, as far as known."""
    label: str
    is_shared: bool = True
    """Whether its steps are named without a platform."""
    family: list[StageState] = field(default_factory=list, repr=False, compare=False)
    """The states of the stage for all platforms, and that of the steps which these share."""
    outcomes: dict[Key, Outcome] = field(default_factory=dict)
    running: dict[Key, RunningStep] = field(default_factory=dict)
    counts: Counter[Outcome] = field(default_factory=Counter)
    known: defaultdict[int, set[str]] = field(default_factory=lambda: defaultdict(set))
    """The vertices seen for each step number."""

    @property
    def size(self) -> int:
        """The number of its own steps; if no step of the stage is the first, that is the `FROM`."""
        others = (each.known for each in self.family if each.is_shared is not self.is_shared)
        elsewhere = {index for known in others for index in known} - self.known.keys()
        return self.total - len(elsewhere | ({1} - self.known.keys()))

    def finish(self, step: StepName, outcome: Outcome, vertex: str) -> None:
        """Record the outcome of a step."""
        key = self.renew(step, vertex)
        self.running.pop(key, None)
        self.outcomes[key] = outcome
        self.counts[outcome] += 1

    def renew(self, step: StepName, vertex: str) -> Key:
        """Count a step if it is new, and forget its outcome."""
        others = self.known[step.index]
        if vertex not in others:
            self.total += bool(others)
            others.add(vertex)
        outcome = self.outcomes.pop((step.index, vertex), None)
        if outcome is not None:
            self.counts[outcome] -= 1
        return step.index, vertex


@dataclass(slots=True)
class Movement:
    """The progress of transfers of one kind; `since` is their start, on the board's clock."""

    since: float
    items: dict[str, events.Transferred] = field(default_factory=dict)

    @property
    def is_done(self) -> bool:
        """Whether all transfers are finished."""
        return all(each.done for each in self.items.values())


class Board:
    """The state of a build, or of several."""

    def __init__(self) -> None:
        # By name, in the order of their first events.
        self.stages: dict[str, StageState] = {}
        # By label and stage.
        self._families: defaultdict[tuple[str, str], list[StageState]] = defaultdict(list)
        self.movements: dict[Transfer, Movement] = {}

    def take(self, event: Event, now: float, label: str = "") -> None:
        """Update the state from an event; the label is its image, if several are built."""
        match event:
            case events.RunStarted():
                # The stages of an earlier run are gone.
                self.stages = {n: each for n, each in self.stages.items() if each.label != label}
                for key in [each for each in self._families if each[0] == label]:
                    del self._families[key]
            case events.StepStarted(step, vertex):
                stage = self._find_stage(step, label)
                stage.running[stage.renew(step, vertex)] = RunningStep(step, now)
            case events.StepLogged(step, line, vertex) | events.StepShown(step, line, vertex):
                running = self._find_stage(step, label).running.get((step.index, vertex))
                if running is not None and line.strip():
                    running.line = line
            case events.StepFinished(step, outcome, _, _, vertex):
                self._find_stage(step, label).finish(step, outcome, vertex)
            case events.StepStopped(step, _, vertex):
                self._find_stage(step, label).running.pop((step.index, vertex), None)
            case events.Transferred() as moved:
                self._move(moved, now)

    def count(self, outcome: Outcome) -> int:
        """Return the number of steps with an outcome."""
        return sum(stage.counts[outcome] for stage in self.stages.values())

    @property
    def running(self) -> int:
        """The number of running steps."""
        return sum(len(stage.running) for stage in self.stages.values())

    def _find_stage(self, step: StepName, label: str) -> StageState:
        name = " ".join(filter(None, (label, step.platform, step.stage)))
        if name not in self.stages:
            family = self._families[label, step.stage]
            found = StageState(name, step.total, label, step.platform is None, family)
            family.append(found)
            self.stages[name] = found
        return self.stages[name]

    def _move(self, moved: events.Transferred, now: float) -> None:
        movement = self.movements.get(moved.kind)
        if movement is None or (moved.item not in movement.items and movement.is_done):
            movement = self.movements[moved.kind] = Movement(now)
        before = movement.items.get(moved.item, moved)
        movement.items[moved.item] = replace(
            moved,
            current=max(moved.current, before.current, moved.total if moved.done else 0),
            total=max(moved.total, before.total),
            done=moved.done or before.done,
        )


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
        lines.append(_draw_tally(self._board, now - self._begun))
        shown = (Text(cut_text(words, width), style) for words, style in lines)
        return Text("\n", no_wrap=True, overflow="ellipsis").join(shown)


def _stays(event: Event) -> bool:
    """Whether an event's lines stay on the screen."""
    if isinstance(event, events.StepFinished):
        return event.outcome is not Outcome.REUSED
    return isinstance(event, events.Said | events.Warned | events.Noted)


def draw_board(board: Board, now: float, width: int, room: int | None = None) -> list[list[Line]]:
    """Draw the lines of each stage and of transfers; a stage without running steps has one line.

    The room is the maximum number of lines; stages above it are left blank.
    """
    names = min(max(map(len, board.stages), default=0), max(12, width // 3))
    resting = sum(not stage.running for stage in board.stages.values())
    above = resting - room if room is not None else 0
    blocks = []
    for stage in board.stages.values():
        above -= not stage.running
        is_hidden = above >= 0 and not stage.running
        blocks.append(_HIDDEN if is_hidden else _draw_stage(stage, now, names, width))
    blocks += [
        [(_draw_movement(kind, movement, now), "blue")]
        for kind, movement in board.movements.items()
        if not movement.is_done
    ]
    return blocks


def fit_lines(blocks: list[list[Line]], room: int) -> list[Line]:
    """Select as many lines as fit; finished stages at the top go first."""
    height, hidden = sum(map(len, blocks)), 0
    lines: list[Line] = []
    for block in blocks:
        if len(block) == 1 and height + bool(hidden) > max(1, room - 1):
            height -= 1
            hidden += 1
        else:
            lines += block
    if hidden:
        lines.insert(0, (f"… {format_count(hidden, 'stage')} above", "dim"))
    return lines[: max(1, room - 1)]


def _draw_stage(stage: StageState, now: float, names: int, width: int) -> list[Line]:
    found = [outcome for outcome in Outcome if stage.counts[outcome]]
    mark, color = _MARKS[found[-1]] if found else (" ", "")
    if stage.running:
        mark, color = ">", "yellow"
    name = cut_text(show_text(stage.name), names)
    head = f"{mark} {name:<{names}} {len(stage.outcomes):>3}/{stage.size:<3}"
    lines = [(f"{head} {', '.join(f'{stage.counts[each]} {each}' for each in found)}", color)]
    for running in stage.running.values():
        lines += _draw_running(running, now, width)
    return lines


def _draw_running(running: RunningStep, now: float, width: int) -> list[Line]:
    took = format_seconds(max(0.0, now - running.since))
    # A line can be long; read only as much as fits.
    first = running.step.text[:width].partition("\n")[0]
    lines = [(f"  {took:>9} {show_text(first)}", "")]
    if running.line:
        lines.append((f"            {show_plain(running.line[: 4 * width])[:width]}", "dim"))
    return lines


def _draw_movement(kind: Transfer, movement: Movement, now: float) -> str:
    items = movement.items.values()
    current, total = sum(each.current for each in items), sum(each.total for each in items)
    count = format_count(len(items), "item" if kind == "send" else "layer")
    seconds = now - movement.since
    rate = f" {format_size(int(current / seconds))}/s" if current and seconds > 1 else ""
    if total:
        bar = "#" * round(_BAR * min(1.0, current / total))
        state = f"[{bar:-<{_BAR}}] {format_size(current)} of {format_size(total)}"
    else:
        size = f" {format_size(current)}" if current else ""
        state = f"({sum(each.done for each in items)} done){size}"
    return f"  {_VERBS[kind]} {count} {state}{rate}"


def _draw_tally(board: Board, seconds: float) -> Line:
    counts = [f"{board.count(each)} {each}" for each in Outcome if board.count(each)]
    counts += [f"{board.running} running"] if board.running else []
    return f"{', '.join(counts) or 'preparing'}, {format_seconds(seconds)}", "bold"
