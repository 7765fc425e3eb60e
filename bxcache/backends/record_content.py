"""What a backend reads in the records that it keeps."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeGuard

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def is_trusted(record: bytes | None) -> bool:
    """Whether a build was trusted, by its record."""
    return _read(record, "place").get("trusted") is True


def read_keys(records: Iterable[bytes]) -> Iterator[str]:
    """The keys of the hashes in records."""
    return filter(is_key, (_read(each, "arguments").get("key") for each in records))


def is_key(value: object) -> TypeGuard[str]:
    """Whether a value of a record can be a key of hashes."""
    try:
        return isinstance(value, str) and bool(bytes.fromhex(value))
    except ValueError:
        return False


def _read(record: bytes | None, part: str) -> dict[str, Any]:
    """A part of a record; empty where it cannot be read."""
    try:
        found = json.loads(record or b"{}")
    except ValueError:
        return {}
    inner = found.get(part) if isinstance(found, dict) else None
    return inner if isinstance(inner, dict) else {}
