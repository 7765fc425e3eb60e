"""A line of BuildKit's stream with the secrets masked, also those inside base64."""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bxcache.redaction import Redactor

_ENCODED = frozenset({"data", "short", "detail"})


def redact_line(line: str, redact: Redactor) -> str:
    """The line, fit to be shown; one that is no JSON is masked as text."""
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
