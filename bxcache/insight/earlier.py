"""The records of earlier builds, from every backend."""

from __future__ import annotations

from contextlib import suppress
from threading import Thread
from typing import TYPE_CHECKING

from msgspec import Struct

from bxcache.backends.declared import list_holders
from bxcache.errors import BxcacheError, RecordError
from bxcache.oci.documents import MOST_RECORDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bxcache.backends.holders import Holder
    from bxcache.config.loading import Setup
    from bxcache.insight.record import Record


LAST_BUILDS = 4
"""How many builds of a scope show what recurs: the last one, and those before it."""


class EarlierQuery(Struct, frozen=True):
    """Which earlier builds to read.

    Attributes:
        before: the builds must have started before this moment, in seconds since 1970.
        most: how many successful builds to read of each scope, the last one first. Failed builds
            since then are read too, but know nothing of the steps after the failed one.
        everywhere: read every backend; if not, for each scope the first one that knows it.
    """

    scopes: tuple[str, ...]
    before: float
    most: int = MOST_RECORDS
    everywhere: bool = True


def query_before(record: Record) -> EarlierQuery:
    """Query the builds before a given one, of its scope and of the scopes that it imported."""
    imported = (cache.scope for cache in record.caches if cache.imported)
    return EarlierQuery((record.scope.name, *imported), record.started)


def read_earlier(holders: Iterable[Holder], query: EarlierQuery) -> tuple[Record, ...]:
    """The records of earlier builds, the last one first, without those that cannot be read."""
    found: dict[tuple[str, float], Record] = {}
    known: set[str] = set()
    for holder in {holder.name: holder for holder in holders}.values():
        for scope in dict.fromkeys(filter(None, (holder.only, *query.scopes))):
            if query.everywhere or scope not in known:
                for each in _read_records(holder, scope, query.most):
                    known.add(scope)
                    if each.started < query.before:
                        found[each.scope.name, each.started] = each
    return tuple(sorted(found.values(), key=lambda each: -each.started))


class EarlierBuilds:
    """Reads the records of earlier builds in the background, once it is started."""

    def __init__(self, setup: Setup, query: EarlierQuery) -> None:
        self._found: tuple[Record, ...] = ()
        # A registry that does not answer must not keep the process from ending.
        self._thread = Thread(target=self._read, args=(setup, query), daemon=True)

    def start(self) -> None:
        """Start to read."""
        self._thread.start()

    def _read(self, setup: Setup, query: EarlierQuery) -> None:
        # The build itself reports a backend that it cannot read.
        with suppress(BxcacheError, OSError):
            self._found = read_earlier(list_holders(setup), query)

    @property
    def has_ended(self) -> bool:
        """Whether all records have been read."""
        return self._thread.ident is not None and not self._thread.is_alive()

    def wait(self, seconds: float | None = None) -> tuple[Record, ...]:
        """Return all the records, or none if reading takes longer; None waits forever."""
        if self._thread.ident is not None:
            self._thread.join(seconds)
        return self._found


def _read_records(holder: Holder, scope: str, most: int) -> Iterator[Record]:
    from bxcache.insight.record import parse_record  # noqa: PLC0415  # docker starts first

    succeeded = 0
    with suppress(BxcacheError):
        content = holder.read(scope)
        for data in content.records() if content is not None else ():
            with suppress(RecordError):
                record = parse_record(data, scope)
                yield record
                succeeded += not record.exit_status
            if succeeded == most:
                return
