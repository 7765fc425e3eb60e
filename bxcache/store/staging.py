"""A running build's own layout, which shares blobs with the store."""

from __future__ import annotations

import platform
import re
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bxcache.errors import StoreError
from bxcache.oci.documents import CacheManifest, Descriptor
from bxcache.store.folders import TEMPORARY, Folder, link_blob
from bxcache.store.layout import LAYOUT_NAMES, OCI_LAYOUT, Layout, read_index, read_manifest
from bxcache.store.locks import Lock, claim_lock

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_LOCK_NAME = re.compile(r"([0-9a-f]{12})\.lock")
_DEPTH = 3
"""The depth of a layout's folders: `blobs/sha256`, `ingest/ID`."""
_LONGEST_MACHINE = 200
_LONGEST_BUILD = 86_400
"""How long to keep a layout of another machine, or from before this machine's last boot, after its
last change, in seconds. This machine cannot see whether its build is alive."""


@dataclass(frozen=True, slots=True)
class Staging:
    """A staging layout, in use while its owner holds its lock.

    Attributes:
        folder: the layout; buildx imports from it and exports to it, by its path.
        donors: the imported manifests, named by their scopes, best first.
        notes: the repairs that were made to the store before.
        swept: the names of removed staging layouts of killed builds.
    """

    folder: Folder
    donors: tuple[Descriptor, ...]
    notes: tuple[str, ...]
    swept: tuple[str, ...]
    lock: Lock

    @property
    def path(self) -> Path:
        """Its path."""
        return self.folder.path

    @property
    def layout(self) -> Layout:
        """The layout with fresh folder handles, since buildx may recreate its folders."""
        return Layout(self.folder)

    @property
    def donor(self) -> Descriptor | None:
        """The best donor, or None without an import."""
        return next(iter(self.donors), None)

    def empty(self) -> None:
        """Remove everything that was linked or exported, and start again."""
        # On a full disk, buildx fails to export, and the build continues without this cache.
        with suppress(OSError, StoreError):
            self.folder.empty(_DEPTH)
            _fill_layout(self.layout)

    def drop_unfinished(self) -> None:
        """Remove incomplete blobs."""
        self.layout.remove_ingest()

    def remove(self) -> None:
        """Remove the layout and its lock."""
        with suppress(OSError, StoreError):
            self.folder.remove_all(_DEPTH)
        self.lock.remove()


def draw_name() -> str:
    """A unique name for a staging layout."""
    return secrets.token_hex(6)


def sweep_staging(folder: Folder) -> tuple[str, ...]:
    """Remove the staging layouts of dead builds, and return their names.

    Only what a build creates is touched: a layout with such a name, beside a lock that nobody
    holds. The caller holds the store's lock, so nobody is about to claim a name.
    """
    found = (_LOCK_NAME.fullmatch(name) for name in sorted(folder.list_names()))
    return tuple(match[1] for match in found if match and _sweep(folder, match[1]))


def _sweep(folder: Folder, name: str) -> bool:
    try:
        lock = claim_lock(folder, f"{name}.lock")
        if lock is None:
            return False
    except (OSError, StoreError):
        return False
    layout = folder.below(name)
    try:
        if _is_dead(layout, lock):
            layout.remove_all(_DEPTH)
            lock.remove()
            return True
    except (OSError, StoreError):
        # It belongs to another user or is not a layout: keep it; it does no harm.
        pass
    lock.release()
    return False


def _is_dead(layout: Folder, lock: Lock) -> bool:
    """Whether the build of a layout is dead; its lock is free on this machine."""
    files = layout.list_files()
    if not files:
        return True
    if not all(name in LAYOUT_NAMES or TEMPORARY.fullmatch(name) for name in files):
        return False
    if lock.read(_LONGEST_MACHINE).partition(b"\n")[0] == _read_boot():
        return True
    # Another machine may not share its locks, and writing a blob can take long.
    found = (lock.status, *files.values(), layout.below("blobs").look("sha256"))
    changed = max(status.st_mtime for status in found if status is not None)
    return time.time() - changed > _LONGEST_BUILD


def _read_boot() -> bytes:
    """An ID of this machine's current boot.

    https://man7.org/linux/man-pages/man4/random.4.html
    """
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_bytes().strip()
    except OSError:
        return platform.node().encode()


def create_staging(
    folder: Folder,
    source: Layout,
    name: str,
    donors: Sequence[tuple[Descriptor, CacheManifest]] = (),
) -> Staging:
    """Create a staging layout, and link the live sets of scopes into it.

    Args:
        folder: the store's folder of staging layouts.
        source: the store's layout.
        name: the staging layout's name.
        donors: each scope's entry and manifest; the store has all their blobs.

    Raises:
        StoreError: another build uses the name.
        OSError: the layout cannot be written.
    """
    made = folder.below(name)
    lock = claim_lock(folder, f"{name}.lock", make=True)
    if lock is None:
        raise StoreError(f"the staging layout `{made.path}` belongs to another build")
    staging = Staging(made, tuple(entry for entry, _ in donors), (), (), lock)
    try:
        lock.write(_read_boot() + b"\n" + platform.node().encode() + b"\n")
        _fill_layout(staging.layout)
        for number, (entry, manifest) in enumerate(donors):
            # Only an earlier donor can have linked a blob already.
            sizes = manifest.list_sizes(entry)
            link_blobs(source, staging.layout, sizes, look_first=number > 0)
    except BaseException:
        staging.remove()
        raise
    return staging


def _fill_layout(layout: Layout) -> None:
    layout.make()
    layout.root.write("oci-layout", OCI_LAYOUT.encode(), durable=False)


def link_blobs(
    source: Layout, target: Layout, sizes: Mapping[str, int], *, look_first: bool = False
) -> list[str]:
    """Link blobs of one layout into another.

    Args:
        source: the layout that has them.
        target: the layout that gets them.
        sizes: the blobs' sizes in bytes, by digest.
        look_first: check for existing blobs first; faster if the target has most of them.

    Returns:
        The blobs that the target lacked.

    Raises:
        OSError: a blob can be neither linked nor copied.
    """
    here, there = source.blobs, target.blobs
    return [
        digest
        for digest, size in sizes.items()
        if not (look_first and there.has_size(digest[7:], size))
        and link_blob(here, there, digest[7:], size)
    ]


def find_export(layout: Layout, scope: str, digest: str | None) -> Descriptor:
    """The entry of a scope that buildx exported to a layout.

    Args:
        layout: the staging layout.
        scope: the export's tag.
        digest: the manifest that BuildKit reported; it takes precedence over the index.

    Raises:
        StoreError: the scope was not exported.
    """
    try:
        listed = read_index(layout).find(scope)
    except FileNotFoundError:
        listed = None
    if listed is None:
        raise StoreError(f"buildx did not export a cache for the scope `{scope}`")
    if digest is None or digest == listed.digest:
        return listed
    status = layout.blobs.look(digest[7:])
    if status is None:
        return listed
    size = status.st_size
    document = read_manifest(layout, listed.model_copy(update={"digest": digest, "size": size}))
    kind = document.media_type or listed.media_type
    return Descriptor(media_type=kind, digest=digest, size=size).named(scope)
