"""A proxy in front of a registry, which plays the faults that a test wants."""

import io
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from types import TracebackType
from typing import Self

from tests.engines.exchanges import Request
from tests.engines.faults import UNREACHABLE, Answer, Cut, Delay, Fault, Hold, Rule, Stall, Vanish
from tests.engines.messages import (
    CHUNK,
    Head,
    body_pieces,
    drained,
    half_of_body,
    made_up,
    read_head,
)

LOOPBACK = "127.0.0.1"
BACKLOG = 128
# The interval at which the proxy checks whether to stop, in seconds.
POLL = 0.1
# How long a client has to take an answer that came before it had sent everything.
LINGER = 1.0
# The first byte of a client that tries TLS; it continues in HTTP after an HTTP answer.
HANDSHAKE = b"\x16"
NO_TLS = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
RESET = struct.pack("ii", 1, 0)


@dataclass
class _Entry:
    matching: Rule
    fault: Fault
    left: int | None


@dataclass(frozen=True)
class _Call:
    """A connection of a client and the one request that it brings."""

    client: socket.socket
    stream: io.BufferedReader
    head: Head
    tell: Callable[[int], None]

    def send(self, content: bytes, status: int) -> None:
        """Begin the answer; it is recorded before the client has it."""
        self.tell(status)
        self.client.sendall(content)

    def reset(self) -> None:
        """Make the connection end with a reset when it is closed."""
        self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)

    def invite(self) -> None:
        """Invite the client to send its body, if it waits for that."""
        if self.head.expects:
            self.client.sendall(CONTINUE)


