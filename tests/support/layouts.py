"""Layouts written by hand, in the OCI format and BuildKit's cache format."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from bxcache.store.journal import Work
from bxcache.store.staging import Saved, draw_name
from bxcache.store.store import Store

REF_NAME = "org.opencontainers.image.ref.name"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"
CONFIG_TYPE = "application/vnd.buildkit.cacheconfig.v0"


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def put_blob(layout: Path, data: bytes, kind: str = LAYER_TYPE) -> dict[str, Any]:
    """Write a blob as BuildKit does: read-only, named by its digest."""
    digest = digest_of(data)
    path = layout / "blobs" / "sha256" / digest[7:]
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        path.write_bytes(data)
        path.chmod(0o444)
    return {"mediaType": kind, "digest": digest, "size": len(data)}


def make_config(chains: Iterable[Sequence[bytes]]) -> bytes:
    """Return a cache config with these chains, each from bottom to top.

    As in BuildKit's own configs, a shared beginning is stored once, a parent that is the first link
    is omitted, and the bottom has the parent -1.
    """
    links: dict[tuple[bytes, ...], int] = {}
    layers: list[dict[str, Any]] = []
    for chain in chains:
        for length in range(1, len(chain) + 1):
            head = tuple(chain[:length])
            if head in links:
                continue
            links[head] = len(layers)
            parent = links[head[:-1]] if length > 1 else -1
            link: dict[str, Any] = {"blob": digest_of(chain[length - 1])}
            layers.append(link if parent == 0 else {**link, "parent": parent})
    return json.dumps({"layers": layers, "records": []}).encode()


def export(
    layout: Path,
    scope: str,
    *layers: bytes,
    chains: Iterable[Sequence[bytes]] = (),
    as_index: bool = False,
) -> str:
    """Export a cache into a layout, in either of BuildKit's forms, and return its digest.

    `layers` form one chain; `chains` adds others.
    """
    every = [each for each in (layers, *chains) if each]
    config = put_blob(layout, make_config(every), CONFIG_TYPE)
    blobs = [put_blob(layout, layer) for chain in every for layer in chain]
    document: dict[str, Any] = {"schemaVersion": 2, "mediaType": MANIFEST_TYPE}
    document |= {"manifests": [*blobs, config]} if as_index else {"config": config, "layers": blobs}
    manifest = put_blob(layout, json.dumps(document).encode(), MANIFEST_TYPE)
    write_index(layout, {scope: manifest})
    return str(manifest["digest"])


def write_index(layout: Path, entries: dict[str, dict[str, Any]]) -> None:
    """Name manifests in a layout, in addition to those already named."""
    path = layout / "index.json"
    before = json.loads(path.read_text())["manifests"] if path.exists() else []
    kept = [each for each in before if each["annotations"][REF_NAME] not in entries]
    new = [{**each, "annotations": {REF_NAME: name}} for name, each in entries.items()]
    path.write_text(json.dumps({"schemaVersion": 2, "manifests": [*kept, *new]}))
    (layout / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')


def build(
    store: Store,
    scope: str,
    *layers: bytes,
    donor: str | None = None,
    chains: Iterable[Sequence[bytes]] = (),
    seconds: dict[bytes, float] | None = None,
    as_index: bool = False,
) -> Saved:
    """Change a store as a build does; `seconds` contains the duration of each layer."""
    work = Work(len(layers), {digest_of(each): took for each, took in (seconds or {}).items()})
    with store.snapshot(draw_name(), [donor] if donor else []) as staging:
        digest = export(staging.path, scope, *layers, chains=chains, as_index=as_index)
        return store.commit(staging, scope, digest, work)


def blobs_of(path: Path) -> set[str]:
    return {each.name for each in (path / "blobs" / "sha256").iterdir()}


def blob_file(layout: Path, data: bytes) -> Path:
    """Return the path of the blob with this content in a layout."""
    return layout / "blobs" / "sha256" / digest_of(data)[7:]


def layers_of(layout: Path, digest: str) -> list[str]:
    """Return the layers that a manifest lists."""
    text = (layout / "blobs" / "sha256" / digest[7:]).read_text()
    return [layer["digest"] for layer in json.loads(text)["layers"]]


def damage(path: Path, how: str) -> None:
    """Break a blob: `missing`, `short` or `changed`."""
    data = path.read_bytes()
    path.unlink()
    if how == "short":
        path.write_bytes(data[:-1])
    elif how == "changed":
        path.write_bytes(bytes([data[0] ^ 1]) + data[1:])
