"""What a store holds, read at once: its scopes, what each needs, and the files there are."""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bxcache.errors import StoreError
from bxcache.store.layout import INDEX_NAME, Descriptor, Index, blob_folder, read_manifest
from bxcache.store.records import name_record

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from bxcache.store.catalog import Catalog

_OWN_FILE = re.compile(r"[0-9a-f]{64}|.*\.tmp")


@dataclass(frozen=True, slots=True)
class ScopeState:
    """A scope and what it needs.

    Attributes:
        name: its name.
        entry: what the index says of it.
        config: the digest of its cache config, or an empty string.
        sizes: the size in bytes of every blob that it needs, by digest; its manifest's too.
        last_used: in seconds since the epoch.
        damage: why it is of no use, or an empty string.
    """

    name: str
    entry: Descriptor
    config: str
    sizes: Mapping[str, int]
    last_used: float
    damage: str = ""

    @property
    def layers(self) -> Iterator[str]:
        """The digests of its layers."""
        return (each for each in self.sizes if each not in (self.entry.digest, self.config))

    @property
    def bytes(self) -> int:
        """The size of all that it needs."""
        return sum(self.sizes.values())


@dataclass(frozen=True, slots=True)
class Inventory:
    """What a store holds.

    Attributes:
        scopes: every scope.
        files: the names of the blobs' files.
        overhead: the size of the index and the records in bytes.
    """

    scopes: tuple[ScopeState, ...]
    files: frozenset[str]
    overhead: int

    def measure(self) -> int:
        """The size in bytes of all blobs that some scope needs, each once."""
        sizes: dict[str, int] = {}
        for scope in self.scopes:
            sizes.update(scope.sizes)
        return sum(sizes.values())

    def list_dead(self) -> frozenset[str]:
        """The files that no scope needs."""
        live = {digest[7:] for scope in self.scopes for digest in scope.sizes}
        return self.files - live


def read_inventory(path: Path, index: Index, catalog: Catalog) -> Inventory:
    """Read what a store holds.

    Raises:
        OSError: something cannot be read.
    """
    records = catalog.records.list_files()
    now = time.time()
    known: dict[str, str] = {}
    scopes = []
    for entry in index.manifests:
        record = records.get(name_record(entry.ref_name, entry.digest))
        scopes.append(_read_scope(path, entry, record.st_mtime if record else now, known))
    overhead = sum(status.st_size for status in records.values())
    try:
        overhead += (path / INDEX_NAME).stat().st_size
        files = frozenset(filter(_OWN_FILE.fullmatch, os.listdir(blob_folder(path))))
    except FileNotFoundError:
        files = frozenset()
    return Inventory(tuple(scopes), files, overhead)


def _read_scope(
    path: Path, entry: Descriptor, last_used: float, known: dict[str, str]
) -> ScopeState:
    try:
        manifest = read_manifest(path, entry)
    except StoreError as error:
        return ScopeState(entry.ref_name, entry, "", {}, last_used, error.message)
    config = manifest.cache_config
    # Thousands of scopes share their layers: one text for each digest is enough.
    sizes = {known.setdefault(each, each): blob.size for each, blob in manifest.blobs.items()}
    sizes[entry.digest] = entry.size
    name = config.digest if config is not None else ""
    return ScopeState(entry.ref_name, entry, name, sizes, last_used)


@dataclass(frozen=True, slots=True)
class ScopeUsage:
    """A scope as `store ls` and `store du` show it. Sizes are bytes, times seconds since the epoch.

    Attributes:
        name: its name.
        digest: its manifest.
        bytes: the size of all that it needs.
        own_bytes: the size of what no other scope needs; so much becomes free without it.
        layers: how many different layers it has.
        steps: how many steps its build has; None if unknown.
        saved: when it was saved; None if unknown.
        last_used: when it was last imported or saved.
        damage: why it is of no use, or an empty string.
    """

    name: str
    digest: str
    bytes: int
    own_bytes: int
    layers: int
    steps: int | None
    saved: float | None
    last_used: float
    damage: str

    @property
    def shared_bytes(self) -> int:
        """The size of what other scopes need too."""
        return self.bytes - self.own_bytes


@dataclass(frozen=True, slots=True)
class Usage:
    """What a store holds, and how much of it. Sizes are bytes.

    Attributes:
        scopes: every scope, by name.
        bytes: the size of all blobs that some scope needs, each once.
        shared_bytes: the part of it that several scopes need.
        dead_bytes: the size of blobs that no scope needs; the next collection drops them.
    """

    scopes: tuple[ScopeUsage, ...]
    bytes: int
    shared_bytes: int
    dead_bytes: int


def measure_usage(path: Path, inventory: Inventory, catalog: Catalog) -> Usage:
    """How much each scope takes, alone and with others."""
    uses: Counter[str] = Counter()
    sizes: dict[str, int] = {}
    for scope in inventory.scopes:
        uses.update(scope.sizes.keys())
        sizes.update(scope.sizes)
    return Usage(
        scopes=tuple(_measure_scope(each, uses, catalog) for each in inventory.scopes),
        bytes=sum(sizes.values()),
        shared_bytes=sum(size for digest, size in sizes.items() if uses[digest] > 1),
        dead_bytes=measure_files(path, inventory.list_dead()),
    )


def _measure_scope(scope: ScopeState, uses: Counter[str], catalog: Catalog) -> ScopeUsage:
    record = catalog.records.read(scope.entry)
    return ScopeUsage(
        name=scope.name,
        digest=scope.entry.digest,
        bytes=scope.bytes,
        own_bytes=sum(size for digest, size in scope.sizes.items() if uses[digest] == 1),
        layers=sum(1 for _ in scope.layers),
        steps=record.steps or None if record else None,
        saved=record.saved or None if record else None,
        last_used=scope.last_used,
        damage=scope.damage,
    )


def measure_files(path: Path, names: frozenset[str]) -> int:
    """The size in bytes of files in the folder of blobs; those that are gone count nothing."""
    folder, total = blob_folder(path), 0
    for name in names:
        try:
            total += os.lstat(f"{folder}/{name}").st_size
        except FileNotFoundError:
            continue
    return total
