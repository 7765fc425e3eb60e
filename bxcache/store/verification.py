"""Verify a store's blobs against their names, without changes and without a lock."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bxcache.errors import StoreError
from bxcache.oci.documents import parse_config
from bxcache.store.layout import Layout, read_config, read_index, read_manifest
from bxcache.store.repair import check_size

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bxcache.oci.documents import CacheManifest, Descriptor, Index
    from bxcache.store.catalog import Catalog

_NO_DIGEST = ""


@dataclass(frozen=True, slots=True)
class Damage:
    """A damaged blob or index.

    Attributes:
        scopes: the affected scopes; empty for the index.
        digest: the blob; empty for the index.
        why: what is wrong.
    """

    scopes: tuple[str, ...]
    digest: str
    why: str


@dataclass(frozen=True, slots=True)
class Verification:
    """The result of verifying a store.

    Attributes:
        scopes: the number of scopes.
        blobs: the number of blobs that they need.
        bytes: the size of these blobs.
        full: every blob was read and hashed, not only manifests and configs.
        damages: what is damaged.
    """

    scopes: int
    blobs: int
    bytes: int
    full: bool
    damages: tuple[Damage, ...]

    @property
    def broken(self) -> dict[str, str]:
        """Why each broken blob is broken, by digest."""
        return {damage.digest: damage.why for damage in self.damages if damage.digest}


def verify_store(catalog: Catalog, *, full: bool) -> Verification:
    """Verify a store that others may change meanwhile.

    Args:
        catalog: the store's.
        full: read and hash every blob, on all cores.

    Raises:
        StoreError: the index is missing, and the journal is empty.
        OSError: a file exists but cannot be read.
    """
    try:
        index = read_index(catalog.layout)
    except FileNotFoundError:
        index = catalog.read()
    except StoreError as error:
        return Verification(0, 0, 0, full, (Damage((), _NO_DIGEST, error.message),))
    found = verify_scopes(catalog.layout, index, full=full)
    return confirm(catalog.layout, catalog.read(), found) if found.damages else found


def verify_scopes(layout: Layout, index: Index, *, full: bool) -> Verification:
    """Verify all scopes of an index.

    Args:
        layout: the store's.
        index: its index.
        full: read and hash every blob, on all cores.

    Raises:
        OSError: a file exists but cannot be read.
    """
    sizes: dict[str, int] = {}
    users: dict[str, list[str]] = {}
    broken: dict[str, str] = {}
    for entry in index.manifests:
        users.setdefault(entry.digest, []).append(entry.ref_name)
        sizes[entry.digest] = entry.size
        try:
            manifest = read_manifest(layout, entry)
        except StoreError as error:
            broken[entry.digest] = error.message
            continue
        _check_config(layout, manifest, entry, broken)
        for digest, blob in manifest.blobs.items():
            sizes[digest] = blob.size
            users.setdefault(digest, []).append(entry.ref_name)
    rest = [digest for digest in sizes if digest not in broken]
    broken |= _check_files(layout, sizes, rest, full=full)
    damages = tuple(
        Damage(tuple(users[digest]), digest, why) for digest, why in sorted(broken.items())
    )
    return Verification(len(index.manifests), len(sizes), sum(sizes.values()), full, damages)


def _check_config(
    layout: Layout, manifest: CacheManifest, entry: Descriptor, broken: dict[str, str]
) -> None:
    problem = manifest.find_problem()
    if problem:
        broken[entry.digest] = f"the scope `{entry.ref_name}`: {problem}"
    try:
        parse_config(read_config(layout, manifest))
    except StoreError as error:
        config = manifest.cache_config
        broken[config.digest if config else entry.digest] = error.message


def _check_files(
    layout: Layout, sizes: Mapping[str, int], digests: Iterable[str], *, full: bool
) -> dict[str, str]:
    found = {digest: check_size(layout, digest, sizes[digest]) for digest in digests}
    if full:
        whole = [digest for digest, why in found.items() if not why]
        found |= hash_blobs(layout, sorted(whole, key=sizes.__getitem__, reverse=True))
    return {digest: why for digest, why in found.items() if why}


def hash_blobs(layout: Layout, digests: Iterable[str]) -> dict[str, str | None]:
    """Hash blobs on all cores, preferably largest first; what is wrong with each, by digest."""
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415  # only for full verification

    digests = list(digests)
    # Hashing releases the GIL: https://docs.python.org/3/library/hashlib.html
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(digests, pool.map(lambda each: _hash(layout, each), digests), strict=True))


def _hash(layout: Layout, digest: str) -> str | None:
    path = layout.locate(digest)
    try:
        with open(layout.blobs.open_file(digest[7:]), "rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
    except FileNotFoundError as error:
        return f"`{path}`: {error.strerror}"
    except StoreError as error:
        return error.message
    return None if found == digest[7:] else f"`{path}` does not match its digest"


def find_spoiled(
    layout: Layout, donor: Descriptor, exported: CacheManifest, *, suspect: bool
) -> list[str]:
    """What is wrong with the donor's layers, if that may have spoiled an export.

    BuildKit trusts a blob that is in the layout, and silently omits everything that follows from a
    layer it cannot read. Without a sign of that, no layer is read.

    Args:
        layout: the staging layout.
        donor: the import.
        exported: the manifest of the export.
        suspect: a part of the donor failed to load.

    Raises:
        OSError: a file exists but cannot be read.
    """
    if not layout.blobs.has_file(donor.digest[7:]):
        return []
    layers = read_manifest(layout, donor).layer_sizes
    if not suspect and len(exported.layer_sizes) >= len(layers):
        return []
    return [why for why in hash_blobs(layout, layers).values() if why]


def confirm(layout: Layout, index: Index, first: Verification) -> Verification:
    """The result without blobs that were removed or repaired in the meantime.

    Args:
        layout: the store's.
        index: the current index.
        first: the earlier result.
    """
    sizes: dict[str, int] = {}
    for entry in index.manifests:
        sizes[entry.digest] = entry.size
        with suppress(StoreError):
            sizes |= {each: blob.size for each, blob in read_manifest(layout, entry).blobs.items()}
    suspects = [digest for digest in first.broken if digest in sizes]
    still = _check_files(layout, sizes, suspects, full=True)
    entries = {entry.digest for entry in index.manifests}
    kept = tuple(d for d in first.damages if d.digest in still or d.digest in entries)
    return replace(first, damages=kept)
