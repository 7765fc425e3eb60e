"""Build arguments in a record: their values can be compared, but not read."""

from __future__ import annotations

import hmac
from hashlib import sha256
from typing import TYPE_CHECKING

from bxcache.buildx.extra_flags import find_values
from bxcache.insight.record import RecordedArguments
from bxcache.redaction import is_secret_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_HASH_LENGTH = 16


def hash_arguments(
    arguments: Sequence[str], environment: Mapping[str, str], key: str
) -> RecordedArguments:
    """The build arguments of a command, their values hashed with a key in hex."""
    values: dict[str, str | None] = {}
    for pair in list_build_arguments(arguments):
        name, equals, value = pair.partition("=")
        known = value if equals else environment.get(name)
        values[name] = None if known is None or is_secret_name(name) else _hash(known, key)
    return RecordedArguments(key=key, values=values)


def list_build_arguments(arguments: Sequence[str]) -> tuple[str, ...]:
    """The build arguments of a command, as `NAME=value` or `NAME`."""
    return tuple(filter(None, find_values(arguments, "--build-arg")))


def _hash(value: str, key: str) -> str:
    # A value may come from a variable, which can hold bytes that are not UTF-8.
    data = value.encode(errors="surrogateescape")
    return hmac.new(bytes.fromhex(key), data, sha256).hexdigest()[:_HASH_LENGTH]


def list_different(before: RecordedArguments, after: RecordedArguments) -> tuple[str, ...]:
    """The names of the build arguments that differ between two builds with the same key."""
    names = dict.fromkeys((*before.values, *after.values))
    absent = object()
    return tuple(
        name for name in names if before.values.get(name, absent) != after.values.get(name, absent)
    )
