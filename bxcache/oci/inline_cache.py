"""The inline caches of images: which layers each cache key of BuildKit has, joined in one. Pure.

An image's config has them under a key of its own:
https://github.com/moby/buildkit/blob/v0.25.2/cache/remotecache/inline/inline.go
"""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from graphlib import CycleError, TopologicalSorter
from itertools import chain
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from bxcache.oci.chains import BOTTOM
from bxcache.oci.documents import (
    CacheConfig,
    CacheManifest,
    ConfigLayer,
    Descriptor,
    compute_digest,
)
from bxcache.oci.merging import Merged

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

INLINE = "moby.buildkit.cache.v0"
"""The key of the inline cache in an image's config; its records are in base64."""
_DEAD = -1
"""The position of a layer that is not part of the joined image."""
_DOCKER, _OCI = "application/vnd.docker", "application/vnd.oci.image"
_DOCKER_TO_OCI = {
    f"{_DOCKER}.distribution.manifest.v2+json": f"{_OCI}.manifest.v1+json",
    f"{_DOCKER}.container.image.v1+json": f"{_OCI}.config.v1+json",
    f"{_DOCKER}.image.rootfs.diff.tar": f"{_OCI}.layer.v1.tar",
    f"{_DOCKER}.image.rootfs.diff.tar.gzip": f"{_OCI}.layer.v1.tar+gzip",
    f"{_DOCKER}.image.rootfs.diff.tar.zstd": f"{_OCI}.layer.v1.tar+zstd",
}


class StageImage(Struct, frozen=True):
    """An image for one platform, with the content of its config."""

    manifest: CacheManifest
    config: dict[str, Any]


def caches_top(image: StageImage) -> bool:
    """Whether an image's inline cache has its top layer, and so all below."""
    if INLINE not in image.config:
        return False
    places = range(len(image.manifest.layers))
    try:
        records = json.loads(base64.b64decode(image.config[INLINE]))
        chains = [layers for record in records for layers, _ in _list_chains(record, places)]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        # Joining it gives the reason.
        return True
    return any(layers[-1:] == (places[-1],) for layers in chains)


def read_ids(image: StageImage) -> Sequence[str]:
    """Return the digests of the uncompressed layers."""
    ids: Sequence[str] = image.config["rootfs"]["diff_ids"]
    return ids


def merge_images(images: Sequence[StageImage], before: Iterable[StageImage] = ()) -> Merged:
    """Merge images into one with all their layers and inline caches.

    Of the images `before`, it gets the results whose layers the other images have.

    BuildKit reads the layers of an image as one chain, so each result names its own layers:
    `importInlineCache` and `ParseConfig` in
    https://github.com/moby/buildkit/tree/v0.25.2/cache/remotecache

    Raises:
        ValueError: one is not in BuildKit's format; or LookupError, TypeError, AttributeError.
    """
    layers: dict[str, tuple[Descriptor, str, dict[str, Any]]] = {}
    records: dict[str, _Record] = {}
    for image in images:
        made = [each for each in image.config["history"] if not each.get("empty_layer")]
        for each in zip(image.manifest.layers, read_ids(image), made, strict=True):
            layers.setdefault(each[0].digest, each)
        positions = {digest: position for position, digest in enumerate(layers)}
        places = [positions[layer.digest] for layer in image.manifest.layers]
        _add_records(records, json.loads(base64.b64decode(image.config[INLINE])), places)
    positions = {digest: position for position, digest in enumerate(layers)}
    for image in before:
        # A damaged one must not keep the next from being written.
        with suppress(ValueError, LookupError, TypeError, AttributeError, RecursionError):
            _add_records(records, *_select_live(image, positions))
    at = {name: position for position, name in enumerate(records)}
    first = images[0]
    kept = {key: first.config[key] for key in ("architecture", "os") if key in first.config}
    document = kept | {
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [each for _, each, _ in layers.values()]},
        "history": [each for _, _, each in layers.values()],
        INLINE: base64.b64encode(_dump([each.write(at) for each in records.values()])).decode(),
    }
    config = _dump(document)
    mixed = len({image.manifest.media_type for image in images}) > 1
    described = [layer for layer, _, _ in layers.values()]
    return Merged(_write_manifest(first.manifest, described, config, mixed=mixed), config)


def _select_live(
    image: StageImage, positions: Mapping[str, int]
) -> tuple[list[dict[str, Any]], list[int]]:
    """Select the results whose layers have positions, and the records that lead to them.

    Return the records, and the position of each layer.
    """
    records = json.loads(base64.b64decode(image.config.get(INLINE, "W10=")))
    places = [positions.get(layer.digest, _DEAD) for layer in image.manifest.layers]
    every = range(len(places))
    live = {
        at: [
            {"layers": list(layers), **({"createdAt": created} if created else {})}
            for layers, created in _list_chains(record, every)
            if all(places[layer] != _DEAD for layer in layers)
        ]
        for at, record in enumerate(records)
    }
    inputs = [_read_inputs(record) for record in records]
    left, kept = [at for at, chains in live.items() if chains], set[int]()
    while left:
        at = left.pop()
        _check_position(at, records)
        if at not in kept:
            kept.add(at)
            left += [each["link"] for each in chain(*inputs[at])]
    moved = {at: number for number, at in enumerate(sorted(kept))}
    selected = [
        {
            "digest": records[at]["digest"],
            "chains": live[at],
            "inputs": [
                [{**each, "link": moved[each["link"]]} for each in ways] for ways in inputs[at]
            ],
        }
        for at in moved
    ]
    return selected, places


