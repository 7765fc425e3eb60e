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
_ENCODED = frozenset({"data", "short", "detail"})


def list_errors(lines: Iterable[str]) -> list[str]:
    """What docker says to be wrong, each without the sign of it."""
    return [line.removeprefix(ERROR) for line in lines if line.startswith(ERROR)]


def join_documents(lines: Iterable[str]) -> Iterator[str]:
    """The lines, with a document that is spread over several of them joined to one."""
    document: list[str] = []
    for line in lines:
        if document and not line.startswith((" ", "}")):
            yield from document
            document = []
        if document or line == "{":
            document.append(line)
        else:
            yield line
        if document and line == "}":
            yield "".join(each.strip() for each in document)
            document = []
    yield from document


def redact_line(line: str, redact: Redactor) -> str:
    """The line with the secrets masked, also those inside base64."""
    if not line.startswith("{"):
        return redact(line)
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        return redact(line)
    return json.dumps(
        _redact_value("", document, redact), separators=(",", ":"), ensure_ascii=False
    )


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
        plain = base64.b64decode(text, validate=True).decode()
    except (binascii.Error, ValueError):
        return text
    masked = redact(plain)
    return text if masked == plain else base64.b64encode(masked.encode()).decode()
