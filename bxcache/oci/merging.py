"""Merge the caches that each node of a builder exported for one build. Pure.

With buildx, each node exports on its own, to the same destination, and the last one wins:
https://github.com/docker/buildx/issues/1044
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from bxcache.errors import StoreError
from bxcache.oci.documents import LARGEST_CONFIG, CacheManifest, Descriptor, compute_digest

if TYPE_CHECKING:
    from collections.abc import Sequence


class Merged(Struct, frozen=True):
    """A merged cache: the bytes of its documents."""

    manifest: bytes
    config: bytes


def merge_caches(
    caches: Sequence[tuple[CacheManifest, bytes]], *, largest: float = LARGEST_CONFIG
) -> Merged:
    """Merge caches, each a manifest with its config, into one.

    Raises:
        StoreError: one is not in BuildKit's format, or the merged config is too large.
    """
    try:
        config = _merge_configs([json.loads(config) for _, config in caches])
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise StoreError(f"a cache config is not in BuildKit's format: {error}") from error
    if len(config) > largest:
        raise StoreError("the merged cache of the builder's nodes is too large")
    manifests = [manifest for manifest, _ in caches]
    layers = {each: found.blobs[each] for found in manifests for each in sorted(found.layer_sizes)}
    return Merged(write_merged(manifests[0], [*layers.values()], config), config)


def _merge_configs(configs: Sequence[dict[str, Any]]) -> bytes:
    layers: list[dict[str, Any]] = []
    records: list[dict[str, Any]] = []
    for each in configs:
        links, results = len(records), len(layers)
        layers += [_shift_layer(layer, results) for layer in each.get("layers") or ()]
        records += [_shift_record(r, links, results) for r in each.get("records") or ()]
    return json.dumps({"layers": layers, "records": records}, separators=(",", ":")).encode()


def _shift_layer(layer: dict[str, Any], by: int) -> dict[str, Any]:
    # An absent parent is 0, since Go omits zero values; -1 is the bottom.
    parent = layer.get("parent", 0)
    return {**layer, "parent": parent + by if parent >= 0 else parent}


def _shift_record(record: dict[str, Any], links: int, layers: int) -> dict[str, Any]:
    shifted = dict(record)
    if record.get("layers"):
        shifted["layers"] = [
            {**each, "layer": each.get("layer", 0) + layers} for each in record["layers"]
        ]
    if record.get("chains"):
        shifted["chains"] = [
            {**each, "layers": [at + layers for at in each["layers"]]} for each in record["chains"]
        ]
    if record.get("inputs"):
        shifted["inputs"] = [
            [{**each, "link": each.get("link", 0) + links} for each in alternatives or ()]
            for alternatives in record["inputs"]
        ]
    return shifted


def write_merged(first: CacheManifest, layers: list[Descriptor], config: bytes) -> bytes:
    """Write a manifest in the form of the first, with other layers and another config."""
    if first.cache_config is None:
        raise StoreError("the manifest has no cache config")
    digest = compute_digest(config)
    named = first.cache_config.model_copy(update={"digest": digest, "size": len(config)})
    if first.config is not None:
        changed = first.model_copy(update={"config": named, "layers": tuple(layers)})
    else:
        changed = first.model_copy(update={"manifests": (*layers, named)})
    return changed.to_json()
