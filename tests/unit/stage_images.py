"""Images with an inline cache, written by hand in BuildKit's format and read by its rules.

https://github.com/moby/buildkit/blob/v0.25.2/cache/remotecache/inline/inline.go
https://github.com/moby/buildkit/blob/v0.25.2/cache/remotecache/import.go
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Sequence
from typing import Any

from tests.support.layouts import digest_of

INLINE = "moby.buildkit.cache.v0"
OCI = "application/vnd.oci.image"
DOCKER = "application/vnd.docker"
KINDS: dict[str, dict[str, str]] = {
    "oci": {
        "manifest": f"{OCI}.manifest.v1+json",
        "config": f"{OCI}.config.v1+json",
        "layer": f"{OCI}.layer.v1.tar+gzip",
    },
    "docker": {
        "manifest": f"{DOCKER}.distribution.manifest.v2+json",
        "config": f"{DOCKER}.container.image.v1+json",
        "layer": f"{DOCKER}.image.rootfs.diff.tar.gzip",
    },
}
INDEX = f"{OCI}.index.v1+json"

Record = dict[str, Any]
Key = tuple[Any, ...]
"""A key of the cache by its digest and those that it follows from, each with a selector."""
Told = dict[Key, set[tuple[str, ...]]]
"""The layers of each result of each key."""


def layer_of(name: str) -> str:
    """Return the digest of the layer with this name."""
    return digest_of(name.encode())


def diff_id_of(name: str) -> str:
    """Return the digest of the layer's unpacked content."""
    return digest_of(b"unpacked " + name.encode())


def history_of(layers: Iterable[str]) -> list[dict[str, Any]]:
    """Return the history of an image with these layers; every second instruction makes none."""
    history: list[dict[str, Any]] = []
    for name in layers:
        history += [{"created_by": f"RUN {name}"}, {"created_by": "ENV A=b", "empty_layer": True}]
    return history


def write_records(records: Sequence[Record]) -> str:
    """Encode records as in an image's config."""
    return base64.b64encode(json.dumps(records).encode()).decode()


def write_config(layers: Sequence[str], records: Sequence[Record] | None, **more: Any) -> bytes:  # noqa: ANN401
    """Return the config of an image; without records, it has no inline cache."""
    document: dict[str, Any] = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Env": ["A=b"]},
        "rootfs": {"type": "layers", "diff_ids": [diff_id_of(each) for each in layers]},
        "history": history_of(layers),
    }
    if records is not None:
        document[INLINE] = write_records(records)
    return json.dumps({**document, **more}).encode()


def write_manifest(layers: Sequence[str], config: bytes, kind: str = "oci") -> bytes:
    """Return the manifest of an image."""
    types = KINDS[kind]
    document = {
        "schemaVersion": 2,
        "mediaType": types["manifest"],
        "config": {
            "mediaType": types["config"],
            "digest": digest_of(config),
            "size": len(config),
        },
        "layers": [
            {"mediaType": types["layer"], "digest": layer_of(each), "size": len(each)}
            for each in layers
        ],
    }
    return json.dumps(document).encode()


def write_index(*manifests: bytes) -> bytes:
    """Return the index of an image for several platforms."""
    entries = [
        {
            "mediaType": json.loads(each)["mediaType"],
            "digest": digest_of(each),
            "size": len(each),
            "platform": {"os": "linux", "architecture": f"cpu{number}"},
        }
        for number, each in enumerate(manifests)
    ]
    return json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).encode()


def read_cache(manifest: bytes, config: bytes) -> Told:
    """Return the layers that BuildKit reads from an image, whose layers form one chain in order."""
    layers = [each["digest"] for each in json.loads(manifest)["layers"]]
    document = json.loads(config)
    assert len(document["rootfs"]["diff_ids"]) == len(layers)
    assert len([h for h in document["history"] if not h.get("empty_layer")]) == len(layers)
    records = json.loads(base64.b64decode(document[INLINE]))
    told: Told = {}
    for at, record in enumerate(records):
        found = told.setdefault(_name_key(records, at), set())
        for result in record.get("layers", ()):
            found.add(tuple(layers[: result.get("layer", 0) + 1]))
        for chain in record.get("chains", ()):
            found.add(tuple(layers[number] for number in chain["layers"]))
    return told


def _name_key(records: Sequence[Record], at: int) -> Key:
    ways = records[at].get("inputs", ())
    return (
        records[at]["digest"],
        *(
            frozenset(
                (each.get("selector", ""), _name_key(records, each.get("link", 0)))
                for each in inputs
            )
            for inputs in ways
        ),
    )
