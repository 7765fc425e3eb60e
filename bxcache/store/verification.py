"""Find damage in a store, and cut it out, so that BuildKit misses it instead of failing.

Blobs are verified against their names without changes and without a lock; a repair needs the lock.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from bxcache.config.json_documents import make_document, pick
from bxcache.config.quantities import format_count
from bxcache.errors import StoreError
from bxcache.oci.chains import find_lost, list_chains
from bxcache.oci.documents import CacheManifest, Descriptor, compute_digest, parse_config
from bxcache.store.catalog import Catalog, Change
from bxcache.store.layout import Layout, read_config, read_index, read_manifest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from bxcache.oci.documents import Index


class Damage(Struct, frozen=True):
    """A damaged blob, or a damaged index.

    Attributes:
        scopes: the names of the scopes that need the blob; empty for an index.
        digest: which blob it is; empty for an index.
        why: what is wrong with it, for people.
    """

    scopes: tuple[str, ...]
    digest: str
    why: str


class Verification(Struct, frozen=True):
    """The result of verifying a store.

    Attributes:
        scopes: how many scopes the store has.
        blobs: how many blobs they need.
        bytes: the size of these blobs.
        full: whether every blob was read and hashed, not only manifests and configs.
        damages: what is damaged; empty for a sound store.
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

    def to_dict(self) -> dict[str, Any]:
        """Return the document that `bxcache store verify --json` prints."""
        damages = [
            {"scopes": each.scopes, "digest": each.digest or None, "why": each.why}
            for each in self.damages
        ]
        known = pick(self, "scopes", "blobs", "bytes", "full")
        return make_document({**known, "damages": damages})


def verify_store(catalog: Catalog, *, full: bool) -> Verification:
    """Verify a store that others may change meanwhile."""
    try:
        index = read_index(catalog.layout)
    except FileNotFoundError:
        index = catalog.read()
    except StoreError as error:
        return Verification(0, 0, 0, full, (Damage((), "", error.message),))
    found = verify_scopes(catalog.layout, index, full=full)
    return confirm(catalog.layout, catalog.read(), found) if found.damages else found


def verify_scopes(layout: Layout, index: Index, *, full: bool) -> Verification:
    """Verify all scopes of an index; if `full`, hash every blob."""
    sizes: dict[str, int] = {}
    users: dict[str, list[str]] = {}
    broken: dict[str, str] = {}
    for entry in index.manifests:
        listed = {entry.digest: entry.size}
        try:
            manifest = read_manifest(layout, entry)
            listed = manifest.list_sizes(entry)
            _check_config(layout, manifest, entry, broken)
        except StoreError as error:
            broken[entry.digest] = error.message
        sizes |= listed
        for digest in listed:
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
    if problem := manifest.find_problem():
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
    `suspect` is one: a part of the donor failed to load.
    """
    if not layout.blobs.has_file(donor.digest[7:]):
        return []
    layers = read_manifest(layout, donor).layer_sizes
    if not suspect and len(exported.layer_sizes) >= len(layers):
        return []
    return [why for why in hash_blobs(layout, layers).values() if why]


def confirm(layout: Layout, index: Index, first: Verification) -> Verification:
    """An earlier result without blobs that were removed or repaired in the meantime."""
    sizes: dict[str, int] = {}
    for entry in index.manifests:
        with suppress(StoreError):
            sizes |= read_manifest(layout, entry).list_sizes(entry)
    suspects = [digest for digest in first.broken if digest in sizes]
    still = _check_files(layout, sizes, suspects, full=True)
    entries = {entry.digest for entry in index.manifests}
    kept = tuple(d for d in first.damages if d.digest in still or d.digest in entries)
    return replace(first, damages=kept)


def find_broken(layout: Layout, manifest: CacheManifest) -> dict[str, str]:
    """The blobs that are missing or differ in size from the manifest, and what is wrong."""
    checked = ((each, check_size(layout, each, b.size)) for each, b in manifest.blobs.items())
    return {digest: why for digest, why in checked if why}


def is_whole(layout: Layout, entry: Descriptor) -> bool:
    """Whether all blobs of a scope exist with the right size."""
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


def list_donors(
    catalog: Catalog, index: Index, names: Iterable[str]
) -> Iterator[tuple[Descriptor, CacheManifest]]:
    """The usable scopes among these, repaired, with their last use set to now."""
    for name in names:
        entry = index.find(name)
        if entry is not None:
            index, repaired = repair_scope(catalog, index, entry, {})
            if repaired is not None:
                catalog.journal.touch(repaired[0])
                yield repaired


def repair_scope(
    catalog: Catalog, index: Index, entry: Descriptor, known: Mapping[str, str]
) -> tuple[Index, tuple[Descriptor, CacheManifest] | None]:
    """Cut broken layers out of a scope, remove their files, and return the new index.

    It also returns the scope if that is still usable. Its layers are not read; `known` has the
    blobs that are known to be broken, and why.
    """
    layout, name = catalog.layout, entry.ref_name
    try:
        if entry.digest in known:
            raise StoreError(known[entry.digest])  # noqa: TRY301  # like one found here
        manifest = read_manifest(layout, entry)
        broken = find_broken(layout, manifest)
        broken |= {digest: why for digest, why in known.items() if digest in manifest.blobs}
        config = read_config(layout, manifest)
        if not broken:
            return index, (entry, manifest)
        lost = find_lost(list_chains(parse_config(config), manifest.layer_sizes), broken.keys())
    except StoreError as error:
        catalog.notes.append(f"the scope `{name}` was dropped: {error.message}")
        return catalog.change(index, {name: None}), None
    catalog.notes.append(_describe_loss(name, broken, len(lost) - len(broken)))
    cut = manifest.without(lost)
    renewed = write_manifest(layout, entry, cut)
    page = catalog.journal.read_or_make(entry).renewed(renewed)
    index = catalog.change(index, {name: Change(page, catalog.journal.find_last_use(entry))})
    for digest in broken:
        layout.blobs.remove(digest[7:])
    return index, (renewed, cut)


def _describe_loss(scope: str, broken: Mapping[str, str], taken: int) -> str:
    count, why = len(broken), next(iter(broken.values()))
    more = "" if count == 1 else f" (and {count - 1} more)"
    verb = "is" if count == 1 else "are"
    note = f"{format_count(count, 'layer')} of the scope `{scope}` {verb} broken: {why}{more}"
    return f"{note}; left out with {format_count(taken, 'layer')} on top of it" if taken else note


def write_manifest(layout: Layout, entry: Descriptor, manifest: CacheManifest) -> Descriptor:
    """Write a changed manifest as a blob, and return its entry."""
    renewed, data = renew_entry(entry, manifest)
    layout.blobs.write(renewed.digest[7:], data, mode=0o444)
    return renewed


def renew_entry(entry: Descriptor, manifest: CacheManifest) -> tuple[Descriptor, bytes]:
    data = manifest.to_json()
    digest = compute_digest(data)
    return entry.model_copy(update={"digest": digest, "size": len(data)}), data
