"""The directory of a store: its marks, version and permissions, and whether one can become it."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import Struct

from bxcache.config.json_documents import make_document, pick
from bxcache.config.wording import name_call
from bxcache.errors import StoreError
from bxcache.oci.documents import INDEX_NAME, check_scope_name
from bxcache.store.folders import TEMPORARY
from bxcache.store.layout import LAYOUT_NAMES, OCI_LAYOUT, Layout, read_index, read_manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from collections.abc import Set as AbstractSet

    from bxcache.oci.documents import Descriptor, Index
    from bxcache.store.folders import Folder

_Result = TypeVar("_Result")

VERSION = "1"
_OWN_FOLDER = ".bxcache"
_IGNORED = frozenset({"lost+found"})  # in the root of a mounted volume
DAMAGED_NAME = f"{INDEX_NAME}.damaged"
"""The name of a damaged index that was set aside."""
_TAG_NAME = "CACHEDIR.TAG"
_TAG_TEXT, _LONGEST_TAG = b"bxcache store", 1 << 10
_RESERVE = 64 << 10
"""The space to free for a change on a full disk, in bytes: an index of a few hundred scopes."""
_ELSEWHERE = "set another directory as `dir` of the local backend"
_CACHE_TAG = (
    "Signature: 8a477f597d28d172789f06886806bc55\n"
    "# This directory is a bxcache store: layers of docker builds. It can be removed at any time\n"
    "# that no build runs. See https://bford.info/cachedir/ for what this file is.\n"
)
_OWN_FILES = {_TAG_NAME: _CACHE_TAG, ".gitignore": "*\n"}

LOSS_WARNING = (
    "the store `%s` lacks its folder `.bxcache`: its caches are usable, but the records of builds "
    "and the times of last use are lost; a copy probably left out names that start with a dot"
)


class Directory:
    """A directory that is a store, or can become one.

    It holds open folders, so each operation creates its own.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.layout = Layout.at(path)
        self.own = self.layout.root.below(_OWN_FOLDER)
        self.staging = self.own.below("staging")
        self.scopes = self.own.below("scopes")
        self.records = self.own.below("records")
        self._small = (self.scopes, self.records)

    @property
    def is_store(self) -> bool:
        return os.path.lexists(self.own.path) or self.lacks_own_folder

    @property
    def lacks_own_folder(self) -> bool:
        """Whether it is a store without bxcache's folder, as `cp -r store/* …` leaves it.

        A build has all it needs. Records and the times of last use are lost.
        """
        if os.path.lexists(self.own.path) or not self._has_own(_TAG_NAME):
            return False
        names = set(self.layout.root.list_names())
        return INDEX_NAME in names and not self._list_strangers(names)

    @property
    def is_plain_cache(self) -> bool:
        """Whether it has what plain buildx exports, and nothing else."""
        # Another check says why a directory cannot be read.
        with suppress(OSError):
            if not self.is_store and self.path.is_dir():
                names = {path.name for path in self.path.iterdir()} - _IGNORED
                return INDEX_NAME in names and not self._list_strangers(names)
        return False

    def _has_own(self, name: str) -> bool:
        """Whether a file exists with the content that bxcache writes."""
        with suppress(OSError, StoreError):
            return self.layout.root.read(name, _LONGEST_TAG) == _OWN_FILES[name].encode()
        return False

    def _list_strangers(self, names: AbstractSet[str]) -> set[str]:
        """The names that neither buildx nor bxcache creates beside a layout."""
        own = {name for name in names & _OWN_FILES.keys() if self._has_own(name)}
        return set(names - LAYOUT_NAMES - _IGNORED - own - {DAMAGED_NAME})

    def check(self, *, adopting: bool = False) -> None:
        """Raise a StoreError if it is not a store and cannot become one; see `Store.check`."""
        if self.path.exists() and not self.path.is_dir():
            raise StoreError(f"the store `{self.path}` is not a directory", hint=_ELSEWHERE)
        nearest = next(p for p in (self.path, *self.path.absolute().parents) if p.exists())
        if not nearest.is_dir():
            raise StoreError(f"`{nearest}`, above the store, is not a directory", hint=_ELSEWHERE)
        self._check_access([nearest], os.R_OK | os.X_OK)
        if nearest == self.path and self.is_store:
            self._check_store()
            return
        self._check_access([nearest], os.W_OK)
        if nearest == self.path:
            self._check_strangers(adopting=adopting)

    def find_denied(self) -> str | None:
        return self._find_denied(self._list_folders(), os.W_OK)

    def _find_denied(self, paths: Iterable[Path], access: int) -> str | None:
        for path in paths:
            if path.exists() and not os.access(path, access):
                owner = path.stat().st_uid
                whose = "" if owner == os.geteuid() else f" (owner: user id {owner})"
                what = f"no permission to read and write `{path}`{whose}"
                return f"the store `{self.path}` cannot be used: {what}"
        return None

    def _check_access(self, paths: Iterable[Path], access: int) -> None:
        if denied := self._find_denied(paths, access):
            raise StoreError(denied, hint=_ELSEWHERE)

    def _list_folders(self) -> tuple[Path, ...]:
        blobs = self.layout.blobs.path
        own = (self.own.path, self.staging.path, *(folder.path for folder in self._small))
        return (self.path, *own, blobs.parent, blobs)

    def _check_store(self) -> None:
        self._check_links()
        self._check_access(self._list_folders(), os.R_OK | os.X_OK)
        self._check_version()

    def _check_links(self) -> None:
        # Links are never followed; this reports them before any work is done.
        for path in self._list_folders()[1:]:
            if path.is_symlink():
                raise StoreError(
                    f"`{path}` is a link; bxcache does not write outside of the store",
                    hint=f"replace it with a folder, or {_ELSEWHERE}",
                )

    def _check_strangers(self, *, adopting: bool) -> None:
        if self.is_plain_cache:
            self._check_links()
            if adopting:
                return
            raise StoreError(
                f"the directory `{self.path}` is a cache of plain buildx, not a bxcache store",
                hint=f"`{name_call('store adopt', str(self.path))}` converts it; or {_ELSEWHERE}",
            )
        if self.is_store:
            # Another build has created the store in the meantime.
            self._check_store()
            return
        names = {path.name for path in self.path.iterdir()} - _IGNORED
        if names:
            strangers = self._list_strangers(names)
            why = f"it contains `{min(strangers)}`" if strangers else f"it has no `{INDEX_NAME}`"
            raise StoreError(
                f"the directory `{self.path}` is not a bxcache store: {why}",
                hint=f"{_ELSEWHERE}, or empty this one",
            )

    def _check_version(self) -> bool:
        """Refuse a store of another version; whether it has a version at all."""
        try:
            version = self.own.read("version", 1 << 10).decode().strip()
        except FileNotFoundError:
            return False
        except (OSError, UnicodeDecodeError) as error:
            raise StoreError(f"the store `{self.path}` cannot be read: {error}") from error
        if version != VERSION:
            raise StoreError(
                f"the store `{self.path}` has version `{version[:20]}`; supported: {VERSION}",
                hint="update bxcache, or use another directory",
            )
        return True

    def make(self) -> None:
        self.layout.root.make()
        self.own.make()

    def mark(self) -> None:
        """Turn it into a store, each file whole or absent; the caller holds the lock."""
        for folder in (self.staging, *self._small):
            folder.make()
        self.layout.make()
        if not self._check_version():
            self.own.write("version", f"{VERSION}\n".encode())
        if self.own.look("reserve") is None:
            with suppress(OSError):
                self.own.write("reserve", bytes(_RESERVE), durable=False)
        for name, text in {**_OWN_FILES, "oci-layout": OCI_LAYOUT}.items():
            if not self.layout.root.has_file(name):
                self.layout.root.write(name, text.encode())

    def with_room(self, change: Callable[[], _Result]) -> _Result:
        """Make a change that frees space; if the disk is full, free the reserve and retry.

        The next change reserves it again.
        """
        try:
            return change()
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            if not full or not self.own.has_file("reserve"):
                raise
            self.own.remove("reserve")
        return change()

    def sweep(self) -> None:
        """Remove the temporary files of killed processes; the caller holds the lock."""
        for folder, name in self.list_strays():
            # A leftover file does no harm, so it is not worth an error.
            with suppress(OSError):
                folder.remove(name)

    def list_strays(self) -> Iterator[tuple[Folder, str]]:
        """List the temporary files of killed processes; the caller holds the lock."""
        for folder in (self.layout.root, self.own, *self._small):
            for name in filter(TEMPORARY.fullmatch, folder.list_names()):
                yield folder, name


