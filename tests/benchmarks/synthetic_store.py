"""Stores as large as real ones, with random content, written by hand as buildx and bxcache do."""

from __future__ import annotations

import base64
import itertools
import json
import math
import os
import random
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bxcache.oci.documents import Descriptor
from bxcache.store.directory import Directory
from bxcache.store.journal import Journal, Records, Work, make_page
from bxcache.store.layout import read_index, read_manifest
from tests.support.layouts import (
    CONFIG_TYPE,
    LAYER_TYPE,
    MANIFEST_TYPE,
    REF_NAME,
    digest_of,
    put_blob,
    write_index,
)
from tests.support.synthetic_build import write_instruction

TAR_TYPE = LAYER_TYPE.removesuffix("+gzip")
BOTTOM = -1
DAY = 86_400
BASES, FAMILIES = 8, 40
BASE_LAYERS, FAMILY_LAYERS = 6, 12
SHARED = BASES * BASE_LAYERS + FAMILIES * FAMILY_LAYERS
STAGES = 3
SYMBOLS = bytes(32 + number % 64 for number in range(256))
"""A table that leaves 6 bits of each byte."""

Blob = dict[str, Any]
Link = tuple[Blob, int]
"""A layer and the position of the one below it."""
MakeLayer = Callable[[int, random.Random], bytes]
"""Makes the content of a layer with about this many bytes."""


@dataclass(frozen=True)
class Synthetic:
    """A store that this module made.

    Attributes:
        path: the store.
        scopes: the number of its scopes.
        blobs: the number of files in its folder of blobs.
        bytes: their size.
    """

    path: Path
    scopes: int
    blobs: int
    bytes: int


def put_layer(layout: Path, data: bytes, kind: str = LAYER_TYPE) -> Blob:
    """Write a layer, and describe it as extensively as BuildKit does."""
    blob = put_blob(layout, data, kind)
    notes = {
        "buildkit/createdat": "2026-01-02T03:04:05.123456789Z",
        "containerd.io/uncompressed": digest_of(blob["digest"].encode()),
    }
    return {**blob, "annotations": notes}


def put_scope(layout: Path, links: Sequence[Link]) -> tuple[Blob, Blob]:
    """Write the manifest and the config of a cache with these layers."""
    config = put_blob(layout, _make_config(links), CONFIG_TYPE)
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": config,
        "layers": [blob for blob, _ in links],
    }
    data = json.dumps(document, separators=(",", ":")).encode()
    return put_blob(layout, data, MANIFEST_TYPE), config


def _make_config(links: Sequence[Link]) -> bytes:
    """Make a config with one record for each layer; Go omits a parent that is 0."""
    made = "2026-01-02T03:04:05.123456789Z"
    layers = [{"blob": blob["digest"], **({"parent": at} if at else {})} for blob, at in links]
    records = [
        {
            "layers": [{**({"layer": number} if number else {}), "createdAt": made}],
            "digest": digest_of(blob["digest"].encode() + b"record"),
            "inputs": [[{"link": max(at, 0)}]],
        }
        for number, (blob, at) in enumerate(links)
    ]
    return json.dumps({"layers": layers, "records": records}, separators=(",", ":")).encode()


def finish_store(path: Path, scopes: Mapping[str, Sequence[Link]], seed: int = 7) -> Synthetic:
    """Make a store of a layout with these layers: manifests, index, records and marks."""
    draw = random.Random(seed)
    entries: dict[str, Blob] = {}
    sizes: dict[str, int] = {}
    directory = Directory(path)
    directory.make()
    journal = Journal(directory.scopes)
    for name, links in scopes.items():
        entries[name], config = put_scope(path, links)
        for blob in (entries[name], config, *(blob for blob, _ in links)):
            sizes[blob["digest"]] = blob["size"]
        layers = [blob["digest"] for blob, _ in links]
        work = Work(len(links), {each: draw.expovariate(0.2) for each in layers})
        entry = Descriptor.model_validate({**entries[name], "annotations": {REF_NAME: name}})
        page = make_page(name, entry, layers, work, ())
        journal.write(page, time.time() - draw.uniform(0, 20 * DAY))
    write_index(path, entries)
    directory.mark()
    return Synthetic(path, len(entries), len(sizes), sum(sizes.values()))


