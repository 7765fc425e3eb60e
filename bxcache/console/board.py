"""What a live view shows: how far each stage is, what runs, what moves. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bxcache.buildx.events import (
    Outcome,
    StepFinished,
    StepLogged,
    StepShown,
    StepStarted,
    Transfer,
    Transferred,
)

if TYPE_CHECKING:
    from bxcache.buildx.events import Event
    from bxcache.buildx.vertex_names import StepName


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
        total: how many steps it has.
        outcomes: what became of those that are done, by their numbers.
        running: those that are being executed, by their numbers.
        counts: how many have come to what.
    """

    name: str
    total: int
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    running: dict[int, RunningStep] = field(default_factory=dict)
    counts: Counter[Outcome] = field(default_factory=Counter)

    def start(self, step: StepName, now: float) -> None:
        """A step is executed from now on, whatever was told of it before."""
        self._forget(step.index)
        self.running[step.index] = RunningStep(step, now)

    def finish(self, step: StepName, outcome: Outcome) -> None:
        """A step has come to something."""
        self._forget(step.index)
        self.running.pop(step.index, None)
        self.outcomes[step.index] = outcome
        self.counts[outcome] += 1

    def _forget(self, index: int) -> None:
        known = self.outcomes.pop(index, None)
        if known is not None:
            self.counts[known] -= 1

    def count(self, outcome: Outcome) -> int:
        """How many steps have come to this."""
        return self.counts[outcome]

    @property
    def is_done(self) -> bool:
        """Nothing of it runs, and the last of its steps is done."""
        return not self.running and self.total in self.outcomes


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
            case StepStarted(step):
                self._find_stage(step, label).start(step, now)
            case StepLogged(step, line) | StepShown(step, line):
                running = self._find_stage(step, label).running.get(step.index)
                if running is not None and line.strip():
                    running.line = line
            case StepFinished(step, outcome, _, _):
                self._find_stage(step, label).finish(step, outcome)
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
            stage = self.stages[name] = StageState(name, step.total)
        return stage

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
