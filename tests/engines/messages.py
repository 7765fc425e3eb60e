"""HTTP messages as they pass on a connection, unchanged down to the framing of their bodies."""

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from http import HTTPStatus

from tests.engines.faults import Answer

CHUNK = 1 << 16
# The fields that concern one connection, and not the request or the answer.
OF_THE_CONNECTION = ("connection", "keep-alive", "proxy-connection", "expect")


@dataclass(frozen=True)
class Head:
    """The first line of a message and the fields after it."""

    first: str
    fields: tuple[tuple[str, str], ...]

    @property
    def method(self) -> str:
        """A request's method."""
        return self.first.partition(" ")[0]

    @property
    def path(self) -> str:
        """A request's path with its query."""
        return self.first.split(" ")[1]

    @property
    def status(self) -> int:
        """An answer's status."""
        return int(self.first.split(" ")[1])

    @property
    def length(self) -> int:
        """The length of the body in bytes, if it is known."""
        return int(self.field("content-length") or 0)

    @property
    def is_chunked(self) -> bool:
        """Whether the body comes in chunks, each with its length."""
        return self.field("transfer-encoding").lower() == "chunked"

    @property
    def expects(self) -> bool:
        """Whether the client waits for an invitation to send its body."""
        return self.field("expect").lower() == "100-continue"

    def field(self, name: str) -> str:
        """Return a field by its name in small letters, empty if it is missing."""
        return next((value for key, value in self.fields if key.lower() == name), "")

    def last(self) -> bytes:
        """Return the message's head for a connection that ends after it."""
        kept = [pair for pair in self.fields if pair[0].lower() not in OF_THE_CONNECTION]
        lines = (f"{name}: {value}" for name, value in [*kept, ("Connection", "close")])
        return "\r\n".join((self.first, *lines, "", "")).encode("latin-1")


def read_head(stream: io.BufferedReader) -> Head | None:
    """Read a message's head; None if there is no more of them."""
    first = stream.readline(CHUNK).decode("latin-1").rstrip("\r\n")
    if first.count(" ") < 2:
        return None
    fields = []
    while line := stream.readline(CHUNK).decode("latin-1").rstrip("\r\n"):
        name, _, value = line.partition(":")
        fields.append((name, value.strip()))
    return Head(first, tuple(fields))


def body_pieces(stream: io.BufferedReader, head: Head) -> Iterator[bytes]:
    """Yield a request's body as it comes, framing and all."""
    if not head.is_chunked:
        yield from _exactly(stream, head.length)
        return
    size = 1
    while size:
        line = stream.readline(CHUNK)
        yield line
        size = int(line.partition(b";")[0], 16)
        if size:
            yield from _exactly(stream, size + 2)
    while (line := stream.readline(CHUNK)).strip():
        yield line
    yield line


def half_of_body(stream: io.BufferedReader, head: Head) -> Iterator[bytes]:
    """Yield half of a request's body or, if its length is unknown, the first piece."""
    if not head.is_chunked:
        yield from _exactly(stream, head.length // 2)
        return
    pieces = body_pieces(stream, head)
    yield next(pieces)
    yield next(pieces)


def drained(pieces: Iterable[bytes]) -> int:
    """Read and discard the pieces; return the number of bytes."""
    return sum(map(len, pieces))


def made_up(answer: Answer, *, with_body: bool) -> bytes:
    """Return an answer as it is sent."""
    told = (("Content-Type", "application/json"), ("Content-Length", str(len(answer.body))))
    first = f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}"
    head = Head(first, (*told, *answer.headers)).last()
    return head + answer.body if with_body else head


def _exactly(stream: io.BufferedReader, length: int) -> Iterator[bytes]:
    while length:
        piece = stream.read1(min(CHUNK, length))
        if not piece:
            raise ConnectionError("the body ends too early")
        length -= len(piece)
        yield piece
