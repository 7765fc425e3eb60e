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
from typing import TYPE_CHECKING, Any, BinaryIO

from msgspec import Struct, field

from bxcache.config.json_documents import make_document, pick
from bxcache.config.quantities import format_size
from bxcache.config.wording import name_call
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
from bxcache.store.journal import (
    LARGEST_FILE,
    Page,
    is_ahead,
    name_file,
    name_page,
    parse_page,
    split_records,
)
from bxcache.store.layout import OCI_LAYOUT, Layout, read_manifest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_DAY = 86_400
_PAGES = ".bxcache/scopes/"
_RECORDS = ".bxcache/records/"
_BLOBS = "blobs/sha256/"
_COMPRESSED = ("+gzip", "+zstd", ".gzip")  # of layers' media types


class Packed(Struct, frozen=True):
    """The content of an archive.

    Attributes:
        scopes: the names of the scopes in it.
        blobs: how many blobs they need.
        bytes: the size of these blobs.
    """

    scopes: tuple[str, ...]
    blobs: int
    bytes: int


def write_pack(target: BinaryIO, layout: Layout, index: Index, catalog: Catalog) -> Packed:
    """Write an index and its blobs as an archive; the same content gives the same bytes."""
    blobs = _list_blobs(layout, index)
    write_archive(target, [*_list_documents(index, catalog), *blobs])
    names = tuple(entry.ref_name for entry in index.manifests)
    return Packed(names, len(blobs), sum(blob.size for blob in blobs))


def _list_documents(index: Index, catalog: Catalog) -> Iterator[Member]:
    yield _wrap("oci-layout", OCI_LAYOUT.encode())
    yield _wrap(INDEX_NAME, index.to_json())
    files = catalog.journal.list_files()
    for entry in index.manifests:
        name = name_page(entry)
        # Rounded up to the end of the day: packing never makes a scope look older.
        used = math.ceil(files[name].st_mtime / _DAY) * _DAY if name in files else 0
        yield _wrap(f"{_PAGES}{name}", catalog.journal.read_or_make(entry).to_json(), used)
    for entry in index.manifests:
        if data := b"".join(catalog.records.read(entry.ref_name)):
            yield _wrap(f"{_RECORDS}{name_file(entry.ref_name)}", data)


def _wrap(name: str, data: bytes, mtime: int = 0) -> Member:
    return Member(name, len(data), data, mtime)


def _list_blobs(layout: Layout, index: Index) -> list[Member]:
    """The blobs in the order in which a reader needs them: manifests, configs, layers."""
    found: dict[str, tuple[int, Member]] = {}
    for entry in index.manifests:
        manifest = read_manifest(layout, entry)
        layers = ((2, manifest.blobs[digest]) for digest in manifest.layer_sizes)
        for rank, blob in ((0, entry), (1, manifest.cache_config), *layers):
            if blob is not None:
                found.setdefault(blob.digest, (rank, _pack_blob(layout, blob)))
    ordered = sorted(found.values(), key=lambda each: (each[0], each[1].compressed, each[1].name))
    return [member for _, member in ordered]


def _pack_blob(layout: Layout, blob: Descriptor) -> Member:
    name = blob.digest[7:]
    return Member(
        f"{_BLOBS}{name}",
        blob.size,
        layout.locate(blob.digest),
        compressed=blob.media_type.endswith(_COMPRESSED),
        opener=lambda _path, _flags: layout.blobs.open_file(name),
    )


class Unpacked(Struct, frozen=True):
    """What a store took from an archive.

    Attributes:
        scopes: the names of the scopes that it took.
        kept: the names of the scopes that it has in a later version, which are unchanged.
        new_bytes: the size of the blobs that it did not have.
        store: the store's directory.
    """

    scopes: tuple[str, ...]
    kept: tuple[str, ...]
    new_bytes: int
    store: Path

    def to_dict(self) -> dict[str, Any]:
        """Return the document that `bxcache store unpack --json` prints."""
        return make_document(pick(self, "store", "scopes", "kept", "new_bytes"))


class Unpacking(Struct):
    """An archive while it is read.

    Attributes:
        named: the entries of the index, by the members that have their pages and records.
        listed: the entries of the index, by the digest of their manifests.
        sizes: the sizes of all blobs that the index and its manifests list, by digest.
        missing: the sizes of blobs that are not read yet.
        needed: their sum.
    """

    layout: Layout
    index: Index | None = None
    named: dict[str, Descriptor] = field(default_factory=dict)
    listed: dict[str, list[Descriptor]] = field(default_factory=dict)
    pages: dict[str, Change] = field(default_factory=dict)
    records: dict[str, tuple[bytes, ...]] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    missing: dict[str, int] = field(default_factory=dict)
    needed: int = 0

    def read(self, source: BinaryIO) -> Index:
        """Read an archive into the layout, checking everything, and return its index."""
        for entry in read_archive(source, self.check):
            if entry.name == INDEX_NAME:
                self._take_index(entry)
            elif entry.name.startswith(_PAGES):
                self._take_page(entry)
            elif entry.name.startswith(_RECORDS):
                scope = self.named[entry.name].ref_name
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
        """Raise a StoreError for a member that is unknown, too large, or not of its listed size."""
        expected = None
        if self.index is None:
            most = {"oci-layout": 1 << 10, INDEX_NAME: LARGEST_DOCUMENT}.get(name)
        elif name in self.named:
            most = LARGEST_FILE
        else:
            expected = self.missing.get(f"sha256:{name.removeprefix(_BLOBS)}")
            most = expected if name.startswith(_BLOBS) else None
        if most is None:
            raise StoreError(
                f"the archive contains `{name}`, which does not belong there",
                hint=f"only archives made by `{name_call('store pack')}` can be unpacked",
            )
        if expected not in (None, size):
            raise StoreError(f"`{name}` has {size} bytes in the archive but should have {expected}")
        if size > most:
            raise StoreError(f"`{name}` has {size} bytes in the archive; the limit is {most}")

    def list_changes(self, index: Index, catalog: Catalog) -> dict[str, Change]:
        changes = {}
        for entry in (self.index or Index()).manifests:
            name = entry.ref_name
            change = self.pages.get(name) or Change(Page(scope=name, manifest=entry))
            present = index.find(name)
            page = catalog.journal.read(present) if present else None
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
            self.named[f"{_PAGES}{name_page(each)}"] = each
            self.named[f"{_RECORDS}{name_file(each.ref_name)}"] = each
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
                hint="free some space, or choose another directory for the store",
            )

    def _take_page(self, entry: Entry) -> None:
        page = parse_page(entry.read(LARGEST_FILE))
        listed = self.named[entry.name]
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
        if problem := manifest.find_problem():
            raise StoreError(f"the archive's scope `{listed.ref_name}` is not a cache: {problem}")
        for blob in manifest.blobs.values():
            self._expect(blob)
        self._check_room()
