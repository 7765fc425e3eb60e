"""The vertices of a build, updated message by message."""

from __future__ import annotations

from codecs import utf_8_decode
from collections import defaultdict
from itertools import chain
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from bxcache.buildx.stream.events import Outcome
from bxcache.buildx.stream.raw import decode_text
from bxcache.buildx.values import as_list, as_table, read_items, read_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bxcache.buildx.stream.names import StepName

LONGEST_LINE = 1 << 20
"""In characters. Longer lines are split, to bound memory."""
_LONGEST_SHOWN = 4_000
"""In characters: the maximum of a line that is overwritten again and again."""
_LONGEST_TAIL = 8_000
_CANCELED = ("context canceled", "context cancelled")


class LineReader(Struct):
    """Splits the output of one stream of a step into lines, however its messages divide it.

    Attributes:
        begun: the bytes of an incomplete character.
        pieces: the text of an incomplete line, of a length in characters.
        is_cut: whether a part of the line was already reported.
    """

    begun: bytes = b""
    pieces: list[str] = field(default_factory=list)
    length: int = 0
    is_cut: bool = False

    def decode(self, data: bytes) -> str:
        """Decode bytes; an incomplete character waits for the next message."""
        data = self.begun + data
        text, used = utf_8_decode(data, "replace", False)  # noqa: FBT003  # positional-only
        self.begun = data[used:]
        return text

    def split(self, text: str) -> Iterator[str]:
        """Add a text and yield the lines that it completes."""
        *lines, rest = text.split("\n")
        for line in lines:
            yield from self._end_line(line)
        if rest:
            self.pieces.append(rest)
            self.length += len(rest)
        if self.length > LONGEST_LINE:
            yield from self._cut()

    def find_shown(self) -> str | None:
        """Return the complete line that is about to be overwritten, if there is one.

        A carriage return ended it, so a secret in it is complete and can be masked.
        """
        tail = ""
        for piece in reversed(self.pieces):
            tail = f"{piece}{tail}"
            if tail.count("\r") > 1 or len(tail) > _LONGEST_SHOWN:
                break
        shown, returned, _ = tail.rpartition("\r")
        return write_over(shown) if returned and len(tail) <= _LONGEST_SHOWN else None

    def end(self) -> Iterator[str]:
        rest, self.begun = "\ufffd" if self.begun else "", b""
        yield from filter(None, self._end_line(rest))

    def _end_line(self, last: str) -> Iterator[str]:
        line = "".join((*self.pieces, last)) if self.pieces else last
        if line or not self.is_cut:
            yield write_over(line)
        self.pieces, self.length, self.is_cut = [], 0, False

    def _cut(self) -> Iterator[str]:
        """Yield a long line before it ends, unless most of it is overwritten."""
        line = "".join(self.pieces)
        # The next character may end the line, or overwrite all of it.
        returned = "\r" if line.endswith("\r") else ""
        line = write_over(line)
        if len(line) > LONGEST_LINE:
            # Avoid splitting a word, since a split secret could not be masked.
            at = max(line.rfind(" ", -LONGEST_LINE // 16), 0) or len(line)
            yield line[:at]
            self.is_cut, line = True, line[at:]
        self.pieces = [f"{line}{returned}"]
        self.length = len(self.pieces[0])


def write_over(line: str) -> str:
    """Return a line as a terminal shows it: a carriage return overwrites what came before."""
    return line.rstrip("\r").rpartition("\r")[2]


class Part(Struct):
    """A part of a vertex's work: its times, ends by starts, and how many bytes it moved."""

    spans: dict[str, str] = field(default_factory=dict)
    bytes: int = 0
    is_running: bool = False


class Vertex(Struct):
    """The state of a vertex.

    Attributes:
        promised: it was found in a cache, but may still fail to load.
        unloaded: why a result found in a cache could not be loaded.
        written: the cache manifest that it wrote.
        spans: the times of its work, ends by starts.
        parts: the parts of its work that BuildKit reports by a status, by the status's name.
        tail: the end of its output; `is_cut` if output before was dropped.
        is_running: whether its work goes on, as far as it is no step.
        reported_as: the digest in its step's events; another vertex's if the step has several.
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
    parts: dict[str, Part] = field(default_factory=dict)
    printing: dict[int, LineReader] = field(default_factory=lambda: defaultdict(LineReader))
    tail: str = ""
    is_cut: bool = False
    is_running: bool = False
    reported_as: str = ""

    def __post_init__(self) -> None:
        self.reported_as = self.reported_as or self.digest

    @property
    def text(self) -> str:
        """Its instruction, or BuildKit's name for it."""
        return self.step.text if self.step is not None else self.name

    def is_part_of(self, other: Vertex) -> bool:
        """Whether both belong to one step, like the fetch and the copy of an `ADD`."""
        return self.step is not None and self.step == other.step

    def print(self, data: bytes, stream: int) -> tuple[str, LineReader]:
        """Add output, of a long log only the end; return it as text, and its line reader."""
        reader = self.printing[stream]
        text = reader.decode(data)
        self.log_bytes += len(data)
        self.is_cut = self.is_cut or len(self.tail) + len(text) > _LONGEST_TAIL
        self.tail = f"{self.tail}{text[-_LONGEST_TAIL:]}"[-_LONGEST_TAIL:]
        return text, reader

    def end_lines(self) -> Iterator[str]:
        """Yield incomplete lines, once it prints nothing more."""
        return chain.from_iterable(reader.end() for reader in self.printing.values())


def advance(vertex: Vertex, message: dict[str, Any]) -> None:
    """Update a vertex from one of its messages, by the rules in `reader`."""
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


def read_warning(message: dict[str, Any]) -> str:
    """Return a warning's text, the short one if there is one; empty without any."""
    texts = (message.get("short"), *as_list(message.get("detail")))
    read = (decode_text(each).strip() for each in texts)
    return next(filter(None, read), read_text(message, "url"))


def read_excerpt(message: dict[str, Any]) -> tuple[str, list[int]]:
    """Return the text that a warning is about and its lines, from 1; empty if it names none."""
    data = as_table(message.get("sourceInfo")).get("data")
    lines = (as_table(each.get("start")).get("line") for each in read_items(message, "range"))
    return decode_text(data), [line for line in lines if isinstance(line, int)]
