"""The vertices of a build, as its stream tells of them message by message."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from bxcache.buildx.events import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bxcache.buildx.vertex_names import StepName

_LONGEST_TAIL = 8_000
_CANCELED = ("context canceled", "context cancelled")


@dataclass(slots=True)
class Vertex:
    """What the stream has told of a vertex so far.

    Attributes:
        outcome: what became of it, where that is known already.
        promised: it was found in a cache, and may still turn out to be of no use.
        started: its work began.
        unloaded: why what was found in a cache could not be loaded.
        written: the cache manifest that it wrote.
        spans: when it was worked on, ends by starts.
        pending: the lines that it has not ended, by stream.
        tail: the end of what it printed.
    """

    digest: str
    name: str = ""
    inputs: tuple[str, ...] = ()
    step: StepName | None = None
    outcome: Outcome | None = None
    promised: bool = False
    started: bool = False
    error: str = ""
    unloaded: str = ""
    written: str | None = None
    log: str = ""
    log_bytes: int = 0
    spans: dict[str, str] = field(default_factory=dict)
    pending: dict[int, str] = field(default_factory=dict)
    tail: str = ""

    def print(self, data: bytes, text: str) -> None:
        """Take what it prints; of a long log only the end is kept."""
        self.log_bytes += len(data)
        self.tail = f"{self.tail}{text}"[-_LONGEST_TAIL:]


def advance(vertex: Vertex, message: dict[str, Any]) -> None:
    """Take one message of a vertex into its state.

    The rule is told in `trace`.
    """
    started, completed = read_text(message, "started"), read_text(message, "completed")
    cached, error = bool(message.get("cached")), read_text(message, "error")
    vertex.started = vertex.started or (bool(started) and not cached and not vertex.promised)
    vertex.promised = (vertex.promised or cached) and not error
    if not completed:
        return
    vertex.error = error
    if error:
        canceled = error.endswith(_CANCELED)
        vertex.outcome = None if cached or canceled else Outcome.FAILED
        vertex.unloaded = error if cached and not canceled else vertex.unloaded
        vertex.started = vertex.started and not cached
    elif cached:
        vertex.outcome = Outcome.REUSED
    elif not vertex.promised:
        vertex.outcome = Outcome.EXECUTED


def measure_spans(spans: dict[str, str]) -> float:
    """The seconds that spans of time cover together."""
    covered, end = 0.0, float("-inf")
    for start, stop in sorted((_parse_time(a), _parse_time(b)) for a, b in spans.items()):
        covered += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return covered


def find_beginning(spans: Iterable[str]) -> float | None:
    """When the first of some spans of time began, in seconds since 1970."""
    return min((moment for moment in map(_parse_time, spans) if moment), default=None)


def _parse_time(text: str) -> float:
    # Python reads at most microseconds; RFC 3339 of Go has up to nine digits.
    head, dot, tail = text.partition(".")
    digits = tail.rstrip("Z").partition("+")[0].partition("-")[0]
    zone = tail[len(digits) :] if dot else ""
    moment = f"{head}.{digits[:6]:0<6}{zone}" if dot else text
    try:
        return datetime.fromisoformat(moment).timestamp()
    except ValueError:
        return 0.0


def read_text(message: dict[str, Any], key: str) -> str:
    """A text of a message; empty where there is none."""
    value = message.get(key)
    return value if isinstance(value, str) else ""


def read_count(message: dict[str, Any], key: str) -> int:
    """A count of a message; 0 where there is none."""
    value = message.get(key)
    return value if isinstance(value, int) and value > 0 else 0
