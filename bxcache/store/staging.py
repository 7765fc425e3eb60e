"""A running build's own layout, which shares blobs with the store, and how its export is saved."""

from __future__ import annotations

import os
import platform
import re
import secrets
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from bxcache.errors import StoreError
from bxcache.oci.chains import find_lost, list_chains
from bxcache.oci.documents import CacheManifest, Descriptor, compute_digest, parse_config
from bxcache.oci.merging import Merged, merge_caches
from bxcache.oci.succession import choose_successor
from bxcache.oci.union import unite_caches
from bxcache.store.catalog import Catalog, Change
from bxcache.store.folders import TEMPORARY, Folder, link_blob
from bxcache.store.journal import Work, make_page
from bxcache.store.layout import (
    LAYOUT_NAMES,
    OCI_LAYOUT,
    Layout,
    read_config,
    read_index,
    read_manifest,
)
from bxcache.store.locks import Lock, claim_lock
from bxcache.store.verification import find_broken, hash_blobs, write_manifest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet

_LOCK_NAME = re.compile(r"([0-9a-f]{12})\.lock")
_DEPTH = 3  # of a layout's folders: `blobs/sha256`, `ingest/ID`
_LONGEST_MACHINE = 200
_LONGEST_BUILD = 86_400
"""How long to keep a layout of another machine, or from before this machine's last boot, after its
last change, in seconds. This machine cannot see whether its build is alive."""


class Staging(Struct, frozen=True):
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
        return self.folder.path

    @property
    def layout(self) -> Layout:
        """The layout with fresh folder handles, since buildx may recreate its folders."""
        return Layout(self.folder)

    def empty(self) -> None:
        """Remove everything that was linked or exported, and start again."""
        # On a full disk, buildx fails to export, and the build continues without this cache.
        with suppress(OSError, StoreError):
            self.folder.empty(_DEPTH)
            _fill_layout(self.layout)

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
    return tuple(name for name in _list_names(folder) if _sweep(folder, name))


def list_dead(folder: Folder) -> tuple[str, ...]:
    """List the staging layouts of dead builds; the caller holds the store's lock."""
    return tuple(name for name in _list_names(folder) if _sweep(folder, name, keep=True))


def _list_names(folder: Folder) -> Iterator[str]:
    found = (_LOCK_NAME.fullmatch(name) for name in sorted(folder.list_names()))
    return (match[1] for match in found if match)


def _sweep(folder: Folder, name: str, *, keep: bool = False) -> bool:
    """Remove the layout of a dead build, or `keep` it; whether it is one."""
    layout = folder.below(name)
    # One that belongs to another user or is not a layout stays; it does no harm.
    with suppress(OSError, StoreError), ExitStack() as stack:
        lock = claim_lock(folder, f"{name}.lock")
        if lock is not None:
            stack.callback(lock.release)
            if _is_dead(layout, lock):
                if not keep:
                    layout.remove_all(_DEPTH)
                    stack.pop_all()
                    lock.remove()
                return True
    return False


def _is_dead(layout: Folder, lock: Lock) -> bool:
    """Whether the build of a layout is dead; its lock is free on this machine."""
    files = layout.list_files()
    if not files:
        return True
    if not all(name in LAYOUT_NAMES or TEMPORARY.fullmatch(name) for name in files):
        return False
    if os.pread(lock.handle, _LONGEST_MACHINE, 0).partition(b"\n")[0] == _read_boot():
        return True
    # Another machine may not share its locks, and writing a blob can take long.
    found = (os.fstat(lock.handle), *files.values(), layout.below("blobs").look("sha256"))
    changed = max(status.st_mtime for status in found if status is not None)
    return time.time() - changed > _LONGEST_BUILD


