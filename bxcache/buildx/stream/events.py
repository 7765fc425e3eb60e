"""The events of a build, as they happen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bxcache.buildx.stream.names import StepName, Transfer
    from bxcache.redaction import Redactor


class Outcome(StrEnum):
    """The outcome of a step."""

    REUSED = "reused"
    """Found in a cache, or not needed because what was built from it was found."""

    EXECUTED = "executed"
    """Run in this build."""

    FAILED = "failed"
    """Run in this build, and ended with an error."""


@dataclass(frozen=True, slots=True)
class RunStarted:
    """Docker runs for the build, possibly again; earlier steps belong to an earlier run."""


@dataclass(frozen=True, slots=True)
class StepStarted:
    """A step began to run. `StepFinished` or `StepStopped` follows.

    Attributes:
        step: its name, which is not unique: steps of two platforms may share it.
        vertex: BuildKit's digest for it, which is unique and the same in all its events.
    """

    step: StepName
    vertex: str = ""


@dataclass(frozen=True, slots=True)
class StepFinished:
    """A step ended. A reused step that could not be loaded may run and end a second time.

    Attributes:
        step: its name, as in `StepStarted`.
        outcome: whether it was reused, executed or failed.
        seconds: how long BuildKit worked on it, including the transfer of layers.
        error: why it failed, or an empty string.
        vertex: BuildKit's digest for it.
    """

    step: StepName
    outcome: Outcome
    seconds: float
    error: str = ""
    vertex: str = ""


@dataclass(frozen=True, slots=True)
class StepStopped:
    """A step was stopped, for example because another one failed. It has no outcome.

    Attributes:
        step: its name, as in `StepStarted`.
        seconds: how long it ran until then.
        vertex: BuildKit's digest for it.
    """

    step: StepName
    seconds: float
    vertex: str = ""


@dataclass(frozen=True, slots=True)
class StepLogged:
    """A step printed a line.

    Attributes:
        step: its name, as in `StepStarted`.
        line: what it printed, without the line's end.
        vertex: BuildKit's digest for it.
    """

    step: StepName
    line: str
    vertex: str = ""


@dataclass(frozen=True, slots=True)
class StepShown:
    """A step shows a line that it will overwrite, such as a progress bar.

    Attributes:
        step: its name, as in `StepStarted`.
        line: what it shows now.
        vertex: BuildKit's digest for it.
    """

    step: StepName
    line: str
    vertex: str = ""


@dataclass(frozen=True, slots=True)
class Transferred:
    """Bytes were transferred.

    Attributes:
        kind: from where and to where.
        item: the layer, or BuildKit's name for the item.
        current: the bytes so far; 0 if unknown.
        total: the bytes of the whole item; 0 if unknown.
        done: whether the transfer has ended.
        is_context: whether it sends a build context, not one of the small files beside it.
    """

    kind: Transfer
    item: str
    current: int
    total: int
    done: bool
    is_context: bool = False


@dataclass(frozen=True, slots=True)
class Said:
    """Docker printed something outside steps: its own error, an excerpt of the Dockerfile.

    Attributes:
        line: what docker printed, without the line's end.
    """

    line: str


@dataclass(frozen=True, slots=True)
class Warned:
    """BuildKit or bxcache warns of something.

    Attributes:
        text: what is wrong and what follows from it, for people.
    """

    text: str


@dataclass(frozen=True, slots=True)
class Noted:
    """bxcache reports what it does.

    Attributes:
        text: what happens now, for people.
    """

    text: str


@dataclass(frozen=True, slots=True)
class Streamed:
    """One raw line of BuildKit's stream, reported before its events.

    Attributes:
        line: a JSON document with secrets masked, as docker's `--progress rawjson` prints it.
    """

    line: str


StepEvent = StepStarted | StepFinished | StepStopped | StepLogged | StepShown
Event = RunStarted | StepEvent | Transferred | Said | Warned | Noted | Streamed
Observer = Callable[[Event], None]
"""A caller's function that receives a build's events."""


def redact_event(event: Event, redact: Redactor) -> Event:
    """Mask the secrets in an event; a streamed line is masked where it is read."""
    match event:
        case StepLogged(step, line, vertex) | StepShown(step, line, vertex):
            return type(event)(_redact_step(step, redact), redact(line), vertex)
        case StepStarted() | StepStopped():
            return replace(event, step=_redact_step(event.step, redact))
        case StepFinished():
            step = _redact_step(event.step, redact)
            return replace(event, step=step, error=redact(event.error))
        case Said(text) | Warned(text) | Noted(text):
            return type(event)(redact(text))
        case RunStarted() | Streamed() | Transferred():
            return event


def _redact_step(step: StepName, redact: Redactor) -> StepName:
    text = redact(step.text)
    # A step logs many lines and seldom has a secret, so avoid copies.
    return step if text == step.text else replace(step, text=text)
