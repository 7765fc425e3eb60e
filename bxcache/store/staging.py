"""A running build's own layout, beside the blobs that it shares with the store."""

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
"""A layout has folders in folders: `blobs/sha256`, `ingest/ID`."""
_LONGEST_MACHINE = 200
_LONGEST_BUILD = 86_400
"""How long a layout of another machine, or of this one before its last start, stays after its last
change; in seconds. Whether its build lives cannot be seen from here."""


@dataclass(frozen=True, slots=True)
class Staging:
    """A staging layout, alive while its owner holds its lock.

    Attributes:
        folder: the layout; buildx imports from it and exports to it, by its path.
        donors: the manifests that were linked in, under their scopes' names, best first.
        notes: what was mended in the store before.
        swept: the names of staging layouts that killed builds had left, and that are gone now.
    """

    folder: Folder
    donors: tuple[Descriptor, ...]
    notes: tuple[str, ...]
    swept: tuple[str, ...]
    lock: Lock

    @property
    def path(self) -> Path:
        """Where it is."""
        return self.folder.path

    @property
    def layout(self) -> Layout:
        """The layout as it is now: buildx makes its folders as it likes."""
        return Layout(self.folder)

    @property
    def donor(self) -> Descriptor | None:
        """The best of the donors, or None when there is nothing to import."""
        return next(iter(self.donors), None)

    def empty(self) -> None:
        """Take out everything that was linked in or exported, and start anew."""
        # On a full disk buildx finds out by itself, and the build goes on without this cache.
        with suppress(OSError, StoreError):
            self.folder.empty(_DEPTH)
            _fill_layout(self.layout)

    def drop_unfinished(self) -> None:
        """Take out the blobs that are not there as a whole."""
        self.layout.remove_ingest()

    def remove(self) -> None:
        """Remove the layout and give up its lock."""
        with suppress(OSError, StoreError):
            self.folder.remove_all(_DEPTH)
        self.lock.remove()


def draw_name() -> str:
    """A name for a staging layout that no other build has."""
    return secrets.token_hex(6)


def sweep_staging(folder: Folder) -> tuple[str, ...]:
    """Remove what builds that no longer live have left, and tell their names.

    Only what a build makes is touched: a layout of a drawn name, beside a lock that nobody holds.
    The caller holds the store's lock, so nobody is about to claim a name.
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
        # Another user's, or no layout: it stays, and is in nobody's way.
        pass
    lock.release()
    return False


def _is_dead(layout: Folder, lock: Lock) -> bool:
    """Whether a layout was made by a build that no longer lives; its lock is free here."""
    files = layout.list_files()
    if not files:
        return True
    if not all(name in LAYOUT_NAMES or TEMPORARY.fullmatch(name) for name in files):
        return False
    if lock.read(_LONGEST_MACHINE).partition(b"\n")[0] == _read_boot():
        return True
    # Another machine need not share its locks with this one, and blobs are written for long.
    found = (lock.status, *files.values(), layout.below("blobs").look("sha256"))
    changed = max(status.st_mtime for status in found if status is not None)
    return time.time() - changed > _LONGEST_BUILD


def _read_boot() -> bytes:
    """What tells this machine, since it was started, from all others.

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
    """Make a staging layout, with the live sets of scopes linked in.

    Args:
        folder: the store's folder of staging layouts.
        source: the store's layout.
        name: the staging layout's name.
        donors: each scope's entry and its manifest, all of whose blobs are there.

    Raises:
        StoreError: the name is another build's.
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
            # Only what a donor before had is there already.
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
    here, there = source.blobs, target.blobs
    return [
        digest
        for digest, size in sizes.items()
        if not (look_first and there.has_size(digest[7:], size))
        and link_blob(here, there, digest[7:], size)
    ]


def find_export(layout: Layout, scope: str, digest: str | None) -> Descriptor:
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
    if digest is None or digest == listed.digest:
        return listed
    status = layout.blobs.look(digest[7:])
    if status is None:
        return listed
    size = status.st_size
    document = read_manifest(layout, listed.model_copy(update={"digest": digest, "size": size}))
    kind = document.media_type or listed.media_type
    return Descriptor(media_type=kind, digest=digest, size=size).named(scope)
