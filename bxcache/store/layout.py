"""Where the documents and the blobs of an OCI layout lie, and how they are read and written.

https://github.com/opencontainers/image-spec/blob/v1.1.0/image-layout.md
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from bxcache.errors import StoreError
from bxcache.store.documents import (
    LARGEST_CONFIG,
    CacheManifest,
    Descriptor,
    Index,
    Outline,
    compute_digest,
    first_line,
    parse_index,
    parse_outline,
)
from bxcache.store.files import LARGEST_DOCUMENT, read_bounded, write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_Parsed = TypeVar("_Parsed")

OCI_LAYOUT = '{"imageLayoutVersion":"1.0.0"}'
INDEX_NAME = "index.json"


def blob_path(layout: Path, digest: str) -> Path:
    """Where a layout keeps a blob; `digest` is one that was checked."""
    algorithm, _, name = digest.partition(":")
    return layout / "blobs" / algorithm / name


def blob_folder(layout: Path) -> str:
    """The folder of a layout's blobs; each is named by the 64 digits of its digest."""
    return f"{layout}/blobs/sha256"


def read_index(layout: Path) -> Index:
    """The index of a layout.

    Raises:
        FileNotFoundError: it has none.
        StoreError: it is there and no index.
    """
    path = layout / INDEX_NAME
    try:
        return parse_index(read_bounded(path))
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise StoreError(
            f"`{path}` cannot be read as an index: {first_line(error)}",
            hint="`bxcache store repair` sets it aside, or move the whole directory away",
        ) from error


def write_index(layout: Path, index: Index) -> None:
    """Replace the index in one step, durably: a reader sees the old one or the new one."""
    write_atomically(layout / INDEX_NAME, index.to_json())


def read_manifest(layout: Path, entry: Descriptor) -> CacheManifest:
    """The manifest that an entry names, its digest checked.

    Raises:
        StoreError: it is missing, changed, or no manifest.
        OSError: it cannot be read.
    """
    return _read_parsed(layout, entry, CacheManifest.model_validate_json)


def read_outline(layout: Path, entry: Descriptor) -> Outline:
    """The outline of the manifest that an entry names, its digest checked.

    Raises:
        StoreError: it is missing, changed, or no manifest.
        OSError: it cannot be read.
    """
    return _read_parsed(layout, entry, parse_outline)


def _read_parsed(layout: Path, entry: Descriptor, parse: Callable[[bytes], _Parsed]) -> _Parsed:
    path = blob_path(layout, entry.digest)
    data = _read_checked(path, entry.digest, entry.size, LARGEST_DOCUMENT)
    try:
        return parse(data)
    except ValueError as error:
        raise StoreError(f"`{path}` is no cache manifest: {first_line(error)}") from error


def read_config(layout: Path, manifest: CacheManifest) -> bytes:
    """The cache config that a manifest names, its digest checked.

    Raises:
        StoreError: it is missing or changed.
        OSError: it cannot be read.
    """
    entry = manifest.cache_config
    if entry is None:
        raise StoreError("the manifest names no cache config")
    return read_config_blob(layout, entry.digest, entry.size)


def read_config_blob(layout: Path, digest: str, size: int) -> bytes:
    """A cache config by its digest and size, both checked.

    Raises:
        StoreError: it is missing or changed.
        OSError: it cannot be read.
    """
    return _read_checked(blob_path(layout, digest), digest, size, LARGEST_CONFIG)


def _read_checked(path: Path, digest: str, size: int, most: int) -> bytes:
    try:
        data = read_bounded(path, most)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise StoreError(f"`{path}`: {error.strerror}") from error
    except ValueError as error:
        raise StoreError(f"`{path}` cannot be used: {error}") from error
    if len(data) != size:
        raise StoreError(f"`{path}` has {len(data)} bytes instead of {size}")
    if compute_digest(data) != digest:
        raise StoreError(f"`{path}` has other content than its name says")
    return data