class FaultyProxy:
    """A registry's second address, on a free port of the loopback interface, in plain HTTP.

    A request without a fault is passed on unchanged, Host included: the registry's own links lead
    back here. A connection serves one request.
    """

    def __init__(self, upstream: str) -> None:
        """Choose the registry by its host and port."""
        host, _, port = upstream.rpartition(":")
        self._upstream = (host, int(port))
        self._entries: list[_Entry] = []
        self._requests: list[Request] = []
        self._moved = Counter[str]()
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._sockets: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener: socket.socket | None = None
        self._place = socket.socket()

    @property
    def address(self) -> str:
        """Host and port, as in the name of an image."""
        return f"{LOOPBACK}:{self._place.getsockname()[1]}"

    @property
    def requests(self) -> list[Request]:
        """All requests so far, oldest first, whatever their outcome."""
        with self._changed:
            return list(self._requests)

    @property
    def sent(self) -> int:
        """The bytes that clients have sent to the registry in bodies of requests."""
        return self._moved["up"]

    @property
    def received(self) -> int:
        """The bytes that clients have received from the registry in bodies of answers."""
        return self._moved["down"]

    def fail(self, *, fault: Fault, matching: Rule | None = None, times: int | None = None) -> None:
        """Make requests fail from now on: those of a rule, and only this many times, if given.

        If several faults match a request, the first of them applies.
        """
        with self._changed:
            self._entries.append(_Entry(matching or Rule(), fault, times))

    def refuse(self) -> None:
        """Refuse every connection from now on; the port remains this proxy's."""
        with self._changed:
            listener, self._listener = self._listener, None
        if listener:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()

    def heal(self) -> None:
        """Forget all faults; a client that waits for an answer continues to wait."""
        with self._changed:
            self._entries.clear()
            closed = self._listener is None
        if closed:
            self._listen()

    def wait_for(self, matching: Rule, within: float = 60.0, *, after: int = 0) -> Request:
        """Wait for a request that matches a rule, apart from the first ones, and return it."""

        def found() -> Request | None:
            counted = self._requests[after:]
            meant = (one for one in counted if matching.matches(one.method, one.path))
            return next(meant, None)

        with self._changed:
            request = self._changed.wait_for(found, within)
        if request is None:
            raise TimeoutError(f"no request came for {matching}")
        return request

    def __enter__(self) -> Self:
        # A bound socket that does not listen keeps the port, and connections are refused.
        self._place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._place.bind((LOOPBACK, 0))
        try:
            self._listen()
        except BaseException:
            self._place.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopping.set()
        self.refuse()
        with self._changed:
            for each in self._sockets:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
        while self._threads:
            self._threads.pop().join()
        self._place.close()

    def _listen(self) -> None:
        listener = socket.socket()
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(self._place.getsockname())
            listener.listen(BACKLOG)
        except BaseException:
            listener.close()
            raise
        with self._changed:
            self._listener = listener
        self._run(self._accept, listener)

    def _run(self, work: Callable[[socket.socket], None], given: socket.socket) -> None:
        thread = threading.Thread(target=work, args=(given,), daemon=True)
        with self._changed:
            # Whoever waits for the threads may do so at any time, and only for those that run.
            thread.start()
            self._threads = [one for one in (*self._threads, thread) if one.is_alive()]

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self._run(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        # Either end may close at any time; the other end learns of it from its own connection.
        with suppress(OSError, ValueError), self._tracked(client), client.makefile("rb") as stream:
            if stream.peek(1)[:1] == HANDSHAKE:
                client.sendall(NO_TLS)
                return
            head = read_head(stream)
            if head is None:
                return
            number, fault = self._arrive(head.method, head.path)
            self._handle(_Call(client, stream, head, partial(self._settle, number)), fault)

    def _arrive(self, method: str, path: str) -> tuple[int, Fault | None]:
        with self._changed:
            meant = (one for one in self._entries if one.matching.matches(method, path))
            entry = next((one for one in meant if one.left != 0), None)
            if entry and entry.left:
                entry.left -= 1
            self._requests.append(Request(method, path, 0, spoiled=entry is not None))
            self._changed.notify_all()
            return len(self._requests) - 1, entry.fault if entry else None

    def _settle(self, number: int, status: int) -> None:
        with self._changed:
            self._requests[number] = replace(self._requests[number], status=status)
            self._changed.notify_all()

    def _handle(self, call: _Call, fault: Fault | None) -> None:
        match fault:
            case Answer():
                _answer(call, fault)
            case Stall():
                call.invite()
                while call.stream.read1(CHUNK):
                    pass
            case Cut(halfway=False):
                call.invite()
                drained(body_pieces(call.stream, call.head))
                call.reset()
            case Vanish():
                self.refuse()
                call.reset()
            case Delay(seconds):
                if not self._stopping.wait(seconds):
                    self._pass_on(call)
            case Hold():
                self._pass_on(call, hold=fault)
            case _:
                self._pass_on(call, cut=fault is not None)

    def _pass_on(self, call: _Call, *, cut: bool = False, hold: Hold | None = None) -> None:
        try:
            server = socket.create_connection(self._upstream)
        except OSError:
            _answer(call, UNREACHABLE)
            return
        with self._tracked(server), server.makefile("rb") as answers:
            call.invite()
            body = body_pieces(call.stream, call.head)
            _send(server, call.head.last(), self._counted("up", body))
            head = read_head(answers)
            while head and head.status < 200:
                head = read_head(answers)
            if head is None:
                return
            if cut:
                half = answers.read(head.length // 2) if call.head.method != "HEAD" else b""
                call.send(head.last() + half, head.status)
                call.reset()
                return
            call.send(head.last(), head.status)
            if hold and hold.least <= head.length and call.head.method != "HEAD":
                call.client.sendall(answers.read(head.length // 2))
                while not self._stopping.is_set() and not hold.released.wait(POLL):
                    pass
            for piece in self._counted("down", iter(partial(answers.read1, CHUNK), b"")):
                call.client.sendall(piece)

    def _counted(self, direction: str, pieces: Iterable[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            with self._changed:
                self._moved[direction] += len(piece)
            yield piece

    @contextmanager
    def _tracked(self, own: socket.socket) -> Iterator[None]:
        with own:
            with self._changed:
                self._sockets.add(own)
                if self._stopping.is_set():
                    own.shutdown(socket.SHUT_RDWR)
            try:
                yield
            finally:
                with self._changed:
                    self._sockets.discard(own)


def _answer(call: _Call, answer: Answer) -> None:
    content = made_up(answer, with_body=call.head.method != "HEAD")
    if answer.halfway:
        call.invite()
        drained(half_of_body(call.stream, call.head))
    elif not call.head.expects:
        # If anything were unread, the connection would end with a reset, without the answer.
        drained(body_pieces(call.stream, call.head))
    call.send(content, answer.status)
    call.client.shutdown(socket.SHUT_WR)
    limit = time.monotonic() + LINGER
    call.client.settimeout(LINGER)
    while time.monotonic() < limit and call.stream.read1(CHUNK):
        pass


def _send(server: socket.socket, head: bytes, pieces: Iterable[bytes]) -> None:
    listens = True
    for piece in chain((head,), pieces):
        try:
            if listens:
                server.sendall(piece)
        except OSError:
            # The registry may answer and hang up before it has read everything.
            listens = False
