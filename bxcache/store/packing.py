"""A store, or some of its scopes, as one archive for CI systems that keep files.

The archive's members, in this order: `oci-layout`, `index.json`, the journal, the records, the
manifests, the configs, the layers. With this order, a reader knows whether a member belongs there,
and its size, before it reads it. Unpacked by hand, the archive is a store.
"""

from __future__ import annotations

import hashlib
import math
import os
import shutil
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO

from bxcache.config.quantities import format_size
from bxcache.errors import StoreError
from bxcache.oci.documents import (
    INDEX_NAME,
    Descriptor,
    Index,
    check_scope_name,
    first_line,
    parse_index,
)
from bxcache.store.archive import Entry, Member, read_archive, write_archive
from bxcache.store.catalog import Catalog, Change
from bxcache.store.folders import LARGEST_DOCUMENT
from bxcache.store.journal import LARGEST_PAGE, Journal, Page, is_ahead, name_page, parse_page
from bxcache.store.layout import OCI_LAYOUT, Layout, read_manifest
from bxcache.store.records import LARGEST_FILE, Records, name_file, split_records

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_DAY = 86_400
_PAGES = ".bxcache/scopes/"
_RECORDS = ".bxcache/records/"
_BLOBS = "blobs/sha256/"
_COMPRESSED = ("+gzip", "+zstd", ".gzip")
"""The suffixes of compressed layers' media types."""


@dataclass(frozen=True, slots=True)
class Packed:
    """The content of an archive.

    Attributes:
        scopes: the names of its scopes.
        blobs: the number of its blobs.
        bytes: their size.
    """

    scopes: tuple[str, ...]
    blobs: int
    bytes: int


def write_pack(target: BinaryIO, layout: Layout, index: Index, catalog: Catalog) -> Packed:
    """Write a layout as an archive; the same layout gives the same bytes.

    Args:
        target: the archive to write.
        layout: has all blobs that `index` needs.
        index: the scopes to pack.
        catalog: the store's.

    Raises:
        StoreError: a blob is missing or broken.
        OSError: a file cannot be read or written.
    """
    blobs = _list_blobs(layout, index)
    data = index.to_json()
    members = [
        Member("oci-layout", len(OCI_LAYOUT), OCI_LAYOUT.encode()),
        Member(INDEX_NAME, len(data), data),
        *_list_pages(index, catalog.journal),
        *_list_records(index, catalog.records),
        *blobs,
    ]
    write_archive(target, members)
    names = tuple(entry.ref_name for entry in index.manifests)
    return Packed(names, len(blobs), sum(blob.size for blob in blobs))


def _list_blobs(layout: Layout, index: Index) -> list[Member]:
    """The blobs in the order in which a reader needs them."""
    found: dict[str, tuple[int, bool, Member]] = {}

    def add(rank: int, blob: Descriptor) -> None:
        compressed = blob.media_type.endswith(_COMPRESSED)
        name, path = f"{_BLOBS}{blob.digest[7:]}", layout.locate(blob.digest)
        member = Member(name, blob.size, path, compressed=compressed, opener=_open(layout, path))
        found.setdefault(blob.digest, (rank, compressed, member))

    for entry in index.manifests:
        manifest = read_manifest(layout, entry)
        add(0, entry)
        if manifest.cache_config is not None:
            add(1, manifest.cache_config)
        for digest in manifest.layer_sizes:
            add(2, manifest.blobs[digest])
    ordered = sorted(found.values(), key=lambda each: (each[0], each[1], each[2].name))
    return [member for _, _, member in ordered]


def _open(layout: Layout, path: Path) -> Callable[[str, int], int]:
    return lambda _path, _flags: layout.blobs.open_file(path.name)


def _list_pages(index: Index, journal: Journal) -> Iterator[Member]:
    files = journal.list_files()
    for entry in index.manifests:
        name = name_page(entry.ref_name, entry.digest)
        page = journal.read(entry) or Page(scope=entry.ref_name, manifest=entry)
        data = page.to_json()
        # Rounded up to the end of the day: packing never makes a scope look older.
        used = math.ceil(files[name].st_mtime / _DAY) * _DAY if name in files else 0
        yield Member(f"{_PAGES}{name}", len(data), data, mtime=used)


def _list_records(index: Index, records: Records) -> Iterator[Member]:
    for entry in index.manifests:
        data = b"".join(records.read(entry.ref_name))
        if data:
            yield Member(f"{_RECORDS}{name_file(entry.ref_name)}", len(data), data)


@dataclass(frozen=True, slots=True)
class Unpacked:
    """The result of unpacking an archive.

    Attributes:
        scopes: the scopes that the store took.
        kept: the scopes that the store already had in a later version.
        new_bytes: the size of the blobs that the store did not have.
    """

    scopes: tuple[str, ...]
    kept: tuple[str, ...]
    new_bytes: int


