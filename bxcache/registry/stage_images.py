"""The images of a build's stages, and one that joins all their inline caches.

For BuildKit, each import is a separate cache manager. For each step, it picks any manager that
knows it, and then misses what the others know about later steps. With six images of six stages,
three in five builds found only a part (https://github.com/moby/buildkit/issues/4674). So bxcache
writes one more image, which never runs: it has all layers and all cache records.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING

from msgspec import Struct

from bxcache.errors import RegistryError, Trouble
from bxcache.oci.documents import LARGEST_CONFIG, CacheManifest, Descriptor, compute_digest
from bxcache.oci.inline_cache import INLINE, StageImage, caches_top, merge_images, read_ids
from bxcache.registry.repository import RemoteManifest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from bxcache.registry.repository import Repository

_MOST_AT_ONCE = 8


class ReadImage(Struct, frozen=True):
    """An image as the registry has it, with its content for each platform."""

    digest: str | None
    platforms: tuple[StageImage, ...]

    @property
    def has_cache(self) -> bool:
        """Whether its inline cache has its top layer for each platform, and so all below."""
        return all(caches_top(each) for each in self.platforms)


class Joined(Struct, frozen=True):
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


def join_images(
    repository: Repository,
    tag: str,
    images: Mapping[str, ReadImage],
    before: ReadImage | None = None,
) -> Joined | None:
    """Join the inline caches of images under a tag; None without any.

    Args:
        before: the joined image that the build started from. BuildKit forgets some of the results
            that it found there; those whose layers the images still have are kept.

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
        merged = merge_images(found, before.platforms if before is not None else ())
        layers = {
            diff_id: layer
            for image in found
            for diff_id, layer in zip(read_ids(image), image.manifest.layers, strict=True)
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
