"""A running build's own layout, beside the blobs that it shares with the store."""

from __future__ import annotations

import secrets
import shutil
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bxcache.errors import StoreError
from bxcache.store.documents import CacheManifest, Descriptor
from bxcache.store.files import has_size, link_blob
from bxcache.store.layout import OCI_LAYOUT, blob_folder, blob_path, read_index, read_manifest
from bxcache.store.locks import claim_lock, remove_lock

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from filelock import BaseFileLock


@dataclass(frozen=True, slots=True)
class Staging:
    """A staging layout, alive while its owner holds its lock.

    Attributes:
        path: the layout; buildx imports from it and exports to it.
        donors: the manifests that were linked in, under their scopes' names, best first.
        notes: what was mended in the store before.
        swept: the names of staging layouts that killed builds had left, and that are gone now.
    """

    path: Path
    donors: tuple[Descriptor, ...]
    notes: tuple[str, ...]
    swept: tuple[str, ...]
    lock: BaseFileLock

    @property
    def donor(self) -> Descriptor | None:
        """The best of the donors, or None when there is nothing to import."""
        return next(iter(self.donors), None)

    def empty(self) -> None:
        """Take out everything that was linked in or exported, and start anew."""
        shutil.rmtree(self.path, ignore_errors=True)
        # On a full disk buildx finds out by itself, and the build goes on without this cache.
        with suppress(OSError):
            _make_layout(self.path)

    def drop_unfinished(self) -> None:
        """Take out the blobs that are not there as a whole."""
        shutil.rmtree(self.path / "ingest", ignore_errors=True)

    def remove(self) -> None:
        """Remove the layout and give up its lock."""
        shutil.rmtree(self.path, ignore_errors=True)
        remove_lock(self.lock)


def draw_name() -> str:
    """A name for a staging layout that no other build has."""
    return secrets.token_hex(6)


def sweep_staging(folder: Path) -> tuple[str, ...]:
    """Remove what builds that no longer live have left, and tell their names.

    The caller holds the store's lock, so nobody is about to claim a name.
    """
    names = {entry.name.removesuffix(".lock") for entry in folder.iterdir()}
    removed = []
    for name in sorted(names):
        lock = claim_lock(folder, name)
        if lock is not None:
            shutil.rmtree(folder / name, ignore_errors=True)
            remove_lock(lock)
            removed.append(name)
    return tuple(removed)


def create_staging(
    folder: Path,
    name: str,
    donors: Sequence[tuple[Descriptor, CacheManifest]] = (),
) -> Staging:
    """Make a staging layout, with the live sets of scopes linked in.

    Args:
        folder: the store's folder of staging layouts.
        name: the layout's name.
        donors: each scope's entry and its manifest, all of whose blobs are there.

    Raises:
        StoreError: the name is another build's.
        OSError: the layout cannot be written.
    """
    path = folder / name
    lock = claim_lock(folder, name)
    if lock is None:
        raise StoreError(f"the staging layout `{path}` belongs to another build")
    try:
        _make_layout(path)
        for number, (entry, manifest) in enumerate(donors):
            # Only what a donor before had is there already.
            sizes = manifest.list_sizes(entry)
            link_blobs(folder.parent.parent, path, sizes, look_first=number > 0)
    except BaseException:
        shutil.rmtree(path, ignore_errors=True)
        remove_lock(lock)
        raise
    return Staging(path, tuple(entry for entry, _ in donors), (), (), lock)


def _make_layout(path: Path) -> None:
    (path / "blobs" / "sha256").mkdir(parents=True)
    (path / "oci-layout").write_text(OCI_LAYOUT, encoding="utf-8")


def link_blobs(
    source: Path, target: Path, sizes: Mapping[str, int], *, look_first: bool = False
) -> list[str]:
    """Give blobs of one layout to another.

    Args:
        source: the layout that has them.
        target: the layout that gets them.
        sizes: the blobs with their sizes in bytes, by digest.
        look_first: most are there already; a look is faster than a link in vain.

    Returns:
        Those that the target did not have.

    Raises:
        OSError: one can be neither linked nor copied.
    """
    here, there = blob_folder(source), blob_folder(target)
    return [
        digest
        for digest, size in sizes.items()
        if not (look_first and has_size(f"{there}/{digest[7:]}", size))
        and link_blob(f"{here}/{digest[7:]}", f"{there}/{digest[7:]}", size)
    ]


def find_export(layout: Path, scope: str, digest: str | None) -> Descriptor:
    """What buildx exported to a layout as a scope, named by it.

    Args:
        layout: the staging layout.
        scope: the tag that it was told.
        digest: the manifest that BuildKit said it wrote, which goes before the index.

    Raises:
        StoreError: it exported nothing.
    """
    try:
        listed = read_index(layout).find(scope)
    except FileNotFoundError:
        listed = None
    if listed is None:
        raise StoreError(f"buildx exported no cache for the scope `{scope}`")
    path = blob_path(layout, digest) if digest else None
    if path is None or digest is None or digest == listed.digest or not path.exists():
        return listed
    size = path.stat().st_size
    document = read_manifest(layout, listed.model_copy(update={"digest": digest, "size": size}))
    kind = document.media_type or listed.media_type
    return Descriptor(media_type=kind, digest=digest, size=size).named(scope)
