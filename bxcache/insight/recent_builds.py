"""The last builds in each working directory, independent of their caches.

::

    CACHE/bxcache/builds/DIRECTORY-CHECKOUT-MOMENT.json

`CACHE` is the user's cache folder. `DIRECTORY` is a hash of the working directory, `CHECKOUT` a
hash of its branch or tag, `MOMENT` counts nanoseconds since 1970; each file contains one record.
Only the user can read them. Links are not followed, and the oldest files are removed.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import time
from collections import Counter, deque
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from bxcache.backends.holders import Content
from bxcache.config.paths import find_cache_folder
from bxcache.errors import RecordError, StoreError
from bxcache.insight.record import parse_record
from bxcache.oci.documents import MOST_RECORDS
from bxcache.store.journal import LARGEST_FILE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from bxcache.insight.record import Record
    from bxcache.oci.documents import CacheConfig
    from bxcache.place.scope import Owner

MOST_BUILDS = 200
"""The largest number of builds, of all directories."""
MOST_BYTES = 32 << 20
"""The largest total size of their records, in bytes."""
_NAME = re.compile(r"(?P<where>[0-9a-f]{16})-(?P<what>[0-9a-f]{16})-(?P<at>\d{19})\.json(?:\.tmp)?")
_OPENED = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Checkout(Struct, frozen=True):
    """Where builds run: a working directory, and the branch or tag that is checked out there."""

    directory: Path
    owner: Owner

    @property
    def keys(self) -> tuple[str, str]:
        """The first two parts of the name of each record's file."""
        return _hash(os.path.realpath(self.directory)), _hash(self.owner.kind, self.owner.text)


def add_build(checkout: Checkout, record: bytes) -> None:
    """Store a record as the last build of its directory; OSError if it cannot be written."""
    folder = find_folder()
    if not folder.is_absolute():
        raise FileNotFoundError("the user has no home folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    with _open_folder(folder) as handle:
        known = _list_names(handle)
        # After the clock was set back, an older build must not become the last one.
        moment = max([time.time_ns(), *(int(each["at"]) + 1 for each in known[:1])])
        name = f"{'-'.join(checkout.keys)}-{moment:019}.json"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(f"{name}.tmp", flags, 0o600, dir_fd=handle), "wb") as stream:
            stream.write(record)
        os.replace(f"{name}.tmp", name, src_dir_fd=handle, dst_dir_fd=handle)
        _remove_oldest(handle)


def read_builds(checkout: Checkout, *, any_checkout: bool = False) -> Iterator[bytes]:
    """The records of the last builds of a directory, the last one first."""
    where, what = checkout.keys
    with suppress(OSError), _open_folder(find_folder()) as handle:
        for each in _list_names(handle):
            if each["where"] == where and (any_checkout or each["what"] == what):
                with suppress(OSError):
                    yield _read(handle, each[0])


def read_trusted(checkout: Checkout, scope: str) -> Iterator[Record]:
    """The records of the last trusted builds of a scope, the last one first."""
    records = (record for record, _ in RecentHolder(checkout).builds)
    return (each for each in records if each.scope.name == scope and each.place.trusted)


class RecentHolder:
    """The builds of a directory, in the form of a backend without caches."""

    def __init__(self, checkout: Checkout, *, any_checkout: bool = False) -> None:
        self.name = str(find_folder())
        self.only: str | None = None
        self._checkout, self._any = checkout, any_checkout

    @cached_property
    def builds(self) -> tuple[tuple[Record, bytes], ...]:
        """The readable records with their bytes, the last build first."""
        found = []
        for data in read_builds(self._checkout, any_checkout=self._any):
            with suppress(RecordError):
                found.append((parse_record(data, self.name), data))
        return tuple(found)

    def _list_of(self, scope: str) -> list[tuple[Record, bytes]]:
        return [each for each in self.builds if each[0].scope.name == scope]

    def list_scopes(self) -> list[str]:
        return list(dict.fromkeys(record.scope.name for record, _ in self.builds))

    def read(self, scope: str) -> Content | None:
        found = [data for _, data in self._list_of(scope)]
        return Content(scope, None, lambda: iter(found), _refuse_config) if found else None

    def is_in(self, content: Content, backend: Mapping[str, Any]) -> bool:
        """Whether the last build of a scope saved to this cache, and not only to another one."""
        own = self._list_of(content.scope)
        if not own:
            return True
        record, data = own[0]
        saved = {cache.place for cache in record.caches if cache.exported}
        place = backend.get("dir") or backend.get("ref")
        return not saved or place in saved or data in content.records()

    def complete(self, content: Content) -> Content:
        """Add the builds here to the records of a scope that are kept elsewhere."""
        own = self._list_of(content.scope)
        return replace(content, records=lambda: _merge(content.records(), own)) if own else content

    def locate(self, digest: str) -> str:  # noqa: ARG002  # there are no layers
        return ""

    def declare(self, scope: str) -> dict[str, Any]:  # noqa: ARG002  # not a backend
        return {}


def _merge(kept: Iterable[bytes], own: Iterable[tuple[Record, bytes]]) -> Iterator[bytes]:
    """Merge two lists of records without duplicates, the last build first."""
    waiting = deque((record.started, data) for record, data in own)
    seen: set[float] = set()
    for data in kept:
        try:
            started = parse_record(data, "").started
        except RecordError:
            yield data
            continue
        while waiting and waiting[0][0] >= started:
            moment, found = waiting.popleft()
            seen.add(moment)
            yield found
        if started not in seen:
            yield data
    yield from (data for _, data in waiting)


def _refuse_config() -> CacheConfig:
    raise StoreError("there is no cache, only records of builds")


def find_folder() -> Path:
    """The folder of the records on this machine."""
    return find_cache_folder() / "builds"


@contextmanager
def _open_folder(folder: Path) -> Iterator[int]:
    handle = os.open(folder, _OPENED | os.O_DIRECTORY)
    try:
        status = os.fstat(handle)
        if status.st_uid != os.geteuid():
            raise PermissionError(1, "it belongs to another user", str(folder))
        if status.st_mode & 0o077:
            os.fchmod(handle, 0o700)
        yield handle
    finally:
        os.close(handle)


def _list_names(handle: int) -> list[re.Match[str]]:
    """The names of the records' files, the last one first."""
    found = filter(None, map(_NAME.fullmatch, os.listdir(handle)))
    return sorted(found, key=lambda each: each["at"], reverse=True)


def _remove_oldest(handle: int) -> None:
    kept, size = Counter[tuple[str, str]](), 0
    for number, each in enumerate(_list_names(handle)):
        key = each["where"], each["what"]
        kept[key] += 1
        with suppress(FileNotFoundError):
            size += os.stat(each[0], dir_fd=handle, follow_symlinks=False).st_size
            if number >= MOST_BUILDS or size > MOST_BYTES or kept[key] > MOST_RECORDS:
                os.unlink(each[0], dir_fd=handle)


def _read(handle: int, name: str) -> bytes:
    with os.fdopen(os.open(name, _OPENED, dir_fd=handle), "rb") as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise OSError(f"`{name}` is not a regular file")
        return stream.read(LARGEST_FILE)


def _hash(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode(errors="surrogatepass")).hexdigest()[:16]
