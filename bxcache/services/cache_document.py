"""The content of a scope in a cache service: a bare cache config, which describes its layers.

Where a registry has a manifest that lists the layers, this config has annotations of each layer:
https://github.com/moby/buildkit/blob/v0.32.2/cache/remotecache/v1/types/types.go
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from bxcache.errors import StoreError
from bxcache.oci.documents import CONFIG_TYPE, CacheManifest, compute_digest, first_line
from bxcache.oci.graph import Graph

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bxcache.oci.graph import Cache


def parse_cache(data: bytes) -> Cache:
    """Parse a config, and make the manifest that a registry would have of it.

    Raises:
        StoreError: it is not in BuildKit's format.
    """
    try:
        layers = [_describe(each) for each in json.loads(data).get("layers") or ()]
        config = {
            "mediaType": CONFIG_TYPE,
            "digest": compute_digest(data),
            "size": len(data),
        }
        manifest = CacheManifest.model_validate({"config": config, "layers": layers})
        Graph(manifest, data)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise StoreError(f"it is not a build cache: {first_line(error)}") from error
    return manifest, data


def _describe(layer: dict[str, Any]) -> dict[str, Any]:
    known = layer["annotations"]
    return {"mediaType": known["mediaType"], "digest": layer["blob"], "size": known["size"]}


def restore_annotations(config: bytes, sources: Iterable[bytes]) -> bytes:
    """Give the layers of a merged config their annotations in the configs that it was merged from.

    BuildKit imports nothing of a config that has a layer without them.
    """
    known = {
        layer["blob"]: layer["annotations"]
        for source in sources
        for layer in json.loads(source).get("layers") or ()
    }
    document = json.loads(config)
    layers = [{**each, "annotations": known[each["blob"]]} for each in document["layers"]]
    return json.dumps({**document, "layers": layers}, separators=(",", ":")).encode()
