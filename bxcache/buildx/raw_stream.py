"""BuildKit's stream as lines: one document on each, and fit to be shown.

buildx before 0.14 prints each document indented over several lines.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bxcache.redaction import Redactor

ERROR = "ERROR: "
"""How docker's own errors begin, which stand between the documents."""
_LIST = "errors:"
_ENCODED = frozenset({"data", "short", "detail"})
_LARGEST_DOCUMENT = 160 << 20
"""What a document over several lines has at most, in characters: no more than a line has."""
_PIECE = 1 << 20
"""How much of a text in base64 is decoded at once; a multiple of four."""


def list_errors(lines: Iterable[str]) -> list[str]:
    """What docker says to be wrong, each without the sign of it.

    Where a registry has several objections they follow, one on each line:
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
    """The lines, with a document that is spread over several of them joined to one."""
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
    """The bytes that a text in base64 stands for, piece by piece, so that a large one is never
    there as a whole; what is none ends it."""
    if not isinstance(text, str):
        return
    for start in range(0, len(text), _PIECE):
        try:
            yield binascii.a2b_base64(text[start : start + _PIECE], strict_mode=True)
        except ValueError:
            return


def redact_line(line: str, redact: Redactor) -> str:
    """The line with the secrets masked, also those inside base64."""
    if not line.startswith("{"):
        return redact(line)
    try:
        masked = _redact_value("", json.loads(line), redact)
        return json.dumps(masked, separators=(",", ":"), ensure_ascii=False)
    except (ValueError, RecursionError):
        return redact(line)


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
    # A log can have any bytes, and a message can end within a character.
    plain = data.decode(errors="surrogateescape")
    masked = redact(plain)
    if masked == plain:
        return text
    return base64.b64encode(masked.encode(errors="surrogateescape")).decode()
