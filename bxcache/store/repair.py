"""Cut broken layers out of a scope, so that BuildKit misses them instead of failing."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bxcache.config.quantities import format_count
from bxcache.errors import StoreError
from bxcache.oci.chains import find_lost, list_chains
from bxcache.oci.documents import CacheManifest, Descriptor, compute_digest, parse_config
from bxcache.store.catalog import Catalog, Change
from bxcache.store.journal import Page
from bxcache.store.layout import Layout, read_config, read_manifest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from bxcache.oci.documents import Index


def find_broken(layout: Layout, manifest: CacheManifest) -> dict[str, str]:
    """The blobs that are missing or differ in size from the manifest, and what is wrong."""
    checked = ((each, check_size(layout, each, b.size)) for each, b in manifest.blobs.items())
    return {digest: why for digest, why in checked if why}


def is_whole(layout: Layout, entry: Descriptor) -> bool:
    """Whether all blobs of a scope exist with the right size.

    Raises:
        OSError: a file cannot be read.
    """
    try:
        manifest = read_manifest(layout, entry)
        read_config(layout, manifest)
    except StoreError:
        return False
    return not find_broken(layout, manifest)


def check_size(layout: Layout, digest: str, size: int) -> str | None:
    """Why a blob's file is missing or has the wrong size, or None."""
    status = layout.blobs.look(digest[7:])
    if status is not None and stat.S_ISREG(status.st_mode) and status.st_size == size:
        return None
    path = layout.locate(digest)
    if status is None:
        return f"`{path}`: {os.strerror(errno.ENOENT)}"
    if not stat.S_ISREG(status.st_mode):
        return f"`{path}` is not a regular file"
    return f"`{path}` has {status.st_size} bytes instead of {size}"


@dataclass(frozen=True, slots=True)
class RepairedScope:
    """A scope after a check.

    Attributes:
        entry: its entry for the index; None if the scope is beyond repair.
        manifest: the manifest of `entry`.
        broken: the broken blobs.
        note: what was repaired, for people; may be empty.
    """

    entry: Descriptor | None
    manifest: CacheManifest | None
    broken: frozenset[str] = frozenset()
    note: str = ""


def repair_scope(layout: Layout, entry: Descriptor, known: Mapping[str, str]) -> RepairedScope:
    """Check a scope without reading its layers, and cut out broken ones.

    The repaired manifest is written; the caller puts it into the index.

    Args:
        layout: the store's.
        entry: the scope's entry in the index.
        known: blobs that are known to be broken, and why.

    Raises:
        OSError: a file cannot be read or written.
    """
    name = entry.ref_name
    try:
        if entry.digest in known:
            raise StoreError(known[entry.digest])  # noqa: TRY301  # like one found here
        manifest = read_manifest(layout, entry)
        broken = find_broken(layout, manifest)
        broken |= {digest: why for digest, why in known.items() if digest in manifest.blobs}
        config = read_config(layout, manifest)
        if not broken:
            return RepairedScope(entry, manifest)
        lost = find_lost(list_chains(parse_config(config), manifest.layer_sizes), broken.keys())
    except StoreError as error:
        return RepairedScope(None, None, note=f"the scope `{name}` was dropped: {error.message}")
    cut = manifest.without(lost)
    why = next(iter(broken.values()))
    more = "" if len(broken) == 1 else f" (and {len(broken) - 1} more)"
    taken = len(lost) - len(broken)
    verb = "is" if len(broken) == 1 else "are"
    note = f"{format_count(len(broken), 'layer')} of the scope `{name}` {verb} broken: {why}{more}"
    if taken:
        note += f"; left out with {format_count(taken, 'layer')} on top of it"
    return RepairedScope(write_manifest(layout, entry, cut), cut, frozenset(broken), note)


class Repairer:
    """Repairs scopes of one store; the caller holds the store's lock."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def list_donors(
        self, index: Index, donors: Iterable[str], notes: list[str]
    ) -> Iterator[tuple[Descriptor, CacheManifest]]:
        """The usable scopes among the donors, repaired, with their last use set to now."""
        for name in donors:
            entry = index.find(name)
            if entry is None:
                continue
            index, repaired = self.repair(index, entry, {}, notes)
            if repaired is not None:
                self._catalog.journal.touch(repaired[0])
                yield repaired

    def repair(
        self, index: Index, entry: Descriptor, known: Mapping[str, str], notes: list[str]
    ) -> tuple[Index, tuple[Descriptor, CacheManifest] | None]:
        """Cut broken layers out of a scope and the index, and remove their files.

        Args:
            index: the store's index.
            entry: the scope's entry in it.
            known: blobs that are known to be broken, and why.
            notes: repairs are added here.

        Returns:
            The new index, and the scope if it is still usable.
        """
        repaired = repair_scope(self._catalog.layout, entry, known)
        kept = None
        if repaired.entry is not None and repaired.manifest is not None:
            kept = (repaired.entry, repaired.manifest)
        if repaired.note:
            notes.append(repaired.note)
            change = self._renew(entry, repaired.entry) if repaired.entry else None
            index = self._catalog.change(index, {entry.ref_name: change})
            for digest in repaired.broken:
                self._catalog.layout.blobs.remove(digest[7:])
        return index, kept

    def _renew(self, old: Descriptor, entry: Descriptor) -> Change:
        pages = self._catalog.journal
        page = pages.read(old) or Page(scope=old.ref_name, manifest=old)
        return Change(page.renewed(entry), pages.find_last_use(old))


def write_manifest(layout: Layout, entry: Descriptor, manifest: CacheManifest) -> Descriptor:
    """Write a changed manifest as a blob, and return its entry."""
    renewed, data = renew_entry(entry, manifest)
    layout.blobs.write(renewed.digest[7:], data, mode=0o444)
    return renewed


def renew_entry(entry: Descriptor, manifest: CacheManifest) -> tuple[Descriptor, bytes]:
    """The entry of a changed manifest, and the manifest's bytes."""
    data = manifest.to_json()
    digest = compute_digest(data)
    return entry.model_copy(update={"digest": digest, "size": len(data)}), data
