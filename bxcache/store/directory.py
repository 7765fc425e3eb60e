"""The directory of a store: whose it is, and what marks it."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from bxcache.errors import StoreError
from bxcache.store.files import write_atomically
from bxcache.store.layout import INDEX_NAME, OCI_LAYOUT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_Result = TypeVar("_Result")

VERSION = "1"
_OWN_FOLDER = ".bxcache"
_NOBODYS = frozenset({"lost+found"})
"""What a directory can hold without belonging to anybody: the root of a mounted volume."""
_BUILDX_OWN = frozenset({INDEX_NAME, "oci-layout", "blobs", "ingest", f"{INDEX_NAME}.lock"})
"""What plain buildx writes into a directory that it exports a cache to."""
_RESERVE = 64 << 10
"""Room in bytes for an index of some hundred scopes."""
_ELSEWHERE = "name another directory as `dir` of the local backend"
_CACHE_TAG = (
    "Signature: 8a477f597d28d172789f06886806bc55\n"
    "# This directory is a bxcache store: layers of docker builds. It can be removed at any time\n"
    "# that no build runs. See https://bford.info/cachedir/ for what this file is.\n"
)


class Directory:
    """A directory that is a store, or can become one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.own = path / _OWN_FOLDER
        self.staging = self.own / "staging"

    @property
    def is_store(self) -> bool:
        """Whether it is marked as a store."""
        return self.own.exists()

    def check(self, *, adopting: bool = False) -> None:
        """Make sure that it is a store, or can become one, without writing to it.

        Args:
            adopting: a directory that plain buildx exported to can become one.

        Raises:
            StoreError: it is a file, holds something else, or is not ours to read; or it is no
                store yet, and not ours to write.
        """
        if self.path.exists() and not self.path.is_dir():
            raise StoreError(f"the store `{self.path}` is no directory", hint=_ELSEWHERE)
        nearest = next(p for p in (self.path, *self.path.absolute().parents) if p.exists())
        if not nearest.is_dir():
            raise StoreError(f"`{nearest}`, above the store, is no directory", hint=_ELSEWHERE)
        if not os.access(nearest, os.R_OK | os.X_OK):
            raise StoreError(_describe_denied(self.path, nearest), hint=_ELSEWHERE)
        if nearest == self.path and self.is_store:
            self._check_store()
            return
        if not os.access(nearest, os.W_OK):
            raise StoreError(_describe_denied(self.path, nearest), hint=_ELSEWHERE)
        if nearest == self.path:
            self._check_strangers(adopting=adopting)

    def find_denied(self) -> str:
        """Why a store cannot be written, or an empty string."""
        for path in self._list_folders():
            if path.exists() and not os.access(path, os.W_OK):
                return _describe_denied(self.path, path)
        return ""

    def _list_folders(self) -> tuple[Path, ...]:
        blobs = self.path / "blobs"
        return (self.path, self.own, self.staging, *self._small, blobs, blobs / "sha256")

    @property
    def _small(self) -> tuple[Path, ...]:
        """The folders of small files."""
        return (self.own / "scopes", self.own / "records")

    def _check_store(self) -> None:
        self._check_links()
        for path in self._list_folders():
            if path.exists() and not os.access(path, os.R_OK | os.X_OK):
                raise StoreError(_describe_denied(self.path, path), hint=_ELSEWHERE)
        self._check_version()

    def _check_links(self) -> None:
        for path in self._list_folders()[1:]:
            if path.is_symlink():
                raise StoreError(
                    f"`{path}` is a link, and nothing outside of a store is written",
                    hint=f"replace it by a folder; or {_ELSEWHERE}",
                )

    def _check_strangers(self, *, adopting: bool) -> None:
        names = {path.name for path in self.path.iterdir()} - _NOBODYS
        strangers = names - _BUILDX_OWN
        if names and not strangers and INDEX_NAME in names:
            self._check_links()
            if adopting:
                return
            raise StoreError(
                f"the directory `{self.path}` is a cache of plain buildx, and no bxcache store",
                hint=f"`bxcache store adopt {self.path}` makes it one; or {_ELSEWHERE}",
            )
        if self.is_store:
            # Another build has made it one since we looked.
            self._check_store()
            return
        stranger = min(strangers or names, default=None)
        if stranger is not None:
            raise StoreError(
                f"the directory `{self.path}` is no bxcache store: it holds `{stranger}`",
                hint=f"{_ELSEWHERE}, or empty this one",
            )

    def _check_version(self) -> None:
        try:
            version = (self.own / "version").read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            return
        except (OSError, UnicodeDecodeError) as error:
            raise StoreError(f"the store `{self.path}` cannot be read: {error}") from error
        if version != VERSION:
            raise StoreError(
                f"the store `{self.path}` has version `{version[:20]}`; here {VERSION} is known",
                hint="update bxcache, or name another directory",
            )

    def make(self) -> None:
        """Make the folder that the lock lies in, so that it can be taken.

        Raises:
            OSError: it cannot be made.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        self.own.mkdir(exist_ok=True)

    def mark(self) -> None:
        """Make it a store, each file whole or absent; the caller holds the lock.

        Raises:
            OSError: it cannot be written.
        """
        self.staging.mkdir(exist_ok=True)
        for folder in self._small:
            folder.mkdir(exist_ok=True)
        (self.path / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
        self._make_reserve()
        files = {
            self.own / "version": f"{VERSION}\n",
            self.path / "CACHEDIR.TAG": _CACHE_TAG,
            self.path / ".gitignore": "*\n",
            self.path / "oci-layout": OCI_LAYOUT,
        }
        for path, text in files.items():
            if not path.exists():
                write_atomically(path, text.encode())

    def _make_reserve(self) -> None:
        """Set room aside for the change that a full disk needs to become less full."""
        reserve = self.own / "reserve"
        if not reserve.exists():
            with suppress(OSError):
                write_atomically(reserve, bytes(_RESERVE), durable=False)

    def _release_reserve(self) -> bool:
        """Give that room back; it is set aside again at the next change.

        Returns:
            Whether there was any.
        """
        try:
            (self.own / "reserve").unlink()
        except FileNotFoundError:
            return False
        return True

    def with_room(self, change: Callable[[], _Result]) -> _Result:
        """Make a change that frees space, on a full disk with the room set aside for it.

        Raises:
            OSError: it fails all the same.
        """
        try:
            return change()
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            if not full or not self._release_reserve():
                raise
        return change()

    def sweep(self) -> None:
        """Remove files that a killed process was writing; the caller holds the lock."""
        for folder in (self.path, self.own, *self._small):
            for leftover in folder.glob(".*.tmp"):
                leftover.unlink(missing_ok=True)


def _describe_denied(store: Path, path: Path) -> str:
    owner = path.stat().st_uid
    whose = "" if owner == os.geteuid() else f"; it belongs to the user with the id {owner}"
    return f"the store `{store}` cannot be used: no permission to read and write `{path}`{whose}"
