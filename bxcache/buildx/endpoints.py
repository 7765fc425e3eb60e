"""Whether a BuildKit daemon answers at an address."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Sequence

_SECONDS = 5.0
# What a client sends first, and an empty frame of settings, which a server answers with its own:
# https://www.rfc-editor.org/rfc/rfc9113#section-3.4
_SETTINGS, _TYPE_AT = b"\x04", 3
_HELLO = b"".join((b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", bytes(3), _SETTINGS, bytes(5)))
_SILENT = f"nothing answers within {_SECONDS:.0f} s"


def explain_unreachable(endpoints: Sequence[tuple[str, bool]]) -> list[str]:
    """Explain for each address why no daemon answers there; empty for one that does.

    All are tried at once, each for 5 s. Only `tcp://` and `unix://` can be tried; others count as
    reached, and so does one with TLS that accepts the connection.

    Args:
        endpoints: the addresses, and whether each has TLS.
    """
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415  # 10 ms

    with ThreadPoolExecutor(max(1, len(endpoints))) as pool:
        return [*pool.map(lambda each: _explain(*each), endpoints)]


def _explain(endpoint: str, has_tls: bool) -> str:  # noqa: FBT001  # as in the pair
    try:
        opened = _connect(endpoint)
        if opened is None:
            return ""
        with opened:
            return "" if has_tls or _greets(opened) else "it is no BuildKit daemon"
    except TimeoutError:
        return _SILENT
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error)


def _connect(endpoint: str) -> socket.socket | None:
    parts = urlsplit(endpoint)
    if parts.scheme == "tcp":
        return socket.create_connection((parts.hostname or "", parts.port or 0), _SECONDS)
    if parts.scheme != "unix":
        return None
    opened = socket.socket(socket.AF_UNIX)
    try:
        opened.settimeout(_SECONDS)
        opened.connect(f"{parts.netloc}{parts.path}")
    except OSError:
        opened.close()
        raise
    return opened


def _greets(opened: socket.socket) -> bool:
    """Whether the other side speaks HTTP/2, as BuildKit does: its first frame is of settings."""
    opened.sendall(_HELLO)
    head = b""
    while len(head) <= _TYPE_AT and (more := opened.recv(_TYPE_AT + 1 - len(head))):
        head += more
    return head[_TYPE_AT:] == _SETTINGS