def make_wide_store(path: Path, scopes: int, blobs: int) -> Synthetic:
    """Make many scopes with small layers: a shared base, a shared family, and three stages."""
    draw = random.Random(scopes)
    # Each scope has a manifest and a config.
    own = blobs - 2 * scopes - SHARED

    def draw_layers(count: int) -> list[Blob]:
        return [put_layer(path, draw.randbytes(draw.randrange(200, 2000))) for _ in range(count)]

    bases = [draw_layers(BASE_LAYERS) for _ in range(BASES)]
    families = [draw_layers(FAMILY_LAYERS) for _ in range(FAMILIES)]
    stacks: dict[str, list[Link]] = {}
    for number in range(scopes):
        shared = bases[number % FAMILIES % BASES] + families[number % FAMILIES]
        name = name_scope(number % FAMILIES, number // FAMILIES)
        # Together, these are exactly as many as there should be.
        count = own * (number + 1) // scopes - own * number // scopes
        stacks[name] = list(_stack(shared, draw_layers(count)))
    return finish_store(path, stacks)


def name_scope(family: int, branch: int) -> str:
    """Return the name of a scope in a wide store."""
    return f"service-{family:02}.linux-amd64.branch-{branch:03}"


def count_blobs(scopes: int, steps: int) -> int:
    """Count the blobs of a wide store whose builds have this many steps, with the base image's."""
    return SHARED + scopes * (2 + steps - 1 - FAMILY_LAYERS)


def _stack(shared: Sequence[Blob], own: Sequence[Blob]) -> Iterator[Link]:
    """Yield a chain of the shared blobs, and the stages on top of it."""
    for at, blob in enumerate(shared):
        yield blob, at - 1
    tops = [len(shared) - 1] * STAGES
    for at, (blob, stage) in enumerate(zip(own, itertools.cycle(range(STAGES))), len(shared)):
        yield blob, tops[stage]
        tops[stage] = at


def write_records(path: Path, builds: int, steps: int) -> int:
    """Write the records of the last builds of each scope in a wide store.

    Args:
        path: the store.
        builds: the number of builds of each scope.
        steps: the number of steps of each build; the first one is its base image.

    Returns:
        The size of all records in bytes.
    """
    directory = Directory(path)
    records = Records(directory.records)
    draw = random.Random(builds)
    for entry in read_index(directory.layout).manifests:
        layers = [*read_manifest(directory.layout, entry).layer_sizes.items()]
        lines = [*itertools.islice(_draw_records(entry.ref_name, layers, steps, draw), builds)]
        records.add(entry.ref_name, reversed(lines))
    return sum(status.st_size for status in records.list_files().values())


def _draw_records(
    scope: str, layers: Sequence[tuple[str, int]], count: int, draw: random.Random
) -> Iterator[bytes]:
    """Yield the records of a scope, newest first; earlier builds had another layer on top."""
    steps = list(_describe_steps(layers, count))
    record = {**_describe_build(scope), "steps": steps}
    started = time.time() - draw.uniform(0, 20 * DAY)
    for number in itertools.count():
        record["started"] = started - number * DAY
        record["seconds"] = round(draw.expovariate(0.01), 3)
        yield json.dumps(record, separators=(",", ":")).encode() + b"\n"
        top = {"digest": digest_of(draw.randbytes(8)), "size": draw.randrange(200, 2000)}
        steps[-1]["layers"] = [top]


def _describe_build(scope: str) -> dict[str, Any]:
    """Return a build's record without its steps."""
    image, platform, branch = scope.split(".")
    platforms = [platform.replace("-", "/")]
    parts = [
        {"name": f"part-{n}", "line": _find_line(n, -1), "base": "base"} for n in range(STAGES)
    ]
    return {
        "version": 1,
        "scope": {"name": scope, "image": image, "platforms": platforms, "branch": branch},
        "stages": [{"name": "base", "line": 1, "base": "debian:13-slim"}, *parts],
        "images": [{"name": "docker.io/library/debian:13-slim", "digest": digest_of(b"debian")}],
        "arguments": {"key": "0123456789abcdef" * 2, "values": {"VERSION": "0123456789abcdef"}},
        "place": {"provider": "github", "branch": branch, "base": "main", "trusted": True},
        "tools": {"bxcache": "0.1.0", "docker": "28.5.0", "buildx": "v0.29.1", "driver": "docker"},
        "caches": [{"backend": "local", "place": "/var/cache/app", "scope": scope}],
    }


def _describe_steps(layers: Sequence[tuple[str, int]], count: int) -> Iterator[dict[str, Any]]:
    """Yield a step for each layer of a scope in a wide store."""
    told = [{"digest": digest, "size": size} for digest, size in layers]
    base, shared = told[:BASE_LAYERS], 1 + FAMILY_LAYERS
    yield {"kind": "from", "text": "FROM debian:13-slim", "lines": [1], "layers": base}
    for at, layer in enumerate(told[BASE_LAYERS : BASE_LAYERS + count - 1], 1):
        number, stage = divmod(at - shared, STAGES)
        yield {
            "text": write_instruction(at),
            "stage": "base" if at < shared else f"part-{stage}",
            "lines": [at + 1 if at < shared else _find_line(stage, number)],
            "outcome": "executed" if at % 3 else "reused",
            "seconds": 1.234 * at,
            "layers": [layer],
            "parent": at - 1 if at < shared else max(at - STAGES, FAMILY_LAYERS),
        }


def _find_line(stage: int, number: int) -> int:
    """Return the line of a stage's instruction in the Dockerfile; its FROM is at -1."""
    return 100 * (stage + 1) + number


def make_deep_store(path: Path, size: int, make: MakeLayer, kind: str = LAYER_TYPE) -> Synthetic:
    """Make some scopes with layers of all sizes, about this many bytes together.

    Args:
        path: the store.
        size: its size in bytes.
        make: makes the content of a layer.
        kind: the media type of the layers.
    """
    draw = random.Random(size)
    layers = [put_layer(path, make(each, draw), kind) for each in draw_sizes(draw, size)]
    draw.shuffle(layers)
    scopes = {f"image-{n}.linux-amd64": list(_stack([], layers[n::5])) for n in range(5)}
    return finish_store(path, scopes)


def draw_sizes(draw: random.Random, total: int) -> Iterator[int]:
    """Yield sizes of layers as images have them: many small ones, and a few large ones."""
    for _ in range(1200):
        yield draw.randrange(1 << 10, 64 << 10)
        total -= 32 << 10
    while total > 0:
        size = min(int(math.exp(draw.uniform(math.log(64 << 10), math.log(160 << 20)))), total)
        yield max(size, 1 << 10)
        total -= size


def make_noise(size: int, draw: random.Random) -> bytes:
    """Return this many random bytes."""
    return draw.randbytes(size)


def make_gzip(size: int, _draw: random.Random) -> bytes:
    """Return about this many bytes that gzip made, and that zstd cannot compress."""
    packer = zlib.compressobj(1, zlib.DEFLATED, 31, 9, zlib.Z_HUFFMAN_ONLY)
    return packer.compress(os.urandom(size * 4 // 3).translate(SYMBOLS)) + packer.flush()


def make_text(size: int, draw: random.Random) -> bytes:
    """Return this many bytes with many repetitions, like programs."""
    pool = base64.b64encode(os.urandom(300_000))
    pieces: list[bytes] = []
    while size > 0:
        at, length = draw.randrange(len(pool) - 400), min(draw.randrange(20, 400), size)
        pieces.append(pool[at : at + length])
        size -= length
    return b"".join(pieces)
