"""The state that a live view shows: stages, running steps, transfers. Pure."""

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
    """A step's number, and its vertex, since two platforms can share a number."""


@dataclass(slots=True)
class RunningStep:
    """A running step.

    Attributes:
        step: the step.
        since: when it began, on the board's clock.
        line: the last line that it printed.
    """

    step: StepName
    since: float
    line: str = ""


@dataclass(slots=True)
class StageState:
    """The progress of a stage.

    Attributes:
        name: its name, with the image and the platform if there are several.
        numbered: the number of steps according to their numbers.
        label: the image that it belongs to, if there are several.
        outcomes: the outcomes of finished steps.
        running: the running steps.
        counts: the number of steps with each outcome.
        known: the vertices seen for each step number.
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
        """The number of steps, as far as known: two platforms can share a number."""
        return self.numbered + self._more

    def start(self, step: StepName, now: float, vertex: str = "") -> None:
        """Mark a step as running, whatever its state was."""
        key = self._meet(step, vertex)
        self._forget(key)
        self.running[key] = RunningStep(step, now)

    def finish(self, step: StepName, outcome: Outcome, vertex: str = "") -> None:
        """Record the outcome of a step."""
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
        """Return the number of steps with an outcome."""
        return self.counts[outcome]


@dataclass(slots=True)
class Movement:
    """The progress of transfers of one kind.

    Attributes:
        since: when the first began, on the board's clock.
        current: the transferred bytes of each item.
        total: the size of each item in bytes; 0 if unknown.
        done: the finished items.
    """

    since: float
    current: dict[str, int] = field(default_factory=dict)
    total: dict[str, int] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)

    @property
    def is_done(self) -> bool:
        """Whether all transfers are finished."""
        return len(self.done) == len(self.current)


class Board:
    """The state of a build, or of several.

    Attributes:
        stages: the stages by name, in the order of their first events.
        movements: the transfers by kind.
    """

    def __init__(self) -> None:
        self.stages: dict[str, StageState] = {}
        self.movements: dict[Transfer, Movement] = {}

    def take(self, event: Event, now: float, label: str = "") -> None:
        """Update the state from an event.

        Args:
            event: the event.
            now: its time, on a monotonic clock.
            label: the image, if several are built.
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
        """Return the number of steps with an outcome."""
        return sum(stage.count(outcome) for stage in self.stages.values())

    @property
    def running(self) -> int:
        """The number of running steps."""
        return sum(len(stage.running) for stage in self.stages.values())

    def _find_stage(self, step: StepName, label: str) -> StageState:
        parts = (label, step.platform or "", step.stage)
        name = " ".join(filter(None, parts))
        stage = self.stages.get(name)
        if stage is None:
            stage = self.stages[name] = StageState(name, step.total, label)
        return stage

    def _forget(self, label: str) -> None:
        """Drop the stages of an earlier run."""
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
