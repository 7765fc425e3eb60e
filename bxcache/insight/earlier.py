"""What earlier builds left, wherever it is kept."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from threading import Thread
from typing import TYPE_CHECKING

from bxcache.backends.declared import list_holders
from bxcache.errors import BxcacheError, RecordError
from bxcache.insight.record import parse_record
from bxcache.oci.documents import MOST_RECORDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bxcache.backends.holders import Holder
    from bxcache.config.loading import Setup
    from bxcache.insight.record import Record


@dataclass(frozen=True, slots=True)
class EarlierQuery:
    """Which builds are meant.

    Attributes:
        scopes: the scopes that they are of.
        before: only those that began before this, in seconds since 1970.
        most: so many of each scope that succeeded, from the last one; those that failed since count
            too. Of what comes behind the step that failed they know nothing.
        everywhere: all places are asked; else for each scope the first that knows it.
    """

    scopes: tuple[str, ...]
    before: float
    most: int = MOST_RECORDS
    everywhere: bool = True


def query_before(record: Record) -> EarlierQuery:
    """For the builds before one: of its scope, and of those that it started from."""
    imported = (cache.scope for cache in record.caches if cache.imported)
    return EarlierQuery((record.scope.name, *imported), record.started)


def read_earlier(holders: Iterable[Holder], query: EarlierQuery) -> tuple[Record, ...]:
    """The records of earlier builds. What cannot be read is left out.

    Returns:
        The last build's first.
    """
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
    """Reads what earlier builds left while something else goes on."""

    def __init__(self, setup: Setup, query: EarlierQuery) -> None:
        """Begin to read from all that the configuration declares."""
        self._found: tuple[Record, ...] = ()
        # A registry that does not answer must not keep the process from its end.
        self._thread = Thread(target=self._read, args=(setup, query), daemon=True)
        self._thread.start()

    def _read(self, setup: Setup, query: EarlierQuery) -> None:
        # A place that cannot be read is told of where it is to be used.
        with suppress(BxcacheError, OSError):
            self._found = read_earlier(list_holders(setup), query)

    def wait(self, seconds: float | None = None) -> tuple[Record, ...]:
        """What was found: all of it, or nothing where that takes longer.

        Args:
            seconds: how long to wait for it, None without end.
        """
        self._thread.join(seconds)
        return self._found


def _read_records(holder: Holder, scope: str, most: int) -> Iterator[Record]:
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
