"""The documents of an OCI layout that a cache uses.

https://github.com/opencontainers/image-spec/blob/v1.1.0/descriptor.md
https://github.com/opencontainers/image-spec/blob/v1.1.0/image-index.md
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from functools import cache, cached_property
from typing import TYPE_CHECKING, Annotated, NotRequired, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic.alias_generators import to_camel
from typing_extensions import TypedDict  # pydantic needs this one before Python 3.12

from bxcache.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Container

INDEX_NAME = "index.json"
MOST_RECORDS = 10
"""How many builds of a scope have a record, in any backend."""
REF_NAME = "org.opencontainers.image.ref.name"
CONFIG_TYPE = "application/vnd.buildkit.cacheconfig.v0"
_INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
MANIFEST_TYPES = (
    _INDEX_TYPE,
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
IMAGE_CONFIG_TYPES = (
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
)
LARGEST_CONFIG = 1 << 20
"""The largest config that BuildKit reads: `readBlob` in
https://github.com/moby/buildkit/blob/v0.25.2/cache/remotecache/import.go"""
_LAYER_TYPES = ("application/vnd.oci.image.layer.", "application/vnd.docker.image.rootfs.")

_SCOPE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]


def compute_digest(data: bytes) -> str:
    """The digest of a blob or manifest with these bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class Document(BaseModel):
    """A part of a format that others define: unknown keys are kept."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="allow", frozen=True
    )

    def to_json(self) -> bytes:
        """The bytes to write: only keys that were read or set."""
        document = self.model_dump(by_alias=True, exclude_unset=True, mode="json")
        return json.dumps(document, separators=(",", ":")).encode()


class Descriptor(Document):
    """A blob by its digest, with its size in bytes and its media type."""

    media_type: str
    digest: Digest
    size: Annotated[int, Field(ge=0, lt=1 << 60)]
    annotations: dict[str, str] | None = None

    @property
    def ref_name(self) -> str:
        """Its name in an index, or an empty string."""
        return (self.annotations or {}).get(REF_NAME, "")

    def named(self, name: str) -> Descriptor:
        """A copy with another name in an index."""
        return self.model_copy(update={"annotations": {REF_NAME: name}})


class Index(Document):
    """`index.json`: the named manifests of a layout."""

    schema_version: int = 2
    media_type: str = _INDEX_TYPE
    manifests: tuple[Descriptor, ...] = ()

    def find(self, name: str) -> Descriptor | None:
        return next((entry for entry in self.manifests if entry.ref_name == name), None)

    def by_name(self) -> dict[str, Descriptor]:
        return {entry.ref_name: entry for entry in self.manifests}

    def with_entries(self, changed: dict[str, Descriptor | None]) -> Index:
        """A copy with entries replaced, added, or, if None, removed.

        Entries are sorted by name, so the same scopes give the same bytes.
        """
        entries = self.by_name() | changed
        kept = (entry for _, entry in sorted(entries.items()) if entry is not None)
        return self.model_copy(
            update={"schema_version": 2, "media_type": self.media_type, "manifests": tuple(kept)}
        )


class CacheManifest(Document):
    """A cache's manifest in either of BuildKit's forms.

    As an image manifest it has `config` and `layers`; as an image index both are in `manifests`.
    https://github.com/moby/buildkit/blob/v0.25.2/cache/remotecache/export.go
    """

    media_type: str = ""
    config: Descriptor | None = None
    layers: tuple[Descriptor, ...] = ()
    manifests: tuple[Descriptor, ...] = ()

    @model_validator(mode="after")
    def _one_size_each(self) -> Self:
        # BuildKit lists a layer once for each chain, always with the same size.
        for blob in self._list_blobs():
            if self.blobs[blob.digest].size != blob.size:
                raise ValueError(f"`{blob.digest}` is listed with two sizes")
        return self

    def _list_blobs(self) -> tuple[Descriptor, ...]:
        return (*([self.config] if self.config else ()), *self.layers, *self.manifests)

    @cached_property
    def blobs(self) -> dict[str, Descriptor]:
        """Every blob of the cache, by digest."""
        return {blob.digest: blob for blob in self._list_blobs()}

    @property
    def cache_config(self) -> Descriptor | None:
        """The blob that maps cache keys to layers."""
        return next((b for b in self._list_blobs() if b.media_type == CONFIG_TYPE), self.config)

    @cached_property
    def layer_sizes(self) -> dict[str, int]:
        """The size in bytes of each layer, by digest."""
        own = self.cache_config.digest if self.cache_config else None
        return {digest: blob.size for digest, blob in self.blobs.items() if digest != own}

    def list_sizes(self, entry: Descriptor) -> dict[str, int]:
        """The size in bytes of every blob of a scope, including its manifest, by digest."""
        return {entry.digest: entry.size} | {each: b.size for each, b in self.blobs.items()}

    def without(self, digests: Container[str]) -> CacheManifest:
        """A copy without these layers.

        BuildKit resolves a result's layers through the manifest and does not find a result that
        lacks one: `getRemoteChain` in
        https://github.com/moby/buildkit/blob/v0.25.2/cache/remotecache/v1/parse.go
        """
        kept = {
            name: tuple(blob for blob in getattr(self, name) if blob.digest not in digests)
            for name in ("layers", "manifests")
            if name in self.model_fields_set
        }
        return self.model_validate({**self.model_dump(exclude_unset=True), **kept})

    def find_problem(self) -> str | None:
        """Why this is not a cache that BuildKit writes, or None."""
        if self.media_type and self.media_type not in MANIFEST_TYPES:
            return f"it has the unknown media type `{self.media_type[:80]}`"
        config = self.cache_config
        if config is None or config.media_type != CONFIG_TYPE:
            return "it has no cache config, so it is not a build cache; perhaps an image"
        if config.size > LARGEST_CONFIG:
            return f"its cache config has {config.size} bytes, more than BuildKit reads"
        for digest in self.layer_sizes:
            kind = self.blobs[digest].media_type
            if not kind.startswith(_LAYER_TYPES):
                return f"`{digest}` has the unknown media type `{kind[:80]}`"
        return None


