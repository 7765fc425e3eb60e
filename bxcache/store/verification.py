"""Whether a store's blobs are what their names say. Nothing is changed, and no lock is held."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bxcache.errors import StoreError
from bxcache.oci.documents import parse_config
from bxcache.store.layout import Layout, read_config, read_index, read_manifest
from bxcache.store.mending import check_size

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bxcache.oci.documents import CacheManifest, Descriptor, Index
    from bxcache.store.catalog import Catalog

_NO_DIGEST = ""


@dataclass(frozen=True, slots=True)
class Damage:
    """Something that is not as it should be.

    Attributes:
        scopes: the scopes that it concerns; none for the index itself.
        digest: the blob; an empty string for the index.
        why: what is wrong with it.
    """

    scopes: tuple[str, ...]
    digest: str
    why: str


@dataclass(frozen=True, slots=True)
class Verification:
    """What a look at a store found.

    Attributes:
        scopes: how many there are.
        blobs: how many blobs they need.
        bytes: the size of these in bytes.
        full: every blob was read and hashed; otherwise only manifests and configs were.
        damages: what is broken.
    """

    scopes: int
    blobs: int
    bytes: int
    full: bool
    damages: tuple[Damage, ...]

    @property
    def broken(self) -> dict[str, str]:
        """What is wrong with each broken blob, by digest."""
        return {damage.digest: damage.why for damage in self.damages if damage.digest}


def verify_store(catalog: Catalog, *, full: bool) -> Verification:
    """Look at a whole store while others may change it.

    Args:
        catalog: the store's.
        full: read every blob and hash it, on all cores.

    Raises:
        StoreError: the index is gone, and the journal is empty.
        OSError: something is there and cannot be read.
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
    """Look at all that an index names.

    Args:
        layout: the store's.
        index: its index.
        full: read every blob and hash it, on all cores.

    Raises:
        OSError: something is there and cannot be read.
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
        _look_at_config(layout, manifest, entry, broken)
        for digest, blob in manifest.blobs.items():
            sizes[digest] = blob.size
            users.setdefault(digest, []).append(entry.ref_name)
    rest = [digest for digest in sizes if digest not in broken]
    broken |= _look_at_files(layout, sizes, rest, full=full)
    damages = tuple(
        Damage(tuple(users[digest]), digest, why) for digest, why in sorted(broken.items())
    )
    return Verification(len(index.manifests), len(sizes), sum(sizes.values()), full, damages)


def _look_at_config(
    layout: Layout, manifest: CacheManifest, entry: Descriptor, broken: dict[str, str]
) -> None:
    strange = manifest.find_strangeness()
    if strange:
        broken[entry.digest] = f"the scope `{entry.ref_name}`: {strange}"
    try:
        parse_config(read_config(layout, manifest))
    except StoreError as error:
        config = manifest.cache_config
        broken[config.digest if config else entry.digest] = error.message


def _look_at_files(
    layout: Layout, sizes: Mapping[str, int], digests: Iterable[str], *, full: bool
) -> dict[str, str]:
    found = {digest: check_size(layout, digest, sizes[digest]) for digest in digests}
    if full:
        whole = [digest for digest, why in found.items() if not why]
        found |= hash_blobs(layout, sorted(whole, key=sizes.__getitem__, reverse=True))
    return {digest: why for digest, why in found.items() if why}


def hash_blobs(layout: Layout, digests: Iterable[str]) -> dict[str, str]:
    """What is wrong with the content of blobs, on all cores; the largest should come first."""
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415  # only a full look needs it

    digests = list(digests)
    # Hashing lets other threads run: https://docs.python.org/3/library/hashlib.html
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(digests, pool.map(lambda each: _hash(layout, each), digests), strict=True))


def _hash(layout: Layout, digest: str) -> str:
    path = layout.locate(digest)
    try:
        with open(layout.blobs.open_file(digest[7:]), "rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
    except FileNotFoundError as error:
        return f"`{path}`: {error.strerror}"
    except StoreError as error:
        return error.message
    return "" if found == digest[7:] else f"`{path}` has other content than its name says"


def find_spoiled(
    layout: Layout, donor: Descriptor, exported: CacheManifest, *, suspect: bool
) -> list[str]:
    """What is wrong with the donor's layers, where that can have spoiled an export.

    BuildKit takes a blob that lies in the layout for good, and leaves out, silently, all that
    follows from a layer that it cannot read. Where nothing hints at that, nothing is read.

    Args:
        layout: the staging layout.
        donor: what was imported from it.
        exported: the manifest of the export.
        suspect: something of the donor could not be loaded.

    Raises:
        OSError: something is there and cannot be read.
    """
    if not layout.blobs.has_file(donor.digest[7:]):
        return []
    layers = read_manifest(layout, donor).layer_sizes
    if not suspect and len(exported.layer_sizes) >= len(layers):
        return []
    return [why for why in hash_blobs(layout, layers).values() if why]


def confirm(layout: Layout, index: Index, first: Verification) -> Verification:
    """The same, less what has been removed or mended meanwhile.

    Args:
        layout: the store's.
        index: the index as it is now.
        first: what was found.
    """
    sizes: dict[str, int] = {}
    for entry in index.manifests:
        sizes[entry.digest] = entry.size
        with suppress(StoreError):
            sizes |= {each: blob.size for each, blob in read_manifest(layout, entry).blobs.items()}
    suspects = [digest for digest in first.broken if digest in sizes]
    still = _look_at_files(layout, sizes, suspects, full=True)
    entries = {entry.digest for entry in index.manifests}
    kept = tuple(d for d in first.damages if d.digest in still or d.digest in entries)
    return replace(first, damages=kept)
