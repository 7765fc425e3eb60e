"""The identity of the scopes of a store, of which the index has only the names."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from bxcache.place.scope import Owner, Scope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


def identify_scopes(
    names: Iterable[str], read_records: Callable[[list[str]], Mapping[str, bytes]]
) -> dict[str, Scope | None]:
    """The scope behind each name; None if neither the name nor a record of a build says it.

    `read_records` reads the last record of each of some scopes.
    """
    known = {name: Scope.parse(name) for name in names}
    # Records are large, so they are read only for names that a hash has shortened.
    hashed = [name for name, scope in known.items() if scope is None]
    records = read_records(hashed)
    return known | {name: _read_scope(name, record) for name, record in records.items()}


def _read_scope(name: str, record: bytes) -> Scope | None:
    try:
        known = json.loads(record)["scope"]
        owner = Owner.parse(known.get("branch") or "")
        platforms = tuple(known.get("platforms", ()))
        scope = Scope(known["image"], known.get("target"), platforms, owner)
        is_own = scope.name == name
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    return scope if is_own else None