def _read_boot() -> bytes:
    """This machine's boot: https://man7.org/linux/man-pages/man4/random.4.html"""
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
    """Create a staging layout, and link the live sets of scopes in the store into it."""
    made = folder.below(name)
    lock = claim_lock(folder, f"{name}.lock", make=True)
    if lock is None:
        raise StoreError(f"the staging layout `{made.path}` belongs to another build")
    staging = Staging(made, tuple(entry for entry, _ in donors), (), (), lock)
    try:
        os.write(lock.handle, _read_boot() + b"\n" + platform.node().encode() + b"\n")
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
    """Link blobs into another layout; return those that it lacked. `sizes` has bytes by digest.

    With `look_first`, it checks for existing blobs first: faster if the target has most of them.
    """
    here, there = source.blobs, target.blobs
    return [
        digest
        for digest, size in sizes.items()
        if not (look_first and there.has_size(digest[7:], size))
        and link_blob(here, there, digest[7:], size)
    ]


def find_export(layout: Layout, scope: str, digest: str | None) -> Descriptor:
    """The entry of a scope that buildx exported; BuildKit's digest overrides that of the index."""
    listed = None
    with suppress(FileNotFoundError):
        listed = read_index(layout).find(scope)
    if listed is None:
        raise StoreError(f"buildx did not export a cache for the scope `{scope}`")
    if digest is None or digest == listed.digest:
        return listed
    status = layout.blobs.look(digest[7:])
    if status is None:
        return listed
    kind, size = listed.media_type, status.st_size
    entry = Descriptor(media_type=kind, digest=digest, size=size).named(scope)
    return entry.model_copy(update={"media_type": read_manifest(layout, entry).media_type or kind})


class Saved(Struct, frozen=True):
    """What a commit saved: the digest of the scope's manifest, and the size of its blobs in bytes.

    `new_bytes` is the size of the blobs that the store did not have, `unchanged` means that the
    scope already had this manifest, and `contents` has the digests of its layers.
    """

    digest: str
    bytes: int
    new_bytes: int
    layers: int
    unchanged: bool
    contents: frozenset[str]


def read_export(
    layout: Layout,
    scope: str,
    digest: str | None,
    others: Sequence[str],
) -> tuple[Descriptor, CacheManifest]:
    """Read a scope's future entry and its manifest, or raise a StoreError if a part is missing."""
    entry = find_export(layout, scope, digest)
    if others:
        entry = _join_exports(layout, entry, others)
    manifest = read_manifest(layout, entry)
    for why in find_broken(layout, manifest).values():
        raise StoreError(f"the exported cache is incomplete: {why}")
    return entry, manifest


def keep_results(
    layout: Layout,
    donor: Descriptor,
    entry: Descriptor,
    manifest: CacheManifest,
    *,
    executed: bool,
) -> tuple[Descriptor, CacheManifest]:
    """The entry and manifest with the results of a donor that the export lost.

    If the donor or one of these results is damaged, the export stays as it is.
    """
    after = manifest, read_config(layout, manifest)
    try:
        before = read_manifest(layout, donor)
        cache = before, read_config(layout, before)
        successor = choose_successor(cache, after, executed=executed)
    except StoreError:
        return entry, manifest
    content, kept = manifest, entry
    if successor.is_before:
        content, kept = before, donor.named(entry.ref_name)
    elif successor.merged is not None:
        content = CacheManifest.model_validate_json(successor.merged.manifest)
        kept = _write_merged(layout, entry, successor.merged)
    restored = content.layer_sizes.keys() - manifest.layer_sizes.keys()
    damaged = any(hash_blobs(layout, restored).values())
    return (entry, manifest) if damaged else (kept, content)


