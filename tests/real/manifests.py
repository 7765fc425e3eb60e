"""The layers that the manifest of a saved cache lists, in a store and in a registry."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from tests.engines import Registry
    from tests.engines.registry import Answer

KIND = "application/vnd.oci.image.manifest.v1+json"


def stored_layers(store: Path, digest: str) -> list[dict[str, Any]]:
    """Return the layers of a cache in a store, as its manifest lists them."""
    text = (store / "blobs" / digest.replace(":", "/")).read_text()
    layers: list[dict[str, Any]] = json.loads(text)["layers"]
    return layers


def ask_manifest(registry: Registry, ref: str, name: str) -> Answer:
    """Return a registry's answer for a tag or a digest of a repository."""
    path = f"/v2/{ref.partition('/')[2]}/manifests/{name}"
    return registry.ask("GET", path, headers={"Accept": KIND})


def pushed_layers(registry: Registry, ref: str, name: str) -> list[dict[str, Any]]:
    """Return the layers of a cache in a registry, as its manifest lists them."""
    layers: list[dict[str, Any]] = json.loads(ask_manifest(registry, ref, name).body)["layers"]
    return layers
