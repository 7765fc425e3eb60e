"""A store: checked, opened, snapshotted for a build, and committed to."""

from __future__ import annotations

import logging
import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bxcache.errors import StoreError
from bxcache.store.layout import (
    INDEX_NAME,
    OCI_LAYOUT,
    Descriptor,
    Index,
    blob_path,
    read_index,
    read_manifest,
    sync_folder,
    write_atomically,
    write_index,
)
from bxcache.store.staging import (
    Staging,
    create_staging,
    find_damage,
    link_blob,
    sweep_staging,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

VERSION = "1"
_OWN_FOLDER = ".bxcache"
_NOBODYS = frozenset({"lost+found"})
"""What a directory can hold without belonging to anybody: the root of a mounted volume."""
_ELSEWHERE = "name another directory as `dir` of the local backend"
_SECONDS_BEFORE_WAITING_IS_SAID = 1.0
_CACHE_TAG = (
    "Signature: 8a477f597d28d172789f06886806bc55\n"
    "# This directory is a bxcache store: layers of docker builds. It can be removed at any time\n"
    "# that no build runs. See https://bford.info/cachedir/ for what this file is.\n"
)

logger = logging.getLogger("bxcache.store")


@dataclass(frozen=True, slots=True)
class Saved:
    """What a commit put into the store.

    Attributes:
        digest: the digest of the scope's manifest.
        bytes: the size of all the blobs of the scope, each counted once.
        new_bytes: the size of those the store did not have.
        layers: how many different layers the scope has.
        unchanged: the scope had this very manifest before.
    """

    digest: str
    bytes: int
    new_bytes: int
    layers: int
    unchanged: bool


class Store:
    """A local store at a directory. Making the object reads and writes nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._own = path / _OWN_FOLDER
        self._staging = self._own / "staging"

    def check(self) -> None:
        """Make sure that the directory is a store, or can become one, without writing to it.

        Raises:
            StoreError: it is a file, holds something else, or is not ours to read and write.
        """
        if self.path.exists() and not self.path.is_dir():
            raise StoreError(f"the store `{self.path}` is no directory", hint=_ELSEWHERE)
        nearest = next(p for p in (self.path, *self.path.parents) if p.exists())
        if not nearest.is_dir():
            raise StoreError(f"`{nearest}`, above the store, is no directory", hint=_ELSEWHERE)
        if not os.access(nearest, os.R_OK | os.W_OK | os.X_OK):
            raise StoreError(_describe_denied(self.path, nearest), hint=_ELSEWHERE)
        if nearest == self.path:
            self._check_content()

    def _check_content(self) -> None:
        if not self._own.exists():
            strangers = {path.name for path in self.path.iterdir()} - _NOBODYS
            stranger = min(strangers, default=None)
            if stranger is not None:
                raise StoreError(
                    f"the directory `{self.path}` is no bxcache store: it holds `{stranger}`",
                    hint=f"{_ELSEWHERE}, or empty this one",
                )
            return
        for path in (self._own, self._staging, self.path / "blobs" / "sha256"):
            if path.exists() and not os.access(path, os.R_OK | os.W_OK | os.X_OK):
                raise StoreError(_describe_denied(self.path, path), hint=_ELSEWHERE)
        self._check_version()

    def _check_version(self) -> None:
        try:
            version = (self._own / "version").read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            return
        except (OSError, UnicodeDecodeError) as error:
            raise StoreError(f"the store `{self.path}` cannot be read: {error}") from error
        if version != VERSION:
            raise StoreError(
                f"the store `{self.path}` has version `{version[:20]}`; here {VERSION} is known",
                hint="update bxcache, or name another directory",
            )

    def read_scopes(self) -> dict[str, Descriptor]:
        """The manifest of each scope, by the scope's name.

        Raises:
            StoreError: the index is damaged.
        """
        return {entry.ref_name: entry for entry in read_index(self.path).manifests}

    def staging_path(self, name: str) -> Path:
        """Where the staging layout of a name lies, whether or not it exists."""
        return self._staging / name

    @contextmanager
    def snapshot(self, name: str, donor: str | None) -> Iterator[Staging]:
        """A staging layout with the live set of `donor` in it, removed at the end.

        Args:
            name: the staging layout's name, from `draw_name`.
            donor: the scope to import, or None.

        Raises:
            StoreError: the directory cannot be used, or the index is damaged.
        """
        with self._changing():
            for leftover in self.path.glob(f".{INDEX_NAME}.*.tmp"):
                leftover.unlink()
            swept = sweep_staging(self._staging)
            if swept:
                logger.info("removed %d staging layouts that ended builds had left", swept)
            entry = self.read_scopes().get(donor) if donor else None
            staging = create_staging(self.path, self._staging, name, entry)
        try:
            yield staging
        finally:
            staging.remove()

    def commit(self, staging: Staging, scope: str, digest: str | None) -> Saved:
        """Make what was exported to a staging layout the scope's content, all or nothing.

        Args:
            staging: the layout that buildx exported to.
            scope: the scope's name.
            digest: the manifest that BuildKit said it wrote. A build with several exports can
                leave the digest of another one in the layout's index, so this one is preferred.

        Raises:
            StoreError: nothing was exported, the export is incomplete, or the disk is full.
        """
        entry = _find_export(staging.path, scope, digest)
        manifest = read_manifest(staging.path, entry)
        damage = find_damage(staging.path, manifest)
        if damage:
            raise StoreError(f"the exported cache is incomplete: {damage}")
        sizes = {entry.digest: entry.size, **{b.digest: b.size for b in manifest.blobs.values()}}
        with self._changing():
            new = [digest for digest in sizes if self._take_blob(staging, digest)]
            sync_folder(self.path / "blobs" / "sha256")
            unchanged = self._replace_entry(entry)
        return Saved(
            digest=entry.digest,
            bytes=sum(sizes.values()),
            new_bytes=sum(sizes[digest] for digest in new),
            layers=manifest.layer_count,
            unchanged=unchanged,
        )

    def _take_blob(self, staging: Staging, digest: str) -> bool:
        return link_blob(blob_path(staging.path, digest), blob_path(self.path, digest))

    def _replace_entry(self, entry: Descriptor) -> bool:
        index = read_index(self.path)
        before = index.find(entry.ref_name)
        if before is not None and before.digest == entry.digest:
            return True
        write_index(self.path, index.with_entry(entry))
        return False

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Hold the store's lock; the directory is made where it does not exist."""
        from filelock import FileLock, Timeout  # noqa: PLC0415  # 30 ms that only a build pays

        try:
            self._initialize()
            lock = FileLock(self._own / "lock")
            try:
                lock.acquire(timeout=_SECONDS_BEFORE_WAITING_IS_SAID)
            except Timeout:
                logger.warning("waiting for another build to finish its change of `%s`", self.path)
                lock.acquire()
            try:
                yield
            finally:
                lock.release()
        except OSError as error:
            raise StoreError(
                f"the store `{self.path}` cannot be changed: {error.strerror or error}",
                hint="free some space or check the directory's permissions",
            ) from error

    def _initialize(self) -> None:
        """Make the directory a store, each file whole or absent, so that two may do it at once."""
        self._staging.mkdir(parents=True, exist_ok=True)
        (self.path / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
        files = {
            self._own / "version": f"{VERSION}\n",
            self.path / "CACHEDIR.TAG": _CACHE_TAG,
            self.path / ".gitignore": "*\n",
            self.path / "oci-layout": OCI_LAYOUT,
        }
        for path, text in files.items():
            if not path.exists():
                write_atomically(path, text)


def _find_export(layout: Path, scope: str, digest: str | None) -> Descriptor:
    index: Index = read_index(layout)
    listed = index.find(scope)
    if listed is None:
        raise StoreError(f"buildx exported no cache for the scope `{scope}`")
    path = blob_path(layout, digest) if digest else None
    if path is None or digest is None or digest == listed.digest or not path.exists():
        return listed
    document = read_manifest(
        layout, listed.model_copy(update={"digest": digest, "size": path.stat().st_size})
    )
    return Descriptor(
        media_type=document.media_type or listed.media_type, digest=digest, size=path.stat().st_size
    ).named(scope)


def _describe_denied(store: Path, path: Path) -> str:
    owner = path.stat().st_uid
    whose = "" if owner == os.geteuid() else f"; it belongs to the user with the id {owner}"
    return f"the store `{store}` cannot be used: no permission to read and write `{path}`{whose}"
