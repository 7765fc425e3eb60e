"""Turn a build's export in its staging layout into a scope's content, all or nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bxcache.errors import StoreError
from bxcache.oci.chains import find_lost, list_chains
from bxcache.oci.documents import compute_digest, parse_config
from bxcache.oci.merging import merge_caches
from bxcache.store.catalog import Catalog, Change
from bxcache.store.journal import Work, make_page
from bxcache.store.layout import Layout, read_config, read_manifest
from bxcache.store.repair import find_broken, write_manifest
from bxcache.store.staging import Staging, find_export, link_blobs

if TYPE_CHECKING:
    from collections.abc import Sequence
    from collections.abc import Set as AbstractSet

    from bxcache.oci.documents import CacheManifest, Descriptor


@dataclass(frozen=True, slots=True)
class Saved:
    """What a commit saved.

    Attributes:
        digest: the digest of the scope's manifest.
        bytes: the size of the scope's blobs, each counted once.
        new_bytes: the size of the blobs that the store did not have.
        layers: how many distinct layers the scope has.
        unchanged: the scope already had this manifest.
        contents: the digests of its layers.
    """

    digest: str
    bytes: int
    new_bytes: int
    layers: int
    unchanged: bool
    contents: frozenset[str]


@dataclass(frozen=True, slots=True)
class Export:
    """A complete export of buildx.

    Attributes:
        scope: the scope's name.
        entry: its future entry in the index.
        manifest: its manifest.
    """

    scope: str
    entry: Descriptor
    manifest: CacheManifest


def read_export(
    staging: Staging, scope: str, digest: str | None, others: Sequence[str] = ()
) -> Export:
    """Read a scope's export, and check that it is complete.

    Raises:
        StoreError: nothing was exported, or the export is incomplete.
    """
    layout = staging.layout
    entry = find_export(layout, scope, digest)
    if others:
        entry = _join_exports(layout, entry, others)
    manifest = read_manifest(layout, entry)
    broken = find_broken(layout, manifest)
    if broken:
        why = next(iter(broken.values()))
        raise StoreError(f"the exported cache is incomplete: {why}")
    return Export(scope, entry, manifest)


def _join_exports(layout: Layout, entry: Descriptor, others: Sequence[str]) -> Descriptor:
    """Merge the manifests that a builder's nodes exported, and write the result beside them."""
    entries = [entry, *(find_export(layout, entry.ref_name, each) for each in others)]
    manifests = [read_manifest(layout, each) for each in entries]
    merged = merge_caches([(each, read_config(layout, each)) for each in manifests])
    digests = {compute_digest(data): data for data in (merged.config, merged.manifest)}
    layout.blobs.write_together({d[7:]: data for d, data in digests.items()}, mode=0o444)
    *_, digest = digests
    return entry.model_copy(update={"digest": digest, "size": len(merged.manifest)})


def cut_export(staging: Staging, export: Export, sound: AbstractSet[str]) -> Export:
    """The export with only sound layers, without any layer above an unsound one.

    Raises:
        StoreError: its config is damaged.
    """
    layers = export.manifest.layer_sizes
    unsound = layers.keys() - sound
    if not unsound:
        return export
    config = parse_config(read_config(staging.layout, export.manifest))
    manifest = export.manifest.without(find_lost(list_chains(config, layers), unsound))
    entry = write_manifest(staging.layout, export.entry, manifest)
    return replace(export, entry=entry, manifest=manifest)


def take_export(catalog: Catalog, staging: Staging, export: Export, work: Work) -> Saved:
    """Link the blobs into the store and change its index; the caller holds the store's lock.

    Raises:
        OSError: a file cannot be written; the scope is unchanged.
    """
    entry, scope = export.entry, export.scope
    sizes = export.manifest.list_sizes(entry)
    index, _ = catalog.recover()
    before = index.find(scope)
    new = link_blobs(staging.layout, catalog.layout, sizes, look_first=True)
    catalog.layout.blobs.sync()
    earlier = [*staging.donors, *([before] if before else [])]
    known = [each for each in map(catalog.journal.read, earlier) if each]
    page = make_page(scope, entry, export.manifest.layer_sizes, work, known)
    catalog.change(index, {scope: Change(page)})
    return Saved(
        digest=entry.digest,
        bytes=sum(sizes.values()),
        new_bytes=sum(sizes[digest] for digest in new),
        layers=len(export.manifest.layer_sizes),
        unchanged=before is not None and before.digest == entry.digest,
        contents=frozenset(export.manifest.layer_sizes),
    )
