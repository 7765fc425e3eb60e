"""What a live view shows: how far each stage is, what runs, what moves. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bxcache.buildx.stream.events import (
    Outcome,
    RunStarted,
    StepFinished,
    StepLogged,
    StepShown,
    StepStarted,
    StepStopped,
    Transferred,
)

if TYPE_CHECKING:
    from bxcache.buildx.stream.events import Event
    from bxcache.buildx.stream.names import StepName, Transfer

    Key = tuple[int, str]
    """The number of a step, and what tells it from another one of that number."""


@dataclass(slots=True)
class RunningStep:
    """A step that is being executed.

    Attributes:
        step: the step.
        since: when that began, on the clock of the board.
        line: the last line that it printed.
    """

    step: StepName
    since: float
    line: str = ""


@dataclass(slots=True)
class StageState:
    """How far a stage is.

    Attributes:
        name: what it is called, with the image and the platform where there are several.
        numbered: how many steps it has by their numbers.
        label: the image that it is a part of, where there are several.
        outcomes: what became of those that are done.
        running: those that are being executed.
        counts: how many have come to what.
        known: the vertices that were told of each number.
    """

    name: str
    numbered: int
    label: str = ""
    outcomes: dict[Key, Outcome] = field(default_factory=dict)
    running: dict[Key, RunningStep] = field(default_factory=dict)
    counts: Counter[Outcome] = field(default_factory=Counter)
    known: dict[int, set[str]] = field(default_factory=dict)
    _more: int = 0

    @property
    def total(self) -> int:
        """How many steps it has, as far as that is known: two platforms can share a number."""
        return self.numbered + self._more

    def start(self, step: StepName, now: float, vertex: str = "") -> None:
        """A step is executed from now on, whatever was told of it before."""
        key = self._meet(step, vertex)
        self._forget(key)
        self.running[key] = RunningStep(step, now)

    def finish(self, step: StepName, outcome: Outcome, vertex: str = "") -> None:
        """A step has come to something."""
        key = self._meet(step, vertex)
        self._forget(key)
        self.running.pop(key, None)
        self.outcomes[key] = outcome
        self.counts[outcome] += 1

    def _meet(self, step: StepName, vertex: str) -> Key:
        others = self.known.setdefault(step.index, set())
        if vertex not in others:
            self._more += bool(others)
            others.add(vertex)
        return step.index, vertex

    def _forget(self, key: Key) -> None:
        known = self.outcomes.pop(key, None)
        if known is not None:
            self.counts[known] -= 1

    def count(self, outcome: Outcome) -> int:
        """How many steps have come to this."""
        return self.counts[outcome]


@dataclass(slots=True)
class Movement:
    """Layers that are being moved.

    Attributes:
        since: when the first of them began, on the clock of the board.
        current: how many bytes of each have moved.
        total: how many bytes each has; 0 where that is not known.
        done: those that have been moved.
    """

    since: float
    current: dict[str, int] = field(default_factory=dict)
    total: dict[str, int] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)

    @property
    def is_done(self) -> bool:
        """Nothing of it moves."""
        return len(self.done) == len(self.current)


class Board:
    """The state of a build, or of several.

    Attributes:
        stages: by name, in the order in which they were told of.
        movements: what moves bytes, by what does it.
    """

    def __init__(self) -> None:
        self.stages: dict[str, StageState] = {}
        self.movements: dict[Transfer, Movement] = {}

    def take(self, event: Event, now: float, label: str = "") -> None:
        """Take an event.

        Args:
            event: what happened.
            now: when, on any clock that only goes forward.
            label: the image, where several are built.
        """
        match event:
            case RunStarted():
                self._forget(label)
            case StepStarted(step, vertex):
                self._find_stage(step, label).start(step, now, vertex)
            case StepLogged(step, line, vertex) | StepShown(step, line, vertex):
                running = self._find_stage(step, label).running.get((step.index, vertex))
                if running is not None and line.strip():
                    running.line = line
            case StepFinished(step, outcome, _, _, vertex):
                self._find_stage(step, label).finish(step, outcome, vertex)
            case StepStopped(step, _, vertex):
                self._find_stage(step, label).running.pop((step.index, vertex), None)
            case Transferred() as moved:
                self._move(moved, now)
            case _:
                pass

    def count(self, outcome: Outcome) -> int:
        """How many steps have come to this."""
        return sum(stage.count(outcome) for stage in self.stages.values())

    @property
    def running(self) -> int:
        """How many steps are being executed."""
        return sum(len(stage.running) for stage in self.stages.values())

    def _find_stage(self, step: StepName, label: str) -> StageState:
        parts = (label, step.platform or "", step.stage)
        name = " ".join(filter(None, parts))
        stage = self.stages.get(name)
        if stage is None:
            stage = self.stages[name] = StageState(name, step.total, label)
        return stage

    def _forget(self, label: str) -> None:
        """Another run begins of what was told so far."""
        self.stages = {name: each for name, each in self.stages.items() if each.label != label}

    def _move(self, moved: Transferred, now: float) -> None:
        movement = self.movements.get(moved.kind)
        if movement is None or (movement.is_done and moved.item not in movement.current):
            movement = self.movements[moved.kind] = Movement(now)
        movement.current[moved.item] = max(
            moved.current, movement.current.get(moved.item, 0), moved.total if moved.done else 0
        )
        movement.total[moved.item] = max(moved.total, movement.total.get(moved.item, 0))
        if moved.done:
            movement.done.add(moved.item)
