"""BuildKit's stream as lines: one document per line, with secrets masked.

buildx before 0.14 prints each document indented over several lines.
"""

from __future__ import annotations

import base64
import binascii
import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from bxcache.buildx.values import read_items

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bxcache.redaction import Redactor

ERROR = "ERROR: "
"""The prefix of docker's own errors, which appear between the documents."""
_LIST = "errors:"
_ENCODED = frozenset({"data", "short", "detail"})
_LARGEST_DOCUMENT = 160 << 20
"""In characters: the maximum of a document over several lines, as for a single line."""
_PIECE = 1 << 20
"""How many base64 characters are decoded at once; a multiple of four."""


def list_errors(lines: Iterable[str]) -> list[str]:
    """List docker's errors without their prefix.

    A registry's errors follow, one per line:
    https://github.com/distribution/distribution/blob/v2.8.3/registry/api/errcode/errors.go

    >>> list_errors(["ERROR: failed to push: errors:", "denied: no", "unknown: sorry", "", "Bye"])
    ['failed to push: errors: denied: no; unknown: sorry']
    """
    found: list[str] = []
    listing = False
    for line in lines:
        if line.startswith(ERROR):
            found.append(line.removeprefix(ERROR))
            listing = line.endswith(_LIST)
        elif listing and line:
            found[-1] += f"{' ' if found[-1].endswith(_LIST) else '; '}{line}"
        else:
            listing = False
    return found


def join_documents(lines: Iterable[str]) -> Iterator[str]:
    """Join each document that spans several lines into one line."""
    document: list[str] = []
    length = 0
    for line in lines:
        if document and (not line.startswith((" ", "}")) or length > _LARGEST_DOCUMENT):
            yield from document
            document = []
        if document or line == "{":
            document.append(line)
            length = length + len(line) if len(document) > 1 else 0
        else:
            yield line
        if document and line == "}":
            yield "".join(each.strip() for each in document)
            document = []
    yield from document


def decode_base64(text: object) -> Iterator[bytes]:
    """Decode a base64 text piece by piece, to bound memory; stop at an error."""
    if not isinstance(text, str):
        return
    for start in range(0, len(text), _PIECE):
        try:
            yield binascii.a2b_base64(text[start : start + _PIECE], strict_mode=True)
        except ValueError:
            return


def decode_text(text: object) -> str:
    """Decode a base64 text to a text, up to an error."""
    return b"".join(decode_base64(text)).decode(errors="replace")


class StreamRedactor:
    """Masks the secrets in the lines of a stream, also inside base64.

    A step's output comes in pieces, which can end anywhere: the possible beginning of a secret
    waits for the next piece, or for the end of the step.
    """

    def __init__(self, redact: Redactor) -> None:
        self._redact = redact
        self._held: dict[tuple[str, str], dict[str, Any]] = {}
        """The held end of the last piece of each step and output."""

    def __call__(self, line: str) -> str:
        if not line.startswith("{"):
            return self._redact(line)
        try:
            document = json.loads(line)
            self._join_pieces(document)
            return self._mask(document)
        except (ValueError, RecursionError):
            return self._redact(line)

    def finish(self) -> Iterator[str]:
        """Yield the held pieces as one more line."""
        if self._held:
            yield self._mask({"logs": list(self._held.values())})
            self._held.clear()

    def _mask(self, document: object) -> str:
        masked = _redact_value("", document, self._redact)
        return json.dumps(masked, separators=(",", ":"), ensure_ascii=False)

    def _join_pieces(self, document: dict[str, Any]) -> None:
        pieces = read_items(document, "logs")
        for piece in pieces:
            # Skip a piece that is not base64.
            with suppress(ValueError):
                self._join_piece(piece)
        vertexes = read_items(document, "vertexes")
        ended = {str(each.get("digest")) for each in vertexes if each.get("completed")}
        rest = [self._held.pop(key) for key in tuple(self._held) if key[0] in ended]
        if rest:
            document["logs"] = [*pieces, *rest]

    def _join_piece(self, piece: dict[str, Any]) -> None:
        text = piece.get("data")
        if not isinstance(text, str):
            return
        key = (str(piece.get("vertex")), str(piece.get("stream")))
        end = binascii.a2b_base64(text[-_PIECE:], strict_mode=True)
        if key not in self._held and self._redact.find_cut(end) == len(end):
            return
        data = binascii.a2b_base64(text, strict_mode=True)
        if key in self._held:
            data = binascii.a2b_base64(self._held.pop(key)["data"]) + data
        cut = self._redact.find_cut(data)
        if cut < len(data):
            self._held[key] = {**piece, "data": _encode(data[cut:])}
        piece["data"] = _encode(data[:cut])


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _redact_value(name: str, value: Any, redact: Redactor) -> Any:  # noqa: ANN401  # any JSON value
    if isinstance(value, dict):
        return {key: _redact_value(key, each, redact) for key, each in value.items()}
    if isinstance(value, list):
        return [_redact_value(name, each, redact) for each in value]
    if not isinstance(value, str):
        return value
    return _redact_encoded(value, redact) if name in _ENCODED else redact(value)


def _redact_encoded(text: str, redact: Redactor) -> str:
    try:
        data = binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        return redact(text)
    # A log may contain any bytes, and a message may end within a character.
    plain = data.decode(errors="surrogateescape")
    masked = redact(plain)
    if masked == plain:
        return text
    return _encode(masked.encode(errors="surrogateescape"))