def _write_manifest(
    first: CacheManifest, layers: Iterable[Descriptor], config: bytes, *, mixed: bool
) -> bytes:
    """The manifest in the form of the first image, or in OCI's if forms are mixed."""
    kind = first.config.media_type if first.config is not None else ""

    def translate(media_type: str) -> str:
        return _DOCKER_TO_OCI.get(media_type, media_type) if mixed else media_type

    return _dump(
        {
            "schemaVersion": 2,
            "mediaType": translate(first.media_type),
            "config": {
                "mediaType": translate(kind),
                "digest": compute_digest(config),
                "size": len(config),
            },
            "layers": [
                each.model_dump(by_alias=True, exclude_unset=True)
                | {"mediaType": translate(each.media_type)}
                for each in layers
            ],
        }
    )


def read_layer_chains(manifest: CacheManifest, config: bytes) -> CacheConfig:
    """How the layers of a joined image build on each other.

    Raises:
        ValueError: it is not a joined image; or LookupError, TypeError, AttributeError.
    """
    records = json.loads(base64.b64decode(json.loads(config)[INLINE]))
    every = range(len(manifest.layers))
    chains = {layers for record in records for layers, _ in _list_chains(record, every)}
    at: dict[tuple[int, ...], int] = {(): BOTTOM}
    links: list[ConfigLayer] = []
    for layers in sorted(chains):
        for length in range(1, len(layers) + 1):
            below, upto = layers[: length - 1], layers[:length]
            if upto not in at:
                at[upto] = len(links)
                blob = manifest.layers[upto[-1]].digest
                links.append(ConfigLayer(blob=blob, parent=at[below]))
    return CacheConfig(layers=tuple(links))


class _Record(Struct):
    """A cache key with its results, and the names of its input records."""

    digest: str
    inputs: list[list[dict[str, Any]]]
    chains: dict[tuple[int, ...], str | None] = field(default_factory=dict)

    def write(self, at: dict[str, int]) -> dict[str, Any]:
        """The record, with links to other records' positions."""
        document: dict[str, Any] = {"digest": self.digest}
        if self.chains:
            document["chains"] = [
                {"layers": list(layers), **({"createdAt": created} if created else {})}
                for layers, created in self.chains.items()
            ]
        if self.inputs:
            document["inputs"] = [
                [{**each, "link": at[each["link"]]} for each in ways] for ways in self.inputs
            ]
        return document


def _list_chains(
    record: dict[str, Any], places: Sequence[int]
) -> Iterator[tuple[tuple[int, ...], str | None]]:
    """The layers of each result, from the bottom, with its creation time."""
    for each in record.get("layers") or ():
        # Only the last layer is named; it implies all below it.
        last = each.get("layer", 0)
        _check_position(last, places)
        yield tuple(places[: last + 1]), each.get("createdAt")
    for each in record.get("chains") or ():
        for layer in each["layers"]:
            _check_position(layer, places)
        yield tuple(places[layer] for layer in each["layers"]), each.get("createdAt")


def _check_position(position: int, within: Sequence[object]) -> None:
    # Python would count a negative position from the end; BuildKit does not.
    if not 0 <= position < len(within):
        raise IndexError(f"{position} is not a position in a list of {len(within)}")


def _read_inputs(record: dict[str, Any]) -> list[list[dict[str, Any]]]:
    return [
        [{**each, "link": each.get("link", 0)} for each in ways or ()]
        for ways in record.get("inputs") or ()
    ]


def _add_records(
    known: dict[str, _Record], records: Sequence[dict[str, Any]], places: Sequence[int]
) -> None:
    """Add the records of an image whose layers have these places in the joined one.

    Each has a name from its digest and inputs, so that equal records share a name.

    Raises:
        ValueError: a record is its own input; or LookupError: an input is missing.
    """
    inputs = [_read_inputs(record) for record in records]
    links = {at: {each["link"] for each in chain(*own)} for at, own in enumerate(inputs)}
    for link in chain(*links.values()):
        _check_position(link, records)
    names: dict[int, str] = {}
    try:
        order = [*TopologicalSorter(links).static_order()]
    except CycleError as error:
        raise ValueError("a record is its own input") from error
    for at in order:
        digest, own = records[at]["digest"], inputs[at]
        ways = [sorted({(e.get("selector", ""), names[e["link"]]) for e in each}) for each in own]
        names[at] = compute_digest(_dump([digest, ways]))
    for at, record in enumerate(records):
        named = [[{**each, "link": names[each["link"]]} for each in ways] for ways in inputs[at]]
        added = known.setdefault(names[at], _Record(record["digest"], named))
        added.chains |= dict(_list_chains(record, places))


def _dump(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