class ConfigLayer(Document):
    """A layer in a chain: a blob on top of the one at `parent`; -1 is the bottom.

    An absent `parent` is 0, since Go omits zero values.
    """

    blob: Digest
    parent: int = 0


class CacheConfig(Document):
    """The cache's config without its records: how its layers build on each other.

    https://github.com/moby/buildkit/blob/v0.25.2/cache/remotecache/v1/spec.go
    """

    model_config = ConfigDict(extra="ignore")

    layers: tuple[ConfigLayer, ...] = ()


class _BlobOutline(TypedDict):
    mediaType: str
    digest: Digest
    size: Annotated[int, Field(ge=0, lt=1 << 60)]


class _ManifestOutline(TypedDict):
    config: NotRequired[_BlobOutline | None]
    layers: NotRequired[list[_BlobOutline]]
    manifests: NotRequired[list[_BlobOutline]]


@cache
def _outlines() -> TypeAdapter[_ManifestOutline]:
    return TypeAdapter(_ManifestOutline)


def parse_outline(data: bytes) -> tuple[str | None, dict[str, int]]:
    """Parse and check the parts of a manifest that a collection needs, in a third of the time.

    Returns:
        The digest of the cache config, and the size in bytes of each blob, by digest.
    """
    outline = _outlines().validate_json(data)
    first = outline.get("config")
    rest = (*outline.get("layers", ()), *outline.get("manifests", ()))
    blobs = rest if first is None else (first, *rest)
    sizes = {blob["digest"]: blob["size"] for blob in blobs}
    for blob in blobs if len(sizes) < len(blobs) else ():
        if sizes[blob["digest"]] != blob["size"]:
            raise ValueError(f"`{blob['digest']}` is listed with two sizes")
    config = next((blob for blob in blobs if blob["mediaType"] == CONFIG_TYPE), first)
    return config["digest"] if config is not None else None, sizes


def check_scope_name(name: str) -> None:
    """Raise a StoreError if a scope's name is not a valid tag.

    https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md#pulling-manifests
    """
    if not _SCOPE_NAME.fullmatch(name):
        raise StoreError(f"{name[:80]!r} is not a valid scope name: it is not a valid tag")


def parse_index(data: bytes) -> Index:
    """Parse an index; raise a ValueError if it is invalid, or lists a name twice."""
    index = Index.model_validate_json(data)
    if "manifests" not in index.model_fields_set:
        raise ValueError("it has no `manifests`")
    for name, count in Counter(entry.ref_name for entry in index.manifests).items():
        if count > 1:
            raise ValueError(f"it lists the name `{name[:80]}` twice")
    return index


def parse_config(data: bytes) -> CacheConfig:
    """Parse a cache config; raise a StoreError if it is invalid."""
    try:
        return CacheConfig.model_validate_json(data)
    except ValueError as error:
        raise StoreError(f"the cache config cannot be read: {first_line(error)}") from error


def first_line(error: Exception) -> str:
    """The first line of an error's message."""
    if isinstance(error, ValidationError):
        detail = error.errors(include_url=False)[0]
        return f"{'.'.join(map(str, detail['loc'])) or 'document'}: {detail['msg']}"
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).splitlines()[0]
