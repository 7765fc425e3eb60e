"""The values that a backend reads from its stored records."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeGuard

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def is_trusted(record: bytes | None) -> bool:
    """Whether a record is of a trusted build."""
    return _read(record, "place").get("trusted") is True


def read_keys(records: Iterable[bytes]) -> Iterator[str]:
    """Read the hash keys in records."""
    return filter(is_key, (_read(each, "arguments").get("key") for each in records))


def is_key(value: object) -> TypeGuard[str]:
    """Whether a value of a record can be a hash key."""
    try:
        return isinstance(value, str) and bool(bytes.fromhex(value))
    except ValueError:
        return False


def _read(record: bytes | None, part: str) -> dict[str, Any]:
    """Read a part of a record; empty if unreadable."""
    try:
        found = json.loads(record or b"{}")
    except ValueError:
        return {}
    inner = found.get(part) if isinstance(found, dict) else None
    return inner if isinstance(inner, dict) else {}
