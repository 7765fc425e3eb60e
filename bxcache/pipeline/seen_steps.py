"""The steps of a build that is stopped, as far as its events have reported them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bxcache.buildx.metadata import Metadata
from bxcache.buildx.run import RunResult
from bxcache.buildx.stream.events import RunStarted, StepFinished, StepListed
from bxcache.buildx.stream.trace import Trace, TracedStep

if TYPE_CHECKING:
    from bxcache.buildx.stream.events import Event
    from bxcache.buildx.stream.names import StepName


class SeenSteps:
    """Keeps the steps of the current run of docker, and how they ended."""

    def __init__(self) -> None:
        self._listed: dict[str, StepName] = {}
        self._ended: dict[str, TracedStep] = {}

    def take(self, event: Event) -> None:
        """Take an event."""
        match event:
            case RunStarted():
                self._listed, self._ended = {}, {}
            case StepListed(step, vertex):
                self._listed[vertex] = step
            case StepFinished(step, outcome, seconds, error, vertex):
                self._ended[vertex] = TracedStep(step, (vertex,), outcome, seconds, error)

    def make_result(self, exit_status: int) -> RunResult:
        """Return the result of the run, which was stopped."""
        trace = Trace(steps=tuple(self._ended.values()), listed=tuple(self._listed.values()))
        return RunResult(exit_status, trace, Metadata(), 0.0)
