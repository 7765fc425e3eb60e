"""A store's content, read at once: its scopes, the blobs that each needs, and the files."""

from __future__ import annotations

import re
import time
from collections import Counter
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from bxcache.config.json_documents import make_document, make_part, pick
from bxcache.errors import StoreError
from bxcache.oci.documents import INDEX_NAME, parse_outline
from bxcache.place.scope import describe_identity
from bxcache.store.journal import name_page
from bxcache.store.layout import Layout, read_parsed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from collections.abc import Set as AbstractSet
    from pathlib import Path

    from bxcache.oci.documents import Descriptor, Index
    from bxcache.place.scope import Scope
    from bxcache.store.catalog import Catalog

_OWN_FILE = re.compile(r"[0-9a-f]{64}|.*\.tmp")


class ScopeState(Struct, frozen=True):
    """A scope and the blobs that it needs.

    Attributes:
        config: the digest of its cache config; None if it has none or is damaged.
        sizes: the size in bytes of every blob that it needs, including its manifest, by digest.
        last_used: in seconds since the epoch.
    """

    name: str
    entry: Descriptor
    config: str | None
    sizes: Mapping[str, int]
    last_used: float
    damage: str | None = None

    @property
    def layers(self) -> Iterator[str]:
        return (each for each in self.sizes if each not in (self.entry.digest, self.config))


class Inventory(Struct, frozen=True, dict=True):
    """The content of a store, with the names of all `files` in the folder of blobs.

    The overhead is the size of the index, the journal and the records in bytes.
    """

    scopes: tuple[ScopeState, ...]
    files: frozenset[str]
    overhead: int

    @cached_property
    def sizes(self) -> dict[str, int]:
        """The size in bytes of every blob in use, by digest."""
        sizes: dict[str, int] = {}
        for scope in self.scopes:
            sizes.update(scope.sizes)
        return sizes

    @cached_property
    def dead(self) -> frozenset[str]:
        """The files that no scope needs, except files that bxcache did not write."""
        live = {digest[7:] for digest in self.sizes}
        return frozenset(filter(_OWN_FILE.fullmatch, self.files - live))

    @cached_property
    def missing(self) -> frozenset[str]:
        """The digests of blobs that some scope needs but the store lacks."""
        return frozenset([digest for digest in self.sizes if digest[7:] not in self.files])

    def count_uses(self) -> Counter[str]:
        return Counter(chain.from_iterable(scope.sizes for scope in self.scopes))


def read_inventory(index: Index, catalog: Catalog) -> Inventory:
    pages = catalog.journal.list_files()
    now = time.time()
    known: dict[str, str] = {}
    scopes = []
    for entry in index.manifests:
        page = pages.get(name_page(entry))
        last_used = min(page.st_mtime, now) if page else now
        scopes.append(_read_scope(catalog.layout, entry, last_used, known))
    records, written = catalog.records.list_files(), catalog.layout.root.look(INDEX_NAME)
    own = (*pages.values(), *records.values(), written)
    overhead = sum(status.st_size for status in own if status)
    return Inventory(tuple(scopes), frozenset(catalog.layout.blobs.list_names()), overhead)


def _read_scope(
    layout: Layout, entry: Descriptor, last_used: float, known: dict[str, str]
) -> ScopeState:
    try:
        config, listed = read_parsed(layout, entry, parse_outline)
    except StoreError as error:
        return ScopeState(entry.ref_name, entry, None, {}, last_used, error.message)
    # Thousands of scopes share layers: keep one string for each digest.
    sizes = {known.setdefault(each, each): size for each, size in listed.items()}
    sizes[entry.digest] = entry.size
    return ScopeState(entry.ref_name, entry, config, sizes, last_used)


class ScopeUsage(Struct, frozen=True):
    """A scope for `store ls` and `store du`. Sizes are bytes, times seconds since the epoch.

    Attributes:
        name: image, target, platforms and branch; the tag in the store's index.
        digest: its manifest's digest.
        bytes: the size of all blobs that it needs.
        own_bytes: the size of the blobs that only this scope needs; removing it frees them.
        layers: how many distinct layers it has.
        steps: how many steps its build has; None if unknown.
        saved: when it was saved; None if unknown.
        last_used: when it was last imported or saved.
        damage: why it is unusable, or an empty string.
        scope: whose it is; None if unknown.
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
    scope: Scope | None = None

    @property
    def shared_bytes(self) -> int:
        """The size of the blobs that other scopes need, too."""
        return self.bytes - self.own_bytes

    def to_dict(self) -> dict[str, Any]:
        """Return the scope's part of the document of a store."""
        return make_part(
            {
                "name": self.name,
                "tag": self.name,
                **describe_identity(self.scope),
                **pick(self, "digest", "bytes", "own_bytes", "shared_bytes", "layers", "steps"),
                "stages": (),
                "saved": self.saved,
                "created": self.saved,
                "last_used": self.last_used,
                "damage": self.damage,
                "changed": False,
                "lost": False,
            }
        )


class Usage(Struct, frozen=True):
    """The size of a store and its scopes.

    Attributes:
        scopes: the size and age of each scope.
        bytes: the size of all blobs in use, each counted once.
        shared_bytes: the part of it that several scopes need.
        dead_bytes: the size of unused blobs; the next collection removes them.
        store: the store's directory.
    """

    scopes: tuple[ScopeUsage, ...]
    bytes: int
    shared_bytes: int
    dead_bytes: int
    store: Path

    def to_dict(self) -> dict[str, Any]:
        """Return the document that `bxcache store du --json` and `store ls --json` print."""
        sizes = pick(self, "store", "bytes", "shared_bytes", "dead_bytes")
        return make_document({**sizes, "scopes": [each.to_dict() for each in self.scopes]})


def measure_usage(inventory: Inventory, catalog: Catalog) -> Usage:
    shared = {digest for digest, count in inventory.count_uses().items() if count > 1}
    return Usage(
        scopes=tuple(_measure_scope(each, shared, catalog) for each in inventory.scopes),
        bytes=sum(inventory.sizes.values()),
        shared_bytes=sum(inventory.sizes[digest] for digest in shared),
        dead_bytes=measure_files(catalog.layout, inventory.dead),
        store=catalog.layout.path,
    )


def _measure_scope(scope: ScopeState, shared: AbstractSet[str], catalog: Catalog) -> ScopeUsage:
    steps, saved = catalog.journal.read_head(scope.entry)
    whole = sum(scope.sizes.values())
    return ScopeUsage(
        name=scope.name,
        digest=scope.entry.digest,
        bytes=whole,
        own_bytes=whole - sum(scope.sizes[digest] for digest in scope.sizes.keys() & shared),
        layers=sum(1 for _ in scope.layers),
        steps=steps or None,
        saved=saved or None,
        last_used=scope.last_used,
        damage=scope.damage or "",
    )


def measure_files(layout: Layout, names: frozenset[str]) -> int:
    """The size in bytes of files in the folder of blobs; missing files count 0."""
    found = map(layout.blobs.look, names)
    return sum(status.st_size for status in found if status is not None)
