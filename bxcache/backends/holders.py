"""One interface to read scopes from stores, directories of plain buildx, and registries."""

from __future__ import annotations

import json
import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard

from msgspec import Struct

from bxcache.config.reference import Reference
from bxcache.errors import RecordError, StoreError
from bxcache.oci.documents import IMAGE_CONFIG_TYPES, parse_config
from bxcache.store.layout import Layout, read_config, read_index, read_manifest
from bxcache.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from bxcache.oci.documents import CacheConfig, CacheManifest, Descriptor

_PATHS = ("/", ".", "~")


class Content(Struct, frozen=True):
    """The stored content of a scope.

    Attributes:
        sizes: the size in bytes of each stored layer, by digest; empty if the cache is gone, None
            if no cache was stored.
        records: reads the records of its builds, newest first.
    """

    scope: str
    sizes: dict[str, int] | None
    records: Callable[[], Iterator[bytes]]
    config: Callable[[], CacheConfig]


class Holder(Protocol):
    """A place that stores scopes; `only` is the one scope to read, or None for all."""

    name: str
    only: str | None

    def list_scopes(self) -> list[str]:
        """List its scopes, the most recently built first."""

    def read(self, scope: str) -> Content | None:
        """Read a scope; None if it does not exist."""

    def locate(self, digest: str) -> str:
        """The location of a layer."""

    def declare(self, scope: str) -> dict[str, Any]:
        """The config declaration of a backend that has a scope."""


class DirectoryHolder:
    """A store, or a directory that plain buildx exported to."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self.only: str | None = None
        self._path = path
        self._store = Store(path)
        self._layout = Layout.at(path)

    @cached_property
    def _entries(self) -> dict[str, Descriptor]:
        if self._store.exists():
            return self._store.read_scopes()
        try:
            return read_index(self._layout).by_name()
        except FileNotFoundError:
            return {}

    def list_scopes(self) -> list[str]:
        last = self._store.list_last_builds(self._entries)
        return sorted(self._entries, key=lambda name: (-last.get(name, 0.0), name))

    def read(self, scope: str) -> Content | None:
        entry = self._entries.get(scope)
        records = self._store.read_records(scope)
        if entry is None and not records:
            return None
        manifest = read_manifest(self._layout, entry) if entry is not None else None
        sizes = manifest.layer_sizes if manifest is not None else {}
        return Content(
            scope=scope,
            sizes={d: n for d, n in sizes.items() if self._layout.blobs.has_size(d[7:], n)},
            records=lambda: reversed(records),
            config=lambda: parse_config(read_config(self._layout, _expect(manifest))),
        )

    def locate(self, digest: str) -> str:
        return str(self._layout.locate(digest))

    def declare(self, scope: str) -> dict[str, Any]:
        return {"type": "local", "dir": str(self._path)}


class RegistryHolder:
    """A repository of a registry, or one tag of it."""

    def __init__(self, reference: Reference, *, insecure: bool) -> None:
        """Open the holder without any request."""
        from bxcache.registry.repository import open_repository  # noqa: PLC0415  # loads HTTP

        self._repository = open_repository(reference, os.environ, insecure=insecure)
        self._insecure = insecure
        self.only = reference.tag
        self.name = self._name_tag(self.only) if self.only else self._repository.name

    def _name_tag(self, tag: str) -> str:
        return f"{self._repository.name}:{tag}"

    def list_scopes(self) -> list[str]:
        """List the scopes that bxcache has written, the most recently used first."""
        from bxcache.registry.scopes import list_scopes  # noqa: PLC0415

        found = list_scopes(self._repository)
        return [each.tag for each in sorted(found, key=lambda each: -each.label.used)]

    def read(self, scope: str) -> Content | None:
        from bxcache.registry.scopes import read_label  # noqa: PLC0415

        label = read_label(self._repository, scope)
        found, manifest = self._repository.read_manifest(scope), None
        if found is None and label is None:
            return None
        if found is not None:
            manifest = found.parse() or (found.parse_image() if label is not None else None)
            if manifest is None:
                why = f"`{self._name_tag(scope)}` is not a build cache; it may be an image"
                hint = "a registry cache that docker or bxcache exported can be read"
                raise RecordError(why, hint=hint)
        records = label.records if label is not None else ()
        return Content(
            scope=scope,
            sizes=dict(manifest.layer_sizes) if manifest is not None else {},
            records=lambda: filter(None, (self._repository.read_blob(r.digest) for r in records)),
            config=lambda: self._read_config(_expect(manifest)),
        )

    def _read_config(self, manifest: CacheManifest) -> CacheConfig:
        from bxcache.oci.inline_cache import read_layer_chains  # noqa: PLC0415

        entry = manifest.cache_config
        data = self._repository.read_blob(entry.digest) if entry is not None else None
        if entry is None or data is None:
            raise RecordError(f"the cache config of `{self.name}` is gone")
        if entry.media_type not in IMAGE_CONFIG_TYPES:
            return parse_config(data)
        try:
            return read_layer_chains(manifest, data)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise RecordError(f"`{self.name}` has an image that is not a cache: {error}") from error

    def locate(self, digest: str) -> str:
        return f"{self._repository.name}@{digest}"

    def declare(self, scope: str) -> dict[str, Any]:
        return {"type": "registry", "ref": self._name_tag(scope), "insecure": self._insecure}


def open_holder(source: str, directory: Path) -> Holder:
    """Open the holder that the user names: a directory or a reference; RecordError if neither."""
    path = directory / Path(source).expanduser()
    if path.is_dir():
        return DirectoryHolder(path)
    if source.startswith(_PATHS) or not {*source} & {"/", ":"}:
        raise RecordError(f"there is no directory `{path}`")
    try:
        return RegistryHolder(Reference.parse(source), insecure=False)
    except ValueError as error:
        raise RecordError(f"`{source}` is not a directory, and as a reference: {error}") from error


def _expect(manifest: CacheManifest | None) -> CacheManifest:
    if manifest is None:
        raise StoreError("the cache is gone")
    return manifest


def is_trusted(record: bytes | None) -> bool:
    """Whether a record is of a trusted build."""
    return _read(record, "place").get("trusted") is True


def read_keys(records: Iterable[bytes]) -> Iterator[str]:
    """Read the hash keys in records."""
    return filter(_is_key, (_read(each, "arguments").get("key") for each in records))


def _is_key(value: object) -> TypeGuard[str]:
    try:
        return isinstance(value, str) and bool(bytes.fromhex(value))
    except ValueError:
        return False


def _read(record: bytes | None, part: str) -> dict[str, Any]:
    """Read a part of a record; empty if unreadable."""
    try:
        found = json.loads(record or b"{}")
    except ValueError:
        return {}
    inner = found.get(part) if isinstance(found, dict) else None
    return inner if isinstance(inner, dict) else {}
