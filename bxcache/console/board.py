"""The state of a build while it runs, or of several side by side."""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING

from msgspec import Struct, field
from msgspec.structs import replace

from bxcache.buildx.stream import events

if TYPE_CHECKING:
    from bxcache.buildx.stream.events import Event, Outcome, Phase
    from bxcache.buildx.stream.names import StepName, Transfer

    Key = tuple[int, str]
    """A step's number, and its vertex, since two platforms can share a number."""

_MOST_LINES = 20


class RunningStep(Struct):
    """A running step.

    Attributes:
        since: when it began, on the board's clock.
        before: how long it ran when it was last executed, in seconds; None if unknown.
        lines: the last lines that it printed.
        is_overwritten: whether it will overwrite the last of them, as a progress bar does.
    """

    step: StepName
    since: float
    before: float | None = None
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=_MOST_LINES))
    is_overwritten: bool = False

    def print(self, line: str, *, will_change: bool) -> None:
        """Add a line, in place of one that is overwritten."""
        if line.strip():
            if self.is_overwritten:
                self.lines.pop()
            self.lines.append(line)
            self.is_overwritten = will_change


class StageState(Struct):
    """The progress of a stage.

    Attributes:
        name: its name, with the image and the platform if there are several.
        label: its image, if several are built.
        listed: all of its steps, as far as known.
        has_begun: whether any of its steps has begun or ended.
    """

    name: str
    label: str
    listed: set[Key] = field(default_factory=set)
    outcomes: dict[Key, Outcome] = field(default_factory=dict)
    running: dict[Key, RunningStep] = field(default_factory=dict)
    counts: Counter[Outcome] = field(default_factory=Counter)

    @property
    def has_begun(self) -> bool:
        return bool(self.outcomes or self.running)

    @property
    def waiting(self) -> int:
        """The number of its steps that have not begun."""
        return len(self.listed) - len(self.outcomes) - len(self.running)

    def finish(self, key: Key, outcome: Outcome) -> None:
        """Record the outcome of a step."""
        self.renew(key)
        self.running.pop(key, None)
        self.outcomes[key] = outcome
        self.counts[outcome] += 1

    def renew(self, key: Key) -> None:
        """Forget the outcome of a step."""
        self.listed.add(key)
        outcome = self.outcomes.pop(key, None)
        if outcome is not None:
            self.counts[outcome] -= 1


class Movement(Struct):
    """The progress of transfers of one kind; `since` is their start, on the board's clock."""

    since: float
    items: dict[str, events.Transferred] = field(default_factory=dict)

    @property
    def is_done(self) -> bool:
        """Whether all transfers are finished."""
        return all(each.done for each in self.items.values())


class Board:
    """The state of a build, or of several.

    Attributes:
        stages: by name; those that have begun come first, in that order.
        movements: the transfers of each kind.
        works: since when each work beside the steps goes on, by its phase, image and name.
    """

    def __init__(self) -> None:
        self.stages: dict[str, StageState] = {}
        self.movements: dict[Transfer, Movement] = {}
        self.works: dict[tuple[Phase, str, str], float] = {}
        self._before: dict[tuple[str, str, str], float] = {}

    def take(self, event: Event, now: float, label: str = "") -> None:
        """Update the state from an event; the label is its image, if several are built."""
        match event:
            case events.RunStarted():
                # The stages of an earlier run are gone.
                self.stages = {n: each for n, each in self.stages.items() if each.label != label}
                self.works = {key: since for key, since in self.works.items() if key[1] != label}
            case events.Transferred() as moved:
                self._move(moved, now)
            case events.Worked(phase, item, None):
                self.works[phase, label, item] = now
            case events.Worked(phase, item):
                self.works.pop((phase, label, item), None)
            case events.Recalled(seconds):
                self._before |= {(label, *key): took for key, took in seconds.items()}
            case _:
                self._take_step(event, now, label)

    def _take_step(self, event: Event, now: float, label: str) -> None:
        match event:
            case events.StepListed(step, vertex):
                self._find_stage(step, label).listed.add((step.index, vertex))
            case events.StepStarted(step, vertex):
                stage, key = self._begin_stage(step, label), (step.index, vertex)
                stage.renew(key)
                before = self._before.get((label, step.stage, step.text))
                stage.running[key] = RunningStep(step, now, before)
            case events.StepLogged(step, line, vertex) | events.StepShown(step, line, vertex):
                running = self._find_stage(step, label).running.get((step.index, vertex))
                if running is not None:
                    running.print(line, will_change=isinstance(event, events.StepShown))
            case events.StepFinished(step, outcome, _, _, vertex):
                self._begin_stage(step, label).finish((step.index, vertex), outcome)
            case events.StepStopped(step, _, vertex):
                self._find_stage(step, label).running.pop((step.index, vertex), None)

    def count(self, outcome: Outcome) -> int:
        """Return the number of steps with an outcome."""
        return sum(stage.counts[outcome] for stage in self.stages.values())

    @property
    def running(self) -> int:
        """The number of running steps."""
        return sum(len(stage.running) for stage in self.stages.values())

    @property
    def waiting(self) -> int:
        """The number of steps that have not begun."""
        return sum(stage.waiting for stage in self.stages.values())

    def _find_stage(self, step: StepName, label: str) -> StageState:
        name = " ".join(filter(None, (label, step.platform, step.stage)))
        if name not in self.stages:
            self.stages[name] = StageState(name, label)
        return self.stages[name]

    def _begin_stage(self, step: StepName, label: str) -> StageState:
        """Find a stage; if it has not begun before, it becomes the last of those that have."""
        stage = self._find_stage(step, label)
        if not stage.has_begun:
            waiting = {n: each for n, each in self.stages.items() if not each.has_begun}
            for name in waiting:
                del self.stages[name]
            self.stages[stage.name] = waiting.pop(stage.name)
            self.stages |= waiting
        return stage

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
