"""The state that a live view shows: stages, running steps, transfers. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from bxcache.buildx.stream import events

if TYPE_CHECKING:
    from bxcache.buildx.stream.events import Event, Outcome
    from bxcache.buildx.stream.names import StepName, Transfer

    Key = tuple[int, str]
    """A step's number, and its vertex, since two platforms can share a number."""


@dataclass(slots=True)
class RunningStep:
    """A running step: when it began, on the board's clock, and the last line that it printed."""

    step: StepName
    since: float
    line: str | None = None


@dataclass(slots=True)
class StageState:
    """The progress of a stage.

    Attributes:
        name: its name, with the image and the platform if there are several.
        total: the number of steps, as far as known: two platforms can share a number.
        label: the image that it belongs to, if there are several.
        outcomes: the outcomes of finished steps.
        counts: the number of steps with each outcome.
        known: the vertices seen for each step number.
    """

    name: str
    total: int
    label: str
    outcomes: dict[Key, Outcome] = field(default_factory=dict)
    running: dict[Key, RunningStep] = field(default_factory=dict)
    counts: Counter[Outcome] = field(default_factory=Counter)
    known: defaultdict[int, set[str]] = field(default_factory=lambda: defaultdict(set))

    def start(self, step: StepName, now: float, vertex: str) -> None:
        """Mark a step as running, whatever its state was."""
        self.running[self._renew(step, vertex)] = RunningStep(step, now)

    def finish(self, step: StepName, outcome: Outcome, vertex: str) -> None:
        """Record the outcome of a step."""
        key = self._renew(step, vertex)
        self.running.pop(key, None)
        self.outcomes[key] = outcome
        self.counts[outcome] += 1

    def _renew(self, step: StepName, vertex: str) -> Key:
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
    """The progress of transfers of one kind, which began on the board's clock."""

    since: float
    items: dict[str, events.Transferred] = field(default_factory=dict)

    @property
    def is_done(self) -> bool:
        """Whether all transfers are finished."""
        return all(each.done for each in self.items.values())


class Board:
    """The state of a build, or of several."""

    def __init__(self) -> None:
        self.stages: dict[str, StageState] = {}
        """By name, in the order of their first events."""
        self.movements: dict[Transfer, Movement] = {}

    def take(self, event: Event, now: float, label: str = "") -> None:
        """Update the state from an event; the label is its image, if several are built."""
        match event:
            case events.RunStarted():
                # The stages of an earlier run are gone.
                kept = {name: each for name, each in self.stages.items() if each.label != label}
                self.stages = kept
            case events.StepStarted(step, vertex):
                self._find_stage(step, label).start(step, now, vertex)
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
            self.stages[name] = StageState(name, step.total, label)
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
