"""What happens during a build, as it comes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bxcache.buildx.stream.names import StepName, Transfer
    from bxcache.redaction import Redactor


class Outcome(StrEnum):
    """What became of a step."""

    REUSED = "reused"
    EXECUTED = "executed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class RunStarted:
    """docker is run for the build, maybe again: what was told of steps is of an earlier run."""


@dataclass(frozen=True, slots=True)
class StepStarted:
    """A step is being executed. `StepFinished` or `StepStopped` follows.

    Attributes:
        step: its name, which two steps can have, such as those of two platforms.
        vertex: BuildKit's digest for it, which tells them apart; the same in all events of a step.
    """

    step: StepName
    vertex: str = ""


@dataclass(frozen=True, slots=True)
class StepFinished:
    """A step is done. A reused one that could not be loaded may be followed by a second one."""

    step: StepName
    outcome: Outcome
    seconds: float
    error: str = ""
    vertex: str = ""


@dataclass(frozen=True, slots=True)
class StepStopped:
    """A step was stopped before its end, such as for another one that failed. It has no outcome."""

    step: StepName
    seconds: float
    vertex: str = ""


@dataclass(frozen=True, slots=True)
class StepLogged:
    """A step printed a line."""

    step: StepName
    line: str
    vertex: str = ""


@dataclass(frozen=True, slots=True)
class StepShown:
    """A step shows a line that it is about to write over, such as a progress bar."""

    step: StepName
    line: str
    vertex: str = ""


@dataclass(frozen=True, slots=True)
class Transferred:
    """Bytes have moved.

    Attributes:
        kind: what moves them.
        item: the layer, or what BuildKit calls it.
        current: how many bytes have moved; 0 where that is not told.
        total: how many there are; 0 where that is not known.
        done: all have.
        is_context: what is sent is a build context, and not one of the small files beside it.
    """

    kind: Transfer
    item: str
    current: int
    total: int
    done: bool
    is_context: bool = False


@dataclass(frozen=True, slots=True)
class Said:
    """docker said something outside of the steps: its own error, an excerpt of the Dockerfile."""

    line: str


@dataclass(frozen=True, slots=True)
class Warned:
    """BuildKit or bxcache has a warning."""

    text: str


@dataclass(frozen=True, slots=True)
class Noted:
    """bxcache says what it does."""

    text: str


@dataclass(frozen=True, slots=True)
class Streamed:
    """One line of BuildKit's stream as it came, before what it means."""

    line: str


Event = (
    RunStarted
    | StepStarted
    | StepFinished
    | StepStopped
    | StepLogged
    | StepShown
    | Transferred
    | Said
    | Warned
    | Noted
    | Streamed
)
Observer = Callable[[Event], None]
"""What a caller gives to be told of a build's events."""


def redact_event(event: Event, redact: Redactor) -> Event:
    """The event with the secrets masked. A streamed line is masked where it is read, and what moves
    has the names of layers alone."""
    match event:
        case StepLogged(step, line, vertex):
            return StepLogged(_redact_step(step, redact), redact(line), vertex)
        case StepShown(step, line, vertex):
            return StepShown(_redact_step(step, redact), redact(line), vertex)
        case StepStarted() | StepStopped():
            return replace(event, step=_redact_step(event.step, redact))
        case StepFinished(step, outcome, seconds, error, vertex):
            step, error = _redact_step(step, redact), redact(error)
            return StepFinished(step, outcome, seconds, error, vertex)
        case Said(line):
            return Said(redact(line))
        case Warned(text):
            return Warned(redact(text))
        case Noted(text):
            return Noted(redact(text))
        case RunStarted() | Streamed() | Transferred():
            return event


def _redact_step(step: StepName, redact: Redactor) -> StepName:
    text = redact(step.text)
    # A step has a line for each that it prints, and seldom a secret.
    return step if text == step.text else replace(step, text=text)
