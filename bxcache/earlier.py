"""What earlier builds left, wherever it is kept."""

from __future__ import annotations

from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING

from bxcache.config.backends import LocalBackend
from bxcache.config.reference import Reference
from bxcache.errors import BxcacheError, RecordError
from bxcache.holders import DirectoryHolder, RegistryHolder
from bxcache.insight.record import parse_record
from bxcache.location import find_location
from bxcache.store.records import MOST_RECORDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bxcache.config.loading import Setup
    from bxcache.holders import Holder
    from bxcache.insight.record import Record


def list_holders(setup: Setup) -> list[Holder]:
    """What a configuration declares that keeps records."""
    found: list[Holder] = []
    for backend in setup.config.cache.backends:
        if isinstance(backend, LocalBackend):
            location = find_location(setup)
            found += [DirectoryHolder(location.store.path)] if location else []
        elif backend.keeps_all:
            reference = Reference.parse(backend.ref)
            found.append(RegistryHolder.open(reference, insecure=backend.insecure))
    return found


def read_earlier(holders: Iterable[Holder], record: Record) -> tuple[Record, ...]:
    """The records of the builds before one: of its scope, and of those that it started from.

    What cannot be read is left out.

    Returns:
        The last build's first.
    """
    imported = (cache.scope for cache in record.caches if cache.imported)
    scopes = (record.scope.name, *imported)
    found = {
        (each.scope.name, each.started): each
        for holder in {holder.name: holder for holder in holders}.values()
        for scope in dict.fromkeys(filter(None, (holder.only, *scopes)))
        for each in _read_records(holder, scope)
        if each.started < record.started
    }
    return tuple(sorted(found.values(), key=lambda each: -each.started))


def _read_records(holder: Holder, scope: str) -> Iterator[Record]:
    with suppress(BxcacheError):
        content = holder.read(scope)
        for data in islice(content.records(), MOST_RECORDS) if content is not None else ():
            with suppress(RecordError):
                yield parse_record(data, scope)
