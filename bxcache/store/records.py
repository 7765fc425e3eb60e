"""The records of the builds of each scope, as a store keeps them: whole lines, never looked into.

::

    DIR/.bxcache/records/NAME.jsonl     a JSON document a line, the last build's at the end

`NAME` is the scope as its page of the journal has it. What a line means is told in
`schemas/bxcache-record.schema.json`.
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
"""So many bytes all of them have together."""
LARGEST_RECORD = 2_000_000
"""What one of them is to have at most, so that there is another to compare it with."""
_SUFFIX = ".jsonl"
_STRAYS_STAY = 30 * 86_400
"""How long the records of builds stay that never had a cache, since they failed; in seconds."""


class Records:
    """The records of a store. Whoever changes them holds the store's lock."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def read(self, scope: str) -> tuple[bytes, ...]:
        """The records of a scope, the last build's at the end; none where nothing can be read."""
        try:
            return split_records(self._folder.read(name_file(scope), LARGEST_FILE))
        except (OSError, StoreError):
            return ()

    def add(self, scope: str, records: Iterable[bytes]) -> None:
        """Add records of later builds, and drop the oldest where they get too many.

        Raises:
            OSError: they cannot be written.
            StoreError: one is too large to be kept; the others stay as they are.
        """
        added = tuple(records)
        if any(len(each) > LARGEST_FILE for each in added):
            raise StoreError(
                f"the record of the build has more than {format_size(LARGEST_FILE)}",
                hint="a build of fewer steps leaves a smaller one; the cache is as good without",
            )
        kept = [each for each in self.read(scope) if each not in added]
        lines = [*kept, *added][-MOST_RECORDS:]
        while sum(map(len, lines)) > LARGEST_FILE:
            del lines[0]
        # The cache is as good without; it is not worth waiting for the disk.
        self._folder.make().write(name_file(scope), b"".join(lines), durable=False)

    def list_last_builds(self, scopes: Iterable[str]) -> dict[str, float]:
        """When each of these scopes was built last, as far as there are records of it."""
        files = self.list_files()
        names = {scope: name_file(scope) for scope in scopes}
        return {scope: files[name].st_mtime for scope, name in names.items() if name in files}

    def remove(self, scope: str) -> None:
        """Forget the builds of a scope."""
        self._folder.remove(name_file(scope))

    def sweep(self, scopes: Collection[str]) -> None:
        """Forget builds of no scope that are long ago."""
        kept = {name_file(scope) for scope in scopes}
        for name, status in self.list_files().items():
            if name not in kept and time.time() - status.st_mtime > _STRAYS_STAY:
                self._folder.remove(name)

    def list_files(self) -> dict[str, os.stat_result]:
        """The files there are, by name."""
        files = self._folder.list_files()
        return {name: status for name, status in files.items() if name.endswith(_SUFFIX)}


def name_file(scope: str) -> str:
    """The name of the file that has the records of a scope."""
    return f"{spell_scope(scope)}{_SUFFIX}"


def split_records(data: bytes) -> tuple[bytes, ...]:
    """The records in a file, each with the end of its line."""
    return tuple(line + b"\n" for line in data.split(b"\n") if line.strip())
