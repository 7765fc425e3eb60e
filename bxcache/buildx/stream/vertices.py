"""The vertices of a build, as its stream tells of them message by message."""

from __future__ import annotations

from codecs import utf_8_decode
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from bxcache.buildx.stream.events import Outcome
from bxcache.buildx.stream.raw import decode_base64

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bxcache.buildx.stream.names import StepName

LONGEST_LINE = 1 << 20
"""Where a line that a step prints is cut to several, in characters, so that memory is bounded."""
_LONGEST_SHOWN = 4_000
"""How long a line that is written over again and again may be, in characters."""
_LONGEST_TAIL = 8_000
_LARGEST_COUNT = (1 << 63) - 1
"""What a count of BuildKit's can be: it is an int64."""
_CANCELED = ("context canceled", "context cancelled")


@dataclass(slots=True)
class LineReader:
    """Makes lines of what one stream of a step prints, however it is cut to messages.

    Attributes:
        begun: the bytes of a character that has not ended.
        pieces: what has been printed of a line that has not ended.
        length: how many characters that is.
        is_cut: a part of that line has been told already.
    """

    begun: bytes = b""
    pieces: list[str] = field(default_factory=list)
    length: int = 0
    is_cut: bool = False

    def decode(self, data: bytes) -> str:
        """The text of some bytes; a character that ends in a later message is left to that."""
        data = self.begun + data
        text, used = utf_8_decode(data, "replace", False)  # noqa: FBT003  # it has no name
        self.begun = data[used:]
        return text

    def split(self, text: str) -> Iterator[str]:
        """Take a text, and give the lines that end in it."""
        *lines, rest = text.split("\n")
        for line in lines:
            yield from self._end_line(line)
        if rest:
            self.pieces.append(rest)
            self.length += len(rest)
        if self.length > LONGEST_LINE:
            yield from self._cut()

    def find_shown(self) -> str:
        """What the line is that is about to be written over; empty where none is.

        It is whole, so that a secret in it can be known: a carriage return has ended it.
        """
        tail = ""
        for piece in reversed(self.pieces):
            tail = f"{piece}{tail}"
            if tail.count("\r") > 1 or len(tail) > _LONGEST_SHOWN:
                break
        shown, returned, _ = tail.rpartition("\r")
        return write_over(shown) if returned and len(tail) <= _LONGEST_SHOWN else ""

    def end(self) -> Iterator[str]:
        """Give what is left."""
        rest, self.begun = "\ufffd" if self.begun else "", b""
        yield from filter(None, self._end_line(rest))

    def _end_line(self, last: str) -> Iterator[str]:
        line = "".join((*self.pieces, last)) if self.pieces else last
        if line or not self.is_cut:
            yield write_over(line)
        self.pieces, self.length, self.is_cut = [], 0, False

    def _cut(self) -> Iterator[str]:
        """Tell of a long line before it ends, unless most of it is written over."""
        line = "".join(self.pieces)
        # The next character may be what the line ends with, or write over all of it.
        returned = "\r" if line.endswith("\r") else ""
        line = write_over(line)
        if len(line) > LONGEST_LINE:
            # A word is not cut where that can be helped: a secret could be known no more.
            at = max(line.rfind(" ", -LONGEST_LINE // 16), 0) or len(line)
            yield line[:at]
            self.is_cut, line = True, line[at:]
        self.pieces = [f"{line}{returned}"]
        self.length = len(self.pieces[0])


def write_over(line: str) -> str:
    """A line as a terminal leaves it: a carriage return goes back over what was printed."""
    return line.rstrip("\r").rpartition("\r")[2]


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
        printing: what it prints, by stream.
        tail: the end of what it printed.
        is_cut: there was more before that.
        told_as: the digest by which its step is told; another one's where the step is several.
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
    printing: dict[int, LineReader] = field(default_factory=dict)
    tail: str = ""
    is_cut: bool = False
    told_as: str = ""

    def __post_init__(self) -> None:
        self.told_as = self.told_as or self.digest

    def is_part_of(self, other: Vertex) -> bool:
        """Whether both are one step, as what an `ADD` fetches and what it places."""
        return self.step is not None and self.step == other.step

    def print(self, data: bytes, stream: int) -> tuple[str, LineReader]:
        """Take what it prints; of a long log only the end is kept.

        Returns:
            that as text, and what makes lines of it.
        """
        reader = self.printing.get(stream)
        if reader is None:
            reader = self.printing[stream] = LineReader()
        text = reader.decode(data)
        self.log_bytes += len(data)
        self.is_cut = self.is_cut or len(self.tail) + len(text) > _LONGEST_TAIL
        self.tail = f"{self.tail}{text[-_LONGEST_TAIL:]}"[-_LONGEST_TAIL:]
        return text, reader

    def end_lines(self) -> Iterator[str]:
        """Give the lines that it has not ended, now that it prints no more."""
        for reader in self.printing.values():
            yield from reader.end()


def advance(vertex: Vertex, message: dict[str, Any]) -> None:
    """Take one message of a vertex into its state.

    The rule is told in `trace_reader`.
    """
    started, completed = read_text(message, "started"), read_text(message, "completed")
    cached, error = message.get("cached") is True, read_text(message, "error")
    if started and completed:
        vertex.spans[started] = completed
    vertex.started = vertex.started or (bool(started) and not cached and not vertex.promised)
    vertex.promised = (vertex.promised or cached) and not error
    if not completed:
        return
    vertex.error = error
    if error:
        canceled = error.endswith(_CANCELED)
        if not canceled:
            vertex.outcome = None if cached else Outcome.FAILED
        vertex.unloaded = error if cached and not canceled else vertex.unloaded
        vertex.started = vertex.started and not cached and not canceled
    elif cached:
        vertex.outcome = Outcome.REUSED
    elif not vertex.promised:
        vertex.outcome = Outcome.EXECUTED


def measure_spans(spans: dict[str, str]) -> float:
    """The seconds that spans of time cover together.

    One that ends before it begins, as when the clock is set back, covers none; nor does one whose
    times cannot be read.
    """
    covered, end = 0.0, float("-inf")
    known = ((_parse_time(a), _parse_time(b)) for a, b in spans.items())
    for start, stop in sorted(each for each in known if all(each)):
        covered += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return covered


def find_beginning(spans: Iterable[str]) -> float | None:
    """When the first of some spans of time began, in seconds since 1970."""
    return min((moment for moment in map(_parse_time, spans) if moment), default=None)


def _parse_time(text: str) -> float:
    """A moment in seconds since 1970; 0 for one that is unknown, or before that."""
    # Python reads at most microseconds; RFC 3339 of Go has up to nine digits.
    head, dot, tail = text.partition(".")
    digits = tail.rstrip("Z").partition("+")[0].partition("-")[0]
    zone = tail[len(digits) :] if dot else ""
    moment = f"{head}.{digits[:6]:0<6}{zone}" if dot else text
    try:
        return max(0.0, datetime.fromisoformat(moment).timestamp())
    except (ValueError, OverflowError, OSError):
        return 0.0


def read_text(message: dict[str, Any], key: str) -> str:
    """A text of a message; empty where there is none."""
    value = message.get(key)
    return value if isinstance(value, str) else ""


def read_warning(message: dict[str, Any]) -> str:
    """What a warning says, shortly where that is told; empty where it says nothing."""
    details = message.get("detail")
    texts = (message.get("short"), *(details if isinstance(details, list) else ()))
    read = (b"".join(decode_base64(each)).decode(errors="replace").strip() for each in texts)
    return next(filter(None, read), read_text(message, "url"))


def read_place(message: dict[str, Any]) -> tuple[str, list[int]]:
    """The text that a warning is about, and the lines in it, from 1; empty where it names none."""
    source, ranges = message.get("sourceInfo"), message.get("range")
    data = source.get("data") if isinstance(source, dict) else None
    text = b"".join(decode_base64(data)).decode(errors="replace")
    starts = (
        (each.get("start") for each in ranges if isinstance(each, dict))
        if isinstance(ranges, list)
        else ()
    )
    lines = (each.get("line") for each in starts if isinstance(each, dict))
    return text, [line for line in lines if isinstance(line, int)]


def read_count(message: dict[str, Any], key: str) -> int:
    """A count of a message; 0 where there is none, or none that BuildKit could have."""
    value = message.get(key)
    return value if isinstance(value, int) and 0 < value <= _LARGEST_COUNT else 0
