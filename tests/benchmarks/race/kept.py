"""How much is kept between builds: files, and what the tags of a repository need."""

from __future__ import annotations

import http
import json
from pathlib import Path
from typing import Any

from tests.engines import Registry

_IMAGES = (
    *("application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.index.v1+json"),
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_BLOBS = "docker/registry/v2/blobs/sha256"
_REPOSITORIES = "docker/registry/v2/repositories"


def measure_folder(folder: Path) -> int:
    """Return the bytes of all files below a folder."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())


def measure_pushed(registry: Registry, repository: str) -> int:
    """Return the bytes that the registry has for a repository, as long as it collects nothing."""
    kinds = ("_layers/sha256", "_manifests/revisions/sha256")
    top = registry.storage / _REPOSITORIES / repository
    names = {path.name for kind in kinds for path in (top / kind).glob("*")}
    blobs = (registry.storage / _BLOBS / name[:2] / name / "data" for name in names)
    return sum(blob.stat().st_size for blob in blobs if blob.exists())


def measure_tagged(registry: Registry, repository: str) -> int:
    """Return the bytes that the tags of a repository need, each blob counted once."""
    answer = registry.ask("GET", f"/v2/{repository}/tags/list")
    if answer.status != http.HTTPStatus.OK:
        return 0
    sizes: dict[str, int] = {}
    for tag in json.loads(answer.body)["tags"] or ():
        _collect(registry, repository, tag, sizes)
    return sum(sizes.values())


def _collect(registry: Registry, repository: str, reference: str, sizes: dict[str, int]) -> None:
    headers = {"Accept": ", ".join(_IMAGES)}
    path = f"/v2/{repository}/manifests/{reference}"
    answer = registry.ask("GET", path, headers=headers)
    if answer.status != http.HTTPStatus.OK:
        return
    document: dict[str, Any] = json.loads(answer.body)
    sizes[answer.headers.get("Docker-Content-Digest", reference)] = len(answer.body)
    for part in (document.get("config"), *document.get("layers", ())):
        if part:
            sizes[part["digest"]] = part["size"]
    for part in document.get("manifests", ()):
        sizes[part["digest"]] = part["size"]
        if part["mediaType"] in _IMAGES:
            _collect(registry, repository, part["digest"], sizes)
