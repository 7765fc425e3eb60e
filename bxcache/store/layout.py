"""The documents of an OCI layout, as far as a cache needs them.

https://github.com/opencontainers/image-spec/blob/v1.1.0/image-layout.md
https://github.com/opencontainers/image-spec/blob/v1.1.0/descriptor.md
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from bxcache.errors import StoreError

if TYPE_CHECKING:
    from pathlib import Path

REF_NAME = "org.opencontainers.image.ref.name"
OCI_LAYOUT = '{"imageLayoutVersion":"1.0.0"}'
INDEX_NAME = "index.json"
_INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
_LARGEST_DOCUMENT = 16 << 20

Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]


class _Document(BaseModel):
    # Keys of later versions of the formats are kept as they are.
    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="allow", frozen=True
    )


class Descriptor(_Document):
    """A blob by its digest, with its size in bytes and its media type."""

    media_type: str
    digest: Digest
    size: Annotated[int, Field(ge=0)]
    annotations: dict[str, str] | None = None

    @property
    def ref_name(self) -> str:
        """The name under which an index lists it."""
        return (self.annotations or {}).get(REF_NAME, "")

    def named(self, name: str) -> Descriptor:
        """The same blob under a name."""
        return self.model_copy(update={"annotations": {REF_NAME: name}})


class Index(_Document):
    """`index.json`: what a layout holds, by name."""

    schema_version: int = 2
    media_type: str = _INDEX_TYPE
    manifests: tuple[Descriptor, ...] = ()

    def find(self, name: str) -> Descriptor | None:
        """The entry of a name."""
        return next((entry for entry in self.manifests if entry.ref_name == name), None)

    def with_entry(self, entry: Descriptor) -> Index:
        """The index with one entry added, in place of the one that had its name."""
        others = tuple(each for each in self.manifests if each.ref_name != entry.ref_name)
        return self.model_copy(update={"manifests": (*others, entry)})


class CacheManifest(_Document):
    """A cache's manifest in either form that BuildKit writes.

    As an image manifest it has `config` and `layers`; as an image index both are in `manifests`.
    https://github.com/moby/buildkit/blob/v0.25.2/cache/remotecache/export.go
    """

    media_type: str = ""
    config: Descriptor | None = None
    layers: tuple[Descriptor, ...] = ()
    manifests: tuple[Descriptor, ...] = ()

    @property
    def blobs(self) -> dict[str, Descriptor]:
        """Every blob that the cache needs, once each, by digest."""
        config = () if self.config is None else (self.config,)
        return {blob.digest: blob for blob in (*config, *self.layers, *self.manifests)}

    @property
    def layer_count(self) -> int:
        """How many different layers it has."""
        configs = 1 if self.manifests else len([self.config] if self.config else [])
        return len(self.blobs) - configs


def blob_path(layout: Path, digest: str) -> Path:
    """Where a layout keeps a blob; `digest` is one that was checked."""
    algorithm, _, name = digest.partition(":")
    return layout / "blobs" / algorithm / name


def read_index(layout: Path) -> Index:
    """The index of a layout; an absent one is empty.

    Raises:
        StoreError: it is there and no index.
    """
    path = layout / INDEX_NAME
    try:
        return Index.model_validate_json(_read_bounded(path))
    except FileNotFoundError:
        return Index()
    except (OSError, ValidationError, ValueError) as error:
        raise StoreError(
            f"`{path}` cannot be read as an index: {_first_line(error)}",
            hint="move the directory away to start with an empty store",
        ) from error


def read_manifest(layout: Path, entry: Descriptor) -> CacheManifest:
    """The manifest that an entry names.

    Raises:
        StoreError: it is missing, or no manifest of that size.
    """
    path = blob_path(layout, entry.digest)
    try:
        data = _read_bounded(path)
        if len(data) != entry.size:
            raise StoreError(f"`{path}` has {len(data)} bytes instead of {entry.size}")
        return CacheManifest.model_validate_json(data)
    except (OSError, ValidationError, ValueError) as error:
        raise StoreError(f"`{path}` is no cache manifest: {_first_line(error)}") from error


def _read_bounded(path: Path) -> bytes:
    with path.open("rb") as stream:
        data = stream.read(_LARGEST_DOCUMENT + 1)
    if len(data) > _LARGEST_DOCUMENT:
        raise ValueError("it is larger than 16 MiB")
    return data


def _first_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        detail = error.errors(include_url=False)[0]
        return f"{'.'.join(map(str, detail['loc'])) or 'document'}: {detail['msg']}"
    return (getattr(error, "strerror", None) or str(error)).splitlines()[0]


def write_index(layout: Path, index: Index) -> None:
    """Replace the index in one step, durably: a reader sees the old one or the new one."""
    document = index.model_dump(by_alias=True, exclude_none=True, mode="json")
    write_atomically(layout / INDEX_NAME, json.dumps(document, separators=(",", ":")))


def write_atomically(path: Path, text: str) -> None:
    """Write a file so that it is whole or not there, also after a power cut."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