def find_store(path: Path) -> Path | None:
    """The store that is at or above a path, recognised by its marks, or None; it follows links."""
    there = Path(os.path.realpath(path))
    return next((each for each in (there, *there.parents) if _is_marked(each)), None)


def _is_marked(folder: Path) -> bool:
    """Whether a folder has a store's version file, or, if copied without hidden files, its tag."""
    try:
        if os.path.lexists(folder / _OWN_FOLDER / "version"):
            return True
        tag = folder / _TAG_NAME
        if not tag.is_file():
            return False
        with tag.open("rb") as file:
            return _TAG_TEXT in file.read(_LONGEST_TAG)
    except OSError:
        return False


class Adopted(Struct, frozen=True):
    """A directory that was adopted.

    Attributes:
        scopes: the names of its scopes, which are the tags that buildx exported with.
        notes: the repairs that were made.
        dead_bytes: the size of unused blobs; the next collection removes them.
        store: the directory, which is a store now.
    """

    scopes: tuple[str, ...]
    notes: tuple[str, ...]
    dead_bytes: int
    store: Path

    def to_dict(self) -> dict[str, Any]:
        """Return the document that `bxcache store adopt --json` prints."""
        return make_document(pick(self, "store", "scopes", "notes", "dead_bytes"))


def read_foreign_index(layout: Layout) -> Index:
    """Read and check the index of a directory that buildx exported to; report all problems."""
    try:
        index = read_index(layout)
    except FileNotFoundError as error:
        raise StoreError(
            f"`{layout.path}` has no index.json, so it is not a buildx cache",
            hint="adopt the `dest` directory of a local cache that docker exported",
        ) from error
    problems = [problem for entry in index.manifests for problem in _check_entry(layout, entry)]
    if problems:
        raise StoreError("\n  ".join([f"`{layout.path}` cannot be adopted:", *problems]))
    return index


def _check_entry(layout: Layout, entry: Descriptor) -> Iterator[str]:
    try:
        check_scope_name(entry.ref_name)
    except StoreError as error:
        yield error.message
    # A broken manifest is repaired later.
    with suppress(StoreError):
        if problem := read_manifest(layout, entry).find_problem():
            yield f"the tag `{entry.ref_name}`: {problem}"
