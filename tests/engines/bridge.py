"""A unix socket that speaks to the BuildKit inside a Docker engine, as buildkitd's own would."""

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

UPGRADE = b"POST /grpc HTTP/1.1\r\nHost: engine\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
SWITCHED = b"HTTP/1.1 101 "
CHUNK = 1 << 18


@contextmanager
def buildkit_socket(engine: Path, path: Path) -> Iterator[None]:
    """Serve an engine's BuildKit on the unix socket `path` for as long as the context lasts."""
    with _Bridge(engine, path) as bridge:
        serving = threading.Thread(target=bridge.serve_forever, args=(0.05,), daemon=True)
        serving.start()
        try:
            yield
        finally:
            bridge.shutdown()
            serving.join()
    path.unlink(missing_ok=True)


class _Bridge(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, engine: Path, path: Path) -> None:
        self.engine = engine
        super().__init__(str(path), _Connection)


class _Connection(socketserver.BaseRequestHandler):
    request: socket.socket
    server: _Bridge

    def handle(self) -> None:
        with closing(socket.socket(socket.AF_UNIX)) as upstream:
            upstream.connect(str(self.server.engine))
            upstream.sendall(UPGRADE)
            if not _read_head(upstream).startswith(SWITCHED):
                return
            back = threading.Thread(target=_pipe, args=(upstream, self.request), daemon=True)
            back.start()
            _pipe(self.request, upstream)
            back.join()


def _read_head(upstream: socket.socket) -> bytes:
    """Read an answer's head and not a byte more: what follows belongs to the client."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = upstream.recv(1)
        if not byte:
            break
        head += byte
    return head


def _pipe(source: socket.socket, target: socket.socket) -> None:
    try:
        while chunk := source.recv(CHUNK):
            target.sendall(chunk)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        # Either end may close at any time; the other end learns of it from its own pipe.
        return