@dataclass(slots=True)
class Unpacking:
    """An archive while it is read.

    Attributes:
        layout: the destination of its blobs.
        index: its index; None until it is read.
        named: the entries of the index, by the file name of their pages.
        listed: the entries of the index, by the digest of their manifests.
        pages: each scope's page, with the scope's last use.
        built: the scopes of the index, by the file name of their records.
        records: the records of each scope's builds.
        sizes: the sizes of all blobs that the index and its manifests list, by digest.
        missing: the sizes of blobs that are not read yet.
        needed: their sum.
    """

    layout: Layout
    index: Index | None = None
    named: dict[str, Descriptor] = field(default_factory=dict)
    listed: dict[str, list[Descriptor]] = field(default_factory=dict)
    pages: dict[str, Change] = field(default_factory=dict)
    built: dict[str, str] = field(default_factory=dict)
    records: dict[str, tuple[bytes, ...]] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    missing: dict[str, int] = field(default_factory=dict)
    needed: int = 0

    def read(self, source: BinaryIO) -> Index:
        """Read an archive into the layout, checking everything.

        Raises:
            StoreError: it is damaged or incomplete, or has content that does not belong there.
            OSError: a file cannot be read or written.
        """
        for entry in read_archive(source, self.check):
            if entry.name == INDEX_NAME:
                self._take_index(entry)
            elif entry.name.startswith(_PAGES):
                self._take_page(entry)
            elif entry.name.startswith(_RECORDS):
                scope = self.built[entry.name.removeprefix(_RECORDS)]
                self.records[scope] = split_records(entry.read(LARGEST_FILE))
            elif entry.name.startswith(_BLOBS):
                self._take_blob(entry)
        if self.index is None:
            raise StoreError(f"the archive is not a packed store: it has no `{INDEX_NAME}`")
        if self.missing:
            raise StoreError(
                f"the archive lacks {len(self.missing)} blobs that it lists, such as "
                f"`{next(iter(self.missing))}`"
            )
        self.layout.blobs.sync()
        return self.index

    def check(self, name: str, size: int) -> None:
        """Refuse a member that does not belong here, before reading it.

        Raises:
            StoreError: it is unknown, too large, or not of the size listed before.
        """
        if self.index is None:
            most = {"oci-layout": 1 << 10, INDEX_NAME: LARGEST_DOCUMENT}.get(name, -1)
        elif name.startswith(_PAGES):
            most = LARGEST_PAGE if name.removeprefix(_PAGES) in self.named else -1
        elif name.startswith(_RECORDS):
            most = LARGEST_FILE if name.removeprefix(_RECORDS) in self.built else -1
        else:
            digest = f"sha256:{name.removeprefix(_BLOBS)}"
            expected = self.missing.get(digest) if name.startswith(_BLOBS) else None
            if expected is not None and expected != size:
                raise StoreError(
                    f"`{name}` has {size} bytes in the archive but should have {expected}"
                )
            most = -1 if expected is None else size
        if most < 0:
            raise StoreError(
                f"the archive contains `{name}`, which does not belong there",
                hint="only archives made by `bxcache store pack` can be unpacked",
            )
        if size > most:
            raise StoreError(f"`{name}` has {size} bytes in the archive; the limit is {most}")

    def list_changes(self, index: Index, journal: Journal) -> dict[str, Change]:
        """The changes to a store with this index and journal."""
        changes = {}
        for entry in (self.index or Index()).manifests:
            name = entry.ref_name
            change = self.pages.get(name) or Change(Page(scope=name, manifest=entry))
            present = index.find(name)
            page = journal.read(present) if present else None
            if page is None or is_ahead(page.saved) or page.saved <= change.page.saved:
                changes[name] = change
        return changes

    def _take_index(self, entry: Entry) -> None:
        try:
            self.index = parse_index(entry.read(LARGEST_DOCUMENT))
        except ValueError as error:
            raise StoreError(f"the archive's index is invalid: {first_line(error)}") from error
        for each in self.index.manifests:
            check_scope_name(each.ref_name)
            self.named[name_page(each.ref_name, each.digest)] = each
            self.built[name_file(each.ref_name)] = each.ref_name
            self.listed.setdefault(each.digest, []).append(each)
            self._expect(each)
            if each.size > LARGEST_DOCUMENT:
                raise StoreError(f"the archive lists a manifest of {format_size(each.size)}")
        self._check_room()

    def _expect(self, blob: Descriptor) -> None:
        if blob.digest not in self.sizes:
            self.sizes[blob.digest] = self.missing[blob.digest] = blob.size
            self.needed += blob.size
        if self.sizes[blob.digest] != blob.size:
            raise StoreError(f"the archive lists `{blob.digest}` with two sizes")

    def _check_room(self) -> None:
        free = shutil.disk_usage(self.layout.root.handle).free
        if self.needed > free:
            raise StoreError(
                f"the archive needs {format_size(self.needed)}; only {format_size(free)} are free",
                hint="free some space, or choose another directory with `--dir`",
            )

    def _take_page(self, entry: Entry) -> None:
        page = parse_page(entry.read(LARGEST_PAGE))
        listed = self.named[entry.name.removeprefix(_PAGES)]
        own = (listed.ref_name, listed.digest)
        if page is not None and (page.scope, page.manifest.digest) == own:
            now = float(round(time.time()))
            saved = now if is_ahead(page.saved) else page.saved
            changed = page.model_copy(update={"manifest": listed, "saved": saved})
            self.pages[page.scope] = Change(changed, min(float(entry.mtime), now))

    def _take_blob(self, entry: Entry) -> None:
        digest = f"sha256:{entry.name.removeprefix(_BLOBS)}"
        self._write_blob(entry, digest)
        self.needed -= self.missing.pop(digest)
        for listed in self.listed.get(digest, ()):
            self._take_manifest(listed)

    def _write_blob(self, entry: Entry, digest: str) -> None:
        hashed = hashlib.sha256()
        with open(self.layout.blobs.create_file(digest[7:]), "wb") as stream:
            for chunk in entry.chunks():
                hashed.update(chunk)
                stream.write(chunk)
            stream.flush()
            os.fsync(stream.fileno())
            os.fchmod(stream.fileno(), 0o444)
        if hashed.hexdigest() != digest[7:]:
            raise StoreError(f"`{entry.name}` in the archive does not match its digest")

    def _take_manifest(self, listed: Descriptor) -> None:
        manifest = read_manifest(self.layout, listed)
        problem = manifest.find_problem()
        if problem:
            raise StoreError(f"the archive's scope `{listed.ref_name}` is not a cache: {problem}")
        for blob in manifest.blobs.values():
            self._expect(blob)
        self._check_room()
