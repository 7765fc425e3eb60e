"""Values of JSON documents that other programs write; one of another type counts as missing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


def as_number(value: object) -> int:
    """Return a number, or 0 for any other value."""
    return value if isinstance(value, int) else 0


def as_table(value: object) -> dict[str, Any]:
    """Return a JSON object, or an empty one for any other value."""
    return value if isinstance(value, dict) else {}


def parse_table(text: str) -> dict[str, Any]:
    """Parse a JSON object; return an empty one for any other text."""
    try:
        return as_table(json.loads(text))
    except (ValueError, RecursionError):
        return {}


def as_list(value: object) -> list[Any]:
    """Return a list, or an empty one for any other value."""
    return value if isinstance(value, list) else []


def read_text(message: Mapping[str, Any], key: str) -> str:
    """Return a string of a message, or an empty string."""
    value = message.get(key)
    return value if isinstance(value, str) else ""


def read_items(message: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """Return the objects in a list of a message."""
    return [each for each in as_list(message.get(key)) if isinstance(each, dict)]


def read_count(message: Mapping[str, Any], key: str) -> int:
    """Return a count of a message, which is an int64; 0 if it is missing or out of range."""
    count = as_number(message.get(key))
    return count if 0 < count < 1 << 63 else 0
