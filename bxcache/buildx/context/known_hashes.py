"""The hashes of files that were read before, so that a file is read again only if it changed.

::

    CACHE/bxcache/context/FOLDER.msgpack

`CACHE` is the user's cache folder, and `FOLDER` a hash of the context's path. A file counts as
unchanged as long as its size, its inode and its times are the same.
"""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from msgspec import DecodeError, EncodeError, Struct, msgpack

from bxcache.config.paths import find_cache_folder

if TYPE_CHECKING:
    from pathlib import Path

_MOST_CONTEXTS = 32
_UNSURE = 2_000_000_000
"""A file that was written within this many nanoseconds may be written again at the same moment."""


class _Known(Struct, frozen=True, array_like=True, gc=False):
    size: int
    inode: int
    modified: int
    changed: int
    hash: str


class KnownHashes:
    """The known hashes of one context's files."""

    def __init__(self, file: Path | None) -> None:
        """Read them; without a file, none are known or kept."""
        self._file = file
        self._now = time.time_ns()
        self._before: dict[str, _Known] = {}
        self._after: dict[str, _Known] = {}
        self._is_changed = False
        with suppress(OSError, DecodeError):
            if file is not None:
                self._before = msgpack.decode(file.read_bytes(), type=dict[str, _Known])

    @classmethod
    def of_context(cls, context: Path) -> KnownHashes:
        """Find those of a context; none are kept where they would be part of the context."""
        folder = find_cache_folder() / "context"
        real = os.path.realpath(context)
        if not folder.is_absolute() or folder.resolve().is_relative_to(real):
            return cls(None)
        return cls(folder / f"{hashlib.sha256(os.fsencode(real)).hexdigest()[:32]}.msgpack")

    def find(self, path: str, found: os.stat_result) -> str | None:
        """Return the hash of a file; None if it may have changed."""
        known = self._before.get(path)
        if known is None or known != _describe(found, known.hash):
            return None
        self._after[path] = known
        return known.hash

    def note(self, path: str, found: os.stat_result, value: str) -> None:
        """Note the hash of a file that was read."""
        if max(found.st_mtime_ns, found.st_ctime_ns) < self._now - _UNSURE:
            self._after[path] = _describe(found, value)
            self._is_changed = True

    def keep(self) -> None:
        """Write what is known now; failing to do so is no error."""
        if self._file is None or not (self._is_changed or len(self._before) != len(self._after)):
            return
        new = self._file.with_suffix(f".{os.getpid()}")
        # A name that is not UTF-8 cannot be written.
        with suppress(OSError, EncodeError, UnicodeEncodeError):
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            new.write_bytes(msgpack.encode(self._after))
            new.replace(self._file)
            _remove_oldest(self._file.parent)


def _describe(found: os.stat_result, value: str) -> _Known:
    return _Known(found.st_size, found.st_ino, found.st_mtime_ns, found.st_ctime_ns, value)


def _remove_oldest(folder: Path) -> None:
    files = sorted(folder.iterdir(), key=lambda each: each.stat().st_mtime, reverse=True)
    for each in files[_MOST_CONTEXTS:]:
        each.unlink(missing_ok=True)
