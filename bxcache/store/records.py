"""The records of each scope's builds, kept as opaque lines.

::

    DIR/.bxcache/records/NAME.jsonl     one JSON document per line, the last build's at the end

`NAME` is the same as in the journal. `schemas/bxcache-record.schema.json` describes a line.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from bxcache.config.quantities import format_size
from bxcache.errors import StoreError
from bxcache.oci.documents import MOST_RECORDS
from bxcache.store.journal import spell_scope

if TYPE_CHECKING:
    import os
    from collections.abc import Collection, Iterable

    from bxcache.store.folders import Folder

LARGEST_FILE = 4 << 20
"""The maximum size of a scope's records together, in bytes."""
LARGEST_RECORD = 2_000_000
"""The maximum size of one record, which leaves room for another to compare it with."""
_SUFFIX = ".jsonl"
_STRAYS_STAY = 30 * 86_400
"""How long to keep records of a scope without a cache (its builds failed), in seconds."""


class Records:
    """The records of a store. A caller that changes them holds the store's lock."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def read(self, scope: str) -> tuple[bytes, ...]:
        """The records of a scope, the last build's at the end; empty if they cannot be read."""
        try:
            return split_records(self._folder.read(name_file(scope), LARGEST_FILE))
        except (OSError, StoreError):
            return ()

    def add(self, scope: str, records: Iterable[bytes]) -> None:
        """Add records of later builds, and drop the oldest beyond the limits.

        Raises:
            OSError: they cannot be written.
            StoreError: a record is too large; the file is unchanged.
        """
        added = tuple(records)
        if any(len(each) > LARGEST_FILE for each in added):
            raise StoreError(
                f"the build record is larger than {format_size(LARGEST_FILE)}",
                hint="a build with fewer steps has a smaller record; the cache works without it",
            )
        kept = [each for each in self.read(scope) if each not in added]
        lines = [*kept, *added][-MOST_RECORDS:]
        while sum(map(len, lines)) > LARGEST_FILE:
            del lines[0]
        # The cache works without records, so do not wait for the disk.
        self._folder.make().write(name_file(scope), b"".join(lines), durable=False)

    def list_last_builds(self, scopes: Iterable[str]) -> dict[str, float]:
        """When each of these scopes was last built, if it has records."""
        files = self.list_files()
        names = {scope: name_file(scope) for scope in scopes}
        return {scope: files[name].st_mtime for scope, name in names.items() if name in files}

    def remove(self, scope: str) -> None:
        """Remove the records of a scope."""
        self._folder.remove(name_file(scope))

    def sweep(self, scopes: Collection[str]) -> None:
        """Remove old records that do not belong to a scope."""
        kept = {name_file(scope) for scope in scopes}
        for name, status in self.list_files().items():
            if name not in kept and time.time() - status.st_mtime > _STRAYS_STAY:
                self._folder.remove(name)

    def list_files(self) -> dict[str, os.stat_result]:
        """All files of records, by name."""
        files = self._folder.list_files()
        return {name: status for name, status in files.items() if name.endswith(_SUFFIX)}


def name_file(scope: str) -> str:
    """The file name of a scope's records."""
    return f"{spell_scope(scope)}{_SUFFIX}"


def split_records(data: bytes) -> tuple[bytes, ...]:
    """Split a file into records, each with its line break."""
    return tuple(line + b"\n" for line in data.split(b"\n") if line.strip())
