"""Read and write the documents and blobs of an OCI layout.

A manifest or config that is missing, changed or not in its format raises a StoreError, an
unreadable one an OSError.
https://github.com/opencontainers/image-spec/blob/v1.1.0/image-layout.md
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from bxcache.config.wording import name_call
from bxcache.errors import StoreError
from bxcache.oci.documents import (
    INDEX_NAME,
    LARGEST_CONFIG,
    CacheManifest,
    Descriptor,
    Index,
    compute_digest,
    first_line,
    parse_index,
)
from bxcache.store.folders import LARGEST_DOCUMENT, Folder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_Parsed = TypeVar("_Parsed")

OCI_LAYOUT = '{"imageLayoutVersion":"1.0.0"}'
LAYOUT_NAMES = frozenset({INDEX_NAME, "oci-layout", "blobs", "ingest", f"{INDEX_NAME}.lock"})
"""The names that buildx creates in the directory of an export."""


class Layout:
    """The folders of a layout; in `blobs`, each blob is named by the 64 digits of its digest."""

    def __init__(self, root: Folder) -> None:
        self.root = root
        self.blobs = root.below("blobs").below("sha256")

    @classmethod
    def at(cls, path: Path) -> Layout:
        return cls(Folder(path))

    @property
    def path(self) -> Path:
        return self.root.path

    def locate(self, digest: str) -> Path:
        """The path of a blob; `digest` must be valid."""
        return self.blobs.path / digest[7:]

    def remove_ingest(self) -> None:
        """Remove what interrupted exports left; it would make BuildKit fail."""
        with suppress(OSError, StoreError):
            self.root.below("ingest").remove_all(depth=1)  # BuildKit writes in `ingest/ID`

    def make(self) -> None:
        self.root.make()
        self.root.below("blobs").make()
        self.blobs.make()


def read_index(layout: Layout) -> Index:
    """Read the index of a layout; raise a FileNotFoundError if it is missing."""
    try:
        return parse_index(layout.root.read(INDEX_NAME))
    except FileNotFoundError:
        raise
    except (OSError, ValueError, StoreError) as error:
        raise StoreError(
            f"`{layout.path / INDEX_NAME}` is not a valid index: {first_line(error)}",
            hint=f"`{name_call('store repair')}` sets it aside; or move the whole directory away",
        ) from error


def write_index(layout: Layout, index: Index) -> None:
    """Replace the index atomically and durably."""
    layout.root.write(INDEX_NAME, index.to_json())


def read_manifest(layout: Layout, entry: Descriptor) -> CacheManifest:
    """Read the manifest of an entry, and check its digest."""
    return read_parsed(layout, entry, CacheManifest.model_validate_json)


def read_parsed(layout: Layout, entry: Descriptor, parse: Callable[[bytes], _Parsed]) -> _Parsed:
    """Read and parse the manifest of an entry, and check its digest."""
    data = _read_checked(layout, entry.digest, entry.size, LARGEST_DOCUMENT)
    try:
        return parse(data)
    except ValueError as error:
        why = f"`{layout.locate(entry.digest)}` is not a cache manifest: {first_line(error)}"
        raise StoreError(why) from error


def read_config(layout: Layout, manifest: CacheManifest) -> bytes:
    """Read the cache config of a manifest, and check its digest."""
    entry = manifest.cache_config
    if entry is None:
        raise StoreError("the manifest has no cache config")
    return read_config_blob(layout, entry.digest, entry.size)


def read_config_blob(layout: Layout, digest: str, size: int) -> bytes:
    """Read a cache config, and check its digest and size."""
    return _read_checked(layout, digest, size, LARGEST_CONFIG)


def _read_checked(layout: Layout, digest: str, size: int, most: int) -> bytes:
    try:
        data = layout.blobs.read(digest[7:], most)
    except FileNotFoundError as error:
        raise StoreError(f"`{layout.locate(digest)}`: {error.strerror}") from error
    if len(data) != size:
        raise StoreError(f"`{layout.locate(digest)}` has {len(data)} bytes instead of {size}")
    if compute_digest(data) != digest:
        raise StoreError(f"`{layout.locate(digest)}` does not match its digest")
    return data