def add_results(
    catalog: Catalog, staging: Staging, entry: Descriptor, manifest: CacheManifest
) -> tuple[Descriptor, CacheManifest]:
    """The entry and manifest of all that the donor has and an export adds to it.

    StoreError if the scope has another cache than the donor, which must not be replaced.
    """
    layout, own = staging.layout, catalog.recover().find(entry.ref_name)
    donor = next(iter(staging.donors), None)
    if own is not None and (donor is None or own.digest != donor.digest):
        raise StoreError(f"the scope `{entry.ref_name}` has a cache that the build did not import")
    before = read_manifest(layout, donor) if donor is not None else None
    cache = (before, read_config(layout, before)) if before is not None else None
    united = unite_caches(cache, (manifest, read_config(layout, manifest)))
    if united.merged is None:
        if donor is None or before is None:
            return entry, manifest
        return donor.named(entry.ref_name), before
    content = CacheManifest.model_validate_json(united.merged.manifest)
    return _write_merged(layout, entry, united.merged), content


def cut_unsound(
    layout: Layout, entry: Descriptor, manifest: CacheManifest, sound: AbstractSet[str] | None
) -> tuple[Descriptor, CacheManifest]:
    """Leave out the layers that are not sound, if only some are, with all layers above them."""
    unsound = set() if sound is None else manifest.layer_sizes.keys() - sound
    if not unsound:
        return entry, manifest
    links = list_chains(parse_config(read_config(layout, manifest)), manifest.layer_sizes)
    cut = manifest.without(find_lost(links, unsound))
    return write_manifest(layout, entry, cut), cut


def _join_exports(layout: Layout, entry: Descriptor, others: Sequence[str]) -> Descriptor:
    """Merge the manifests that a builder's nodes exported, and write the result beside them."""
    entries = [entry, *(find_export(layout, entry.ref_name, each) for each in others)]
    manifests = [read_manifest(layout, each) for each in entries]
    return _write_merged(
        layout, entry, merge_caches([(each, read_config(layout, each)) for each in manifests])
    )


def _write_merged(layout: Layout, entry: Descriptor, merged: Merged) -> Descriptor:
    digests = {compute_digest(data): data for data in (merged.config, merged.manifest)}
    layout.blobs.write_together({d[7:]: data for d, data in digests.items()}, mode=0o444)
    *_, digest = digests
    return entry.model_copy(update={"digest": digest, "size": len(merged.manifest)})


def take_export(
    catalog: Catalog, staging: Staging, entry: Descriptor, manifest: CacheManifest, work: Work
) -> Saved:
    """Link the blobs into the store and change its index; the caller holds the store's lock.

    After an OSError, the scope is unchanged.
    """
    scope, layers, sizes = entry.ref_name, manifest.layer_sizes, manifest.list_sizes(entry)
    index = catalog.recover()
    before = index.find(scope)
    new = link_blobs(staging.layout, catalog.layout, sizes, look_first=True)
    catalog.layout.blobs.sync()
    earlier = [*staging.donors, *([before] if before else [])]
    known = [each for each in map(catalog.journal.read, earlier) if each]
    catalog.change(index, {scope: Change(make_page(scope, entry, layers, work, known))})
    saved = _describe(entry, manifest, sum(sizes[digest] for digest in new))
    return replace(saved, unchanged=before is not None and before.digest == entry.digest)


def renew_scope(catalog: Catalog, scope: str, digest: str, state: str) -> Saved | None:
    """Mark a scope as used by a build that has nothing new; None if it is another one now."""
    index = catalog.recover()
    entry = index.find(scope)
    page = catalog.journal.read(entry) if entry is not None else None
    if entry is None or page is None or entry.digest != digest:
        return None
    catalog.change(index, {scope: Change(page.model_copy(update={"state": state}))})
    return _describe(entry, read_manifest(catalog.layout, entry), 0)


def _describe(entry: Descriptor, manifest: CacheManifest, new_bytes: int) -> Saved:
    return Saved(
        digest=entry.digest,
        bytes=sum(manifest.list_sizes(entry).values()),
        new_bytes=new_bytes,
        layers=len(manifest.layer_sizes),
        unchanged=True,
        contents=frozenset(manifest.layer_sizes),
    )
