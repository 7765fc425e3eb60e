"""The events of a build, as they happen."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

if TYPE_CHECKING:
    from collections.abc import Mapping

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


class Phase(StrEnum):
    """A named part of a build's time.

    Their order is a ranking: of several phases at one moment, the first is what the build waits
    for.
    """

    STEPS = "steps"
    """Steps run."""

    PULL = "pull"
    """Base images are downloaded and unpacked."""

    FETCH = "fetch"
    """Layers of reused steps are downloaded and unpacked."""

    CONTEXT = "context"
    """The build context is sent to the builder."""

    IMPORT = "import"
    """The manifests of caches are read."""

    RESOLVE = "resolve"
    """Base images are looked up in their registries."""

    DEFINITION = "definition"
    """The Dockerfile, its frontend and the ignore file are loaded."""

    LAYERS = "layers"
    """The image's layers are compressed."""

    IMAGE = "image"
    """The image's manifest is written, and named."""

    UNPACK = "unpack"
    """The image is unpacked in docker's image store."""

    LOAD = "load"
    """The image or the files are sent to docker or to a directory."""

    PUSH = "push"
    """The image is pushed to a registry."""

    SAVE = "save"
    """A cache is exported by the build itself."""

    RERUN = "rerun"
    """Another run of docker saves a cache."""

    COLLECT = "collect"
    """A store removes what it no longer needs."""

    COMMIT = "commit"
    """bxcache puts the cache into a store or a registry, and the build's record beside it."""

    START = "start"
    """bxcache prepares the build, before docker runs."""

    DOCKER = "docker"
    """Docker starts, connects to the builder, and ends."""

    OTHER = "other"
    """Nothing of the above is known to happen."""


class RunStarted(Struct, frozen=True):
    """Docker runs for the build, possibly again; earlier steps belong to an earlier run."""


class StepListed(Struct, frozen=True):
    """A step is part of the build; it may wait for others before it begins, or never begin.

    Attributes:
        step: its name, as in `StepStarted`.
        vertex: BuildKit's digest for it.
    """

    step: StepName
    vertex: str = ""


class StepStarted(Struct, frozen=True):
    """A step began to run. `StepFinished` or `StepStopped` follows.

    Attributes:
        step: its name, which is not unique: steps of two platforms may share it.
        vertex: BuildKit's digest for it, which is unique and the same in all its events.
    """

    step: StepName
    vertex: str = ""


class StepFinished(Struct, frozen=True):
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


class StepStopped(Struct, frozen=True):
    """A step was stopped, for example because another one failed. It has no outcome.

    Attributes:
        step: its name, as in `StepStarted`.
        seconds: how long it ran until then.
        vertex: BuildKit's digest for it.
    """

    step: StepName
    seconds: float
    vertex: str = ""


class StepLogged(Struct, frozen=True):
    """A step printed a line.

    Attributes:
        step: its name, as in `StepStarted`.
        line: what it printed, without the line's end.
        vertex: BuildKit's digest for it.
    """

    step: StepName
    line: str
    vertex: str = ""


class StepShown(Struct, frozen=True):
    """A step shows a line that it will overwrite, such as a progress bar.

    Attributes:
        step: its name, as in `StepStarted`.
        line: what it shows now.
        vertex: BuildKit's digest for it.
    """

    step: StepName
    line: str
    vertex: str = ""


class Transferred(Struct, frozen=True):
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


class Worked(Struct, frozen=True):
    """Work beside the steps begins or ends, such as the export of the image's layers.

    Attributes:
        phase: the phase that it belongs to.
        item: BuildKit's or bxcache's name for it.
        seconds: how long it took; None if it begins now.
    """

    phase: Phase
    item: str
    seconds: float | None = None


class Recalled(Struct, frozen=True):
    """The times of the steps in earlier builds are known now.

    Attributes:
        seconds: how long each step ran when it was last executed, by its stage and its text.
    """

    seconds: Mapping[tuple[str, str], float]


class Said(Struct, frozen=True):
    """Docker printed something outside steps: its own error, an excerpt of the Dockerfile.

    Attributes:
        line: what docker printed, without the line's end.
    """

    line: str


class Warned(Struct, frozen=True):
    """BuildKit or bxcache warns of something.

    Attributes:
        text: what is wrong and what follows from it, for people.
    """

    text: str


class Noted(Struct, frozen=True):
    """bxcache reports what it does.

    Attributes:
        text: what happens now, for people.
    """

    text: str


class Streamed(Struct, frozen=True):
    """One raw line of BuildKit's stream, reported before its events.

    Attributes:
        line: a JSON document with secrets masked, as docker's `--progress rawjson` prints it.
    """

    line: str


StepEvent = StepListed | StepStarted | StepFinished | StepStopped | StepLogged | StepShown
Event = RunStarted | StepEvent | Transferred | Worked | Recalled | Said | Warned | Noted | Streamed
Observer = Callable[[Event], None]
"""A caller's function that receives a build's events."""


def redact_event(event: Event, redact: Redactor) -> Event:
    """Mask the secrets in an event; a streamed line is masked where it is read."""
    match event:
        case StepLogged(step, line, vertex) | StepShown(step, line, vertex):
            return type(event)(_redact_step(step, redact), redact(line), vertex)
        case StepListed() | StepStarted() | StepStopped():
            return replace(event, step=_redact_step(event.step, redact))
        case StepFinished():
            step = _redact_step(event.step, redact)
            return replace(event, step=step, error=redact(event.error))
        case Said(text) | Warned(text) | Noted(text):
            return type(event)(redact(text))
        case Worked():
            return replace(event, item=redact(event.item))
        case RunStarted() | Streamed() | Transferred() | Recalled():
            return event


def _redact_step(step: StepName, redact: Redactor) -> StepName:
    text = redact(step.text)
    # A step logs many lines and seldom has a secret, so avoid copies.
    return step if text == step.text else replace(step, text=text)
