"""The images of a build's stages, and one that joins all their inline caches.

For BuildKit, each import is a separate cache manager. For each step, it picks any manager that
knows it, and then misses what the others know about later steps. With six images of six stages,
three in five builds found only a part (https://github.com/moby/buildkit/issues/4674). So bxcache
writes one more image, which never runs: it has all layers and all cache records.
"""

from __future__ import annotations

import base64
import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from itertools import chain
from typing import TYPE_CHECKING, Any

from bxcache.errors import RegistryError, Trouble
from bxcache.oci.chains import BOTTOM
from bxcache.oci.documents import (
    LARGEST_CONFIG,
    CacheConfig,
    CacheManifest,
    ConfigLayer,
    Descriptor,
    compute_digest,
)
from bxcache.oci.merging import Merged
from bxcache.registry.repository import RemoteManifest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from bxcache.registry.repository import Repository

INLINE = "moby.buildkit.cache.v0"
"""The key of the inline cache in an image's config; its records are in base64:
https://github.com/moby/buildkit/blob/v0.25.2/cache/remotecache/inline/inline.go"""
_MOST_AT_ONCE = 8
_DOCKER, _OCI = "application/vnd.docker", "application/vnd.oci.image"
_DOCKER_TO_OCI = {
    f"{_DOCKER}.distribution.manifest.v2+json": f"{_OCI}.manifest.v1+json",
    f"{_DOCKER}.container.image.v1+json": f"{_OCI}.config.v1+json",
    f"{_DOCKER}.image.rootfs.diff.tar": f"{_OCI}.layer.v1.tar",
    f"{_DOCKER}.image.rootfs.diff.tar.gzip": f"{_OCI}.layer.v1.tar+gzip",
    f"{_DOCKER}.image.rootfs.diff.tar.zstd": f"{_OCI}.layer.v1.tar+zstd",
}


@dataclass(frozen=True, slots=True)
class StageImage:
    """An image for one platform, with the content of its config."""

    manifest: CacheManifest
    config: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ReadImage:
    """An image as the registry has it, with its content for each platform."""

    digest: str | None
    platforms: tuple[StageImage, ...]

    @property
    def has_cache(self) -> bool:
        """Whether its inline cache has its top layer for each platform, and so all below."""
        return all(_caches_top(each) for each in self.platforms)


@dataclass(frozen=True, slots=True)
class Joined:
    """The joined inline caches of several images.

    Attributes:
        layers: its layers, by the digests of their uncompressed content.
        images: the layers of each image, from the bottom, by its tag or digest; without images
            for several platforms.
        digests: the digest of each image, by its tag or digest.
    """

    manifest: RemoteManifest
    layers: dict[str, Descriptor]
    images: dict[str, tuple[Descriptor, ...]]
    digests: dict[str, str]


def read_images(repository: Repository, names: Iterable[str]) -> dict[str, ReadImage]:
    """Read images by tag or digest; one that does not exist has no digest.

    Raises:
        RegistryError: a request failed.
    """

    def read(name: str) -> ReadImage:
        head = repository.read_manifest(name)
        digest = head.digest if head is not None else None
        return ReadImage(digest, tuple(_read_images(repository, head)))

    known = tuple(names)
    with ThreadPoolExecutor(_MOST_AT_ONCE) as pool:
        return dict(zip(known, pool.map(read, known), strict=True))


def join_images(repository: Repository, tag: str, images: Mapping[str, ReadImage]) -> Joined | None:
    """Join the inline caches of images under a tag; None without any.

    Raises:
        RegistryError: a request failed, or the registry refused the result.
    """
    found = [
        image for each in images.values() for image in each.platforms if INLINE in image.config
    ]
    if not found:
        return None
    operation = f"writing `{repository.name}:{tag}`"
    try:
        merged = merge_images(found)
        layers = {
            diff_id: layer
            for image in found
            for diff_id, layer in zip(_read_ids(image), image.manifest.layers, strict=True)
        }
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        cause = f"an image's config is not in BuildKit's format: {error}"
        raise RegistryError(repository.host, operation, cause, trouble=Trouble.REFUSED) from error
    size = len(merged.manifest)
    if size > LARGEST_CONFIG:
        cause = f"the manifest of all layers has {size} bytes, more than BuildKit reads"
        raise RegistryError(repository.host, operation, cause, trouble=Trouble.REFUSED)
    kind = json.loads(merged.manifest)["mediaType"]
    repository.write_with_config(tag, merged.manifest, kind, merged.config)
    return Joined(
        manifest=RemoteManifest(compute_digest(merged.manifest), kind, merged.manifest),
        layers=layers,
        images={
            name: each.platforms[0].manifest.layers
            for name, each in images.items()
            if len(each.platforms) == 1
        },
        digests={name: each.digest for name, each in images.items() if each.digest is not None},
    )


def list_chains(repository: Repository, found: RemoteManifest) -> list[tuple[str, ...]]:
    """The digests of an image's layers, from the bottom, for each platform."""
    manifests = _list_manifests(repository, found)
    return [tuple(layer.digest for layer in each.layers) for each in manifests]


def _list_manifests(
    repository: Repository, found: RemoteManifest | None
) -> Iterator[CacheManifest]:
    """The manifest of an image for each platform."""
    content = found.parse_any() if found is not None else None
    if content is None:
        return
    for each in content.manifests:
        yield from _list_manifests(repository, repository.read_manifest(each.digest))
    if content.layers:
        yield content


def _read_images(repository: Repository, found: RemoteManifest | None) -> Iterator[StageImage]:
    """The image of each platform; empty if it is not an image."""
    for content in _list_manifests(repository, found):
        data = repository.read_blob(content.config.digest) if content.config is not None else None
        config = None
        with suppress(ValueError, RecursionError):
            config = json.loads(data or b"")
        if isinstance(config, dict):
            yield StageImage(content, config)


def _caches_top(image: StageImage) -> bool:
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


def _read_ids(image: StageImage) -> Sequence[str]:
    """The digests of the uncompressed layers."""
    ids: Sequence[str] = image.config["rootfs"]["diff_ids"]
    return ids


def merge_images(images: Sequence[StageImage]) -> Merged:
    """Merge images into one with all their layers and inline caches.

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
        for each in zip(image.manifest.layers, _read_ids(image), made, strict=True):
            layers.setdefault(each[0].digest, each)
        positions = {digest: position for position, digest in enumerate(layers)}
        places = [positions[layer.digest] for layer in image.manifest.layers]
        _add_records(records, json.loads(base64.b64decode(image.config[INLINE])), places)
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


@dataclass(slots=True)
class _Record:
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
