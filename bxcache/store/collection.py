"""Decide what a store drops to stay within its limits, then drop it.

The order: unwanted and unusable scopes and those unused for too long, blobs that no scope needs,
the least valuable layers, and, once all layers are gone, the least recently used scopes.
"""

from __future__ import annotations

import time
from functools import cached_property
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from bxcache.config.json_documents import make_document, pick
from bxcache.config.quantities import format_age, format_count, format_size
from bxcache.errors import StoreError
from bxcache.oci.chains import BOTTOM, find_lost, list_chains
from bxcache.oci.documents import parse_config
from bxcache.store.catalog import Catalog, Change, check_known
from bxcache.store.eviction import Holding, choose_evicted
from bxcache.store.inventory import Inventory, ScopeState, measure_files, read_inventory
from bxcache.store.layout import read_config_blob, read_manifest
from bxcache.store.verification import renew_entry

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Collection, Iterable, Mapping

    from bxcache.oci.documents import Index

_MOST_TOGETHER = 256


class Limits(Struct, frozen=True):
    """A store's maximum size in bytes, and how long it keeps an unused scope, in seconds."""

    max_size: int | None = None
    max_age: int | None = None


class Collected(Struct, frozen=True):
    """What a collection dropped.

    Attributes:
        dropped: the scopes that were dropped, and why.
        evicted: how many layers the remaining scopes lost, by scope.
        blobs: how many blobs were removed.
        freed_bytes: the size of these blobs.
        bytes: the store's size afterwards, including its index and journal.
        notes: the repairs that were made.
        dry_run: whether nothing was dropped, but would be.
    """

    dropped: Mapping[str, str] = field(default_factory=dict)
    evicted: Mapping[str, int] = field(default_factory=dict)
    blobs: int = 0
    freed_bytes: int = 0
    bytes: int = 0
    notes: tuple[str, ...] = ()
    dry_run: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return the document that `bxcache store collect --json` prints."""
        dropped = pick(self, "dry_run", "dropped", "evicted")
        return make_document(dropped | pick(self, "blobs", "freed_bytes", "bytes", "notes"))

    @property
    def summary(self) -> str | None:
        """The dropped scopes and layers, in words; None if none were dropped."""
        counts = {"scope": len(self.dropped), "layer": sum(self.evicted.values())}
        parts = [format_count(count, noun) for noun, count in counts.items() if count]
        return f"dropped {' and '.join(parts)}, {format_size(self.freed_bytes)}" if parts else None


class Decision:
    """What a collection will drop: whole scopes, with the reason, and layers of kept scopes.

    `kept` has the remaining blobs of each kept scope, and `bytes` is their size, each counted once.
    """

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory
        self.kept = {scope.name: dict(scope.sizes) for scope in inventory.scopes}
        self.dropped: dict[str, str] = {}
        self.lost: dict[str, set[str]] = {}
        self.bytes = sum(inventory.sizes.values())

    @cached_property
    def _uses(self) -> Counter[str]:
        """How many scopes need each blob; counted only if something is dropped."""
        return self._inventory.count_uses()

    def drop(self, name: str, why: str) -> None:
        self._release(name, list(self.kept[name]))
        self.dropped[name] = why
        del self.kept[name]
        self.lost.pop(name, None)

    def lose(self, name: str, layers: Iterable[str]) -> None:
        gone = [each for each in layers if each in self.kept[name]]
        self._release(name, gone)
        if gone:
            self.lost.setdefault(name, set()).update(gone)

    def _release(self, name: str, digests: Iterable[str]) -> None:
        for digest in digests:
            size = self.kept[name].pop(digest)
            self._uses[digest] -= 1
            if not self._uses[digest]:
                self.bytes -= size


class Collector:
    """One collection of a store; the caller of `collect` holds the store's lock.

    The chains and the work of a scope's layers are read only if the decision needs them.
    """

    def __init__(
        self, catalog: Catalog, index: Index, limits: Limits, unwanted: Collection[str] = ()
    ) -> None:
        check_known(index, unwanted)
        self._catalog = catalog
        self._layout = catalog.layout
        self._index = index
        self._limits = limits
        self._unwanted = unwanted
        self._inventory = read_inventory(index, catalog)
        self._decision = Decision(self._inventory)

    def preview(self) -> Collected:
        """Report what `collect` would drop."""
        self._decide()
        dead = self._list_dead()
        return self._report(len(dead), measure_files(self._layout, dead))

    def collect(self) -> Collected:
        """Drop it; if the disk is too full for the change, unused blobs are removed anyway."""
        # On a full disk, this frees the space that the change of the index needs.
        garbage = self._inventory.dead
        freed = self._remove_files(garbage)
        self._decide()
        changes = self._change_scopes()
        index = self._catalog.change(self._index, changes) if changes else self._index
        written = {each.page.manifest.digest[7:] for each in changes.values() if each}
        dead = self._list_dead() - garbage - written
        freed += self._remove_files(dead)
        self._catalog.reconcile(index)
        return self._report(len(garbage) + len(dead), freed)

    def _decide(self) -> None:
        now, max_age, max_size = time.time(), self._limits.max_age, self._limits.max_size
        for scope in self._inventory.scopes:
            unused = now - scope.last_used
            if scope.name in self._unwanted:
                self._decision.drop(scope.name, "as asked")
            elif scope.damage:
                self._decision.drop(scope.name, scope.damage)
            elif max_age is not None and unused > max_age:
                self._decision.drop(scope.name, f"unused for {format_age(unused)}")
            elif missing := self._inventory.missing & scope.sizes.keys():
                self._drop_missing(scope, missing)
        if max_size is not None:
            self._fit(max_size - self._inventory.overhead)

    def _drop_missing(self, scope: ScopeState, missing: frozenset[str]) -> None:
        try:
            links = self._read_links(scope, [*scope.layers])
        except StoreError as error:
            self._decision.drop(scope.name, error.message)
        else:
            self._decision.lose(scope.name, find_lost(links, missing))

    def _fit(self, most: int) -> None:
        decision = self._decision
        if decision.bytes <= most:
            return
        kept = [scope for scope in self._inventory.scopes if scope.name in decision.kept]
        # Lazily: all at once would take most of a collection's memory.
        holdings = (self._weigh(scope) for scope in kept)
        for name, layers in choose_evicted(holdings, decision.bytes - most).items():
            decision.lose(name, layers)
        for scope in sorted(kept, key=lambda each: (each.last_used, each.name)):
            if decision.bytes <= most:
                return
            decision.drop(scope.name, "the store is too small for it")

    def _weigh(self, scope: ScopeState) -> Holding:
        kept = self._decision.kept[scope.name]
        sizes = {digest: kept[digest] for digest in scope.layers if digest in kept}
        same = {digest: digest for digest in sizes}
        try:
            links = [(same[blob], below) for blob, below in self._read_links(scope, sizes)]
        except StoreError:
            links = [(digest, BOTTOM) for digest in sizes]
        took = self._catalog.journal.read_or_make(scope.entry).seconds
        seconds = {digest: took[digest] for digest in sizes if digest in took}
        return Holding(scope.name, scope.last_used, links, seconds, sizes)

    def _read_links(self, scope: ScopeState, layers: Collection[str]) -> list[tuple[str, int]]:
        if not scope.config:
            raise StoreError("the manifest has no cache config")
        config = read_config_blob(self._layout, scope.config, scope.sizes[scope.config])
        return list_chains(parse_config(config), layers)

    def _change_scopes(self) -> dict[str, Change | None]:
        changes: dict[str, Change | None] = dict.fromkeys(self._decision.dropped)
        files: dict[str, bytes] = {}
        for scope in self._inventory.scopes:
            if lost := self._decision.lost.get(scope.name):
                manifest = read_manifest(self._layout, scope.entry).without(lost)
                entry, data = renew_entry(scope.entry, manifest)
                files[entry.digest[7:]] = data
                page = self._catalog.journal.read_or_make(scope.entry).renewed(entry)
                changes[scope.name] = Change(page, scope.last_used)
                if len(files) == _MOST_TOGETHER:
                    self._layout.blobs.write_together(files, mode=0o444)
                    files.clear()
        self._layout.blobs.write_together(files, mode=0o444)
        return changes

    def _list_dead(self) -> frozenset[str]:
        inventory, decision = self._inventory, self._decision
        if not decision.dropped and not decision.lost:
            return inventory.dead
        changed = {scope.entry.digest for scope in inventory.scopes if scope.name in decision.lost}
        live = {digest for sizes in decision.kept.values() for digest in sizes} - changed
        gone = {digest[7:] for digest in inventory.sizes.keys() - live}
        return inventory.dead | (gone & inventory.files)

    def _remove_files(self, names: frozenset[str]) -> int:
        freed = measure_files(self._layout, names)
        for name in names:
            self._layout.blobs.remove(name)
        return freed

    def _report(self, blobs: int, freed: int) -> Collected:
        return Collected(
            dropped=self._decision.dropped,
            evicted={name: len(lost) for name, lost in sorted(self._decision.lost.items())},
            blobs=blobs,
            freed_bytes=freed,
            bytes=self._decision.bytes + self._inventory.overhead,
            notes=tuple(self._catalog.notes),
        )
