"""The identity of the scopes of a store, of which the index has only the names."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from bxcache.place.scope import Owner, Scope

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bxcache.store.store import Store


def identify_scopes(store: Store, names: Iterable[str]) -> dict[str, Scope | None]:
    """The scope behind each name; None if neither the name nor a record of a build says it.

    Raises:
        StoreError: the store cannot be read.
    """
    # Records are large, so they are read only for names that a hash has shortened.
    return {name: Scope.parse(name) or _find_recorded(store, name) for name in names}


def _find_recorded(store: Store, name: str) -> Scope | None:
    for data in reversed(store.read_records(name)):
        try:
            known = json.loads(data)["scope"]
            owner = Owner.parse(known.get("branch") or "")
            platforms = tuple(known.get("platforms", ()))
            scope = Scope(known["image"], known.get("target"), platforms, owner)
            if scope.name == name:
                return scope
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            continue
    return None
