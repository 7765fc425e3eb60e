"""Decide what a store drops to stay within its limits, then drop it.

The order: unusable scopes and those unused for too long, blobs that no scope needs, the least
valuable layers, and, once all layers are gone, the least recently used scopes.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from bxcache.config.quantities import format_age, format_count, format_size
from bxcache.errors import StoreError
from bxcache.oci.chains import BOTTOM, find_lost, list_chains
from bxcache.oci.documents import parse_config
from bxcache.store.catalog import Catalog, Change
from bxcache.store.eviction import Holding, choose_evicted
from bxcache.store.inventory import Inventory, ScopeState, measure_files, read_inventory
from bxcache.store.journal import Page
from bxcache.store.layout import read_config_blob, read_manifest
from bxcache.store.repair import renew_entry

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Collection, Iterable, Mapping

    from bxcache.oci.documents import Index


_MOST_TOGETHER = 256


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a store; None means unlimited.

    Attributes:
        max_size: its maximum size in bytes.
        max_age: how long an unused scope is kept, in seconds.
    """

    max_size: int | None = None
    max_age: int | None = None


@dataclass(frozen=True, slots=True)
class Collected:
    """What a collection dropped. Sizes are bytes.

    Attributes:
        dropped: the scopes that were dropped, and why.
        evicted: how many layers the remaining scopes lost, by scope.
        blobs: how many blobs were removed.
        freed_bytes: their size.
        bytes: the store's size afterwards, including its index and journal.
        notes: the repairs that were made.
    """

    dropped: Mapping[str, str] = field(default_factory=dict)
    evicted: Mapping[str, int] = field(default_factory=dict)
    blobs: int = 0
    freed_bytes: int = 0
    bytes: int = 0
    notes: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """The dropped scopes and layers, in words; empty if none were dropped."""
        parts = []
        if self.dropped:
            parts.append(format_count(len(self.dropped), "scope"))
        layers = sum(self.evicted.values())
        if layers:
            parts.append(format_count(layers, "layer"))
        return f"dropped {' and '.join(parts)}, {format_size(self.freed_bytes)}" if parts else ""


class Decision:
    """What a collection will drop.

    Attributes:
        kept: the scopes to keep, each with its remaining blobs and their sizes in bytes.
        dropped: the scopes to drop, and why.
        lost: the layers that kept scopes lose, by scope.
        bytes: the size of all kept blobs, each counted once.
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
        """Drop a scope."""
        self._release(name, list(self.kept[name]))
        self.dropped[name] = why
        del self.kept[name]
        self.lost.pop(name, None)

    def lose(self, name: str, layers: Iterable[str]) -> None:
        """Drop layers of a scope."""
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


class Source(Protocol):
    """Details of a scope, read only if a decision needs them."""

    def read_links(self, scope: ScopeState, layers: Collection[str]) -> list[tuple[str, int]]:
        """The chains of these layers; raises StoreError if they are unknown."""

    def read_seconds(self, scope: ScopeState) -> Mapping[str, float]:
        """The seconds that each layer's steps took."""


def decide_collection(inventory: Inventory, limits: Limits, now: float, source: Source) -> Decision:
    """Choose what a store drops. Pure except for reads from `source`.

    Args:
        inventory: the store's content.
        limits: its limits.
        now: the time in seconds since the epoch.
        source: the details of scopes.
    """
    decision = Decision(inventory)
    for scope in inventory.scopes:
        unused = now - scope.last_used
        if scope.damage:
            decision.drop(scope.name, scope.damage)
        elif limits.max_age is not None and unused > limits.max_age:
            decision.drop(scope.name, f"unused for {format_age(unused)}")
        else:
            _drop_missing(scope, inventory.missing & scope.sizes.keys(), decision, source)
    if limits.max_size is not None:
        _fit(inventory, limits.max_size - inventory.overhead, decision, source)
    return decision


def _drop_missing(
    scope: ScopeState, missing: frozenset[str], decision: Decision, source: Source
) -> None:
    if not missing:
        return
    try:
        decision.lose(scope.name, find_lost(source.read_links(scope, [*scope.layers]), missing))
    except StoreError as error:
        decision.drop(scope.name, error.message)


def _fit(inventory: Inventory, most: int, decision: Decision, source: Source) -> None:
    if decision.bytes <= most:
        return
    kept = [scope for scope in inventory.scopes if scope.name in decision.kept]
    # Lazily: all at once would take most of a collection's memory.
    holdings = (_weigh_scope(scope, decision.kept[scope.name], source) for scope in kept)
    for name, layers in choose_evicted(holdings, decision.bytes - most).items():
        decision.lose(name, layers)
    for scope in sorted(kept, key=lambda each: (each.last_used, each.name)):
        if decision.bytes <= most:
            return
        decision.drop(scope.name, "the store is too small for it")


def _weigh_scope(scope: ScopeState, kept: Mapping[str, int], source: Source) -> Holding:
    sizes = {digest: kept[digest] for digest in scope.layers if digest in kept}
    same = {digest: digest for digest in sizes}
    try:
        links = [(same[blob], below) for blob, below in source.read_links(scope, sizes)]
    except StoreError:
        links = [(digest, BOTTOM) for digest in sizes]
    took = source.read_seconds(scope)
    seconds = {digest: took[digest] for digest in sizes if digest in took}
    return Holding(scope.name, scope.last_used, links, seconds, sizes)


class Collector:
    """Collects one store; a caller that changes it holds the store's lock."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._layout = catalog.layout

    def read_links(self, scope: ScopeState, layers: Collection[str]) -> list[tuple[str, int]]:
        """The chains of a scope's layers, from its cache config."""
        if not scope.config:
            raise StoreError("the manifest has no cache config")
        config = read_config_blob(self._layout, scope.config, scope.sizes[scope.config])
        return list_chains(parse_config(config), layers)

    def read_seconds(self, scope: ScopeState) -> Mapping[str, float]:
        """The seconds that each layer's steps took, from the scope's page."""
        page = self._catalog.journal.read(scope.entry)
        return page.seconds if page else {}

    def preview(self, index: Index, limits: Limits) -> Collected:
        """Report what a collection would drop."""
        inventory = read_inventory(index, self._catalog)
        decision = decide_collection(inventory, limits, time.time(), self)
        dead = self._list_dead(inventory, decision)
        return self._report(inventory, decision, len(dead), measure_files(self._layout, dead))

    def recover(self, limits: Limits) -> Collected:
        """Repair a damaged index, then collect.

        Raises:
            StoreError: the index is damaged, and the journal is empty.
            OSError: the disk is too full for the change; unused blobs are removed all the same.
        """
        index, note = self._catalog.recover()
        collected = self._collect(index, limits)
        return replace(collected, notes=(note,)) if note else collected

    def _collect(self, index: Index, limits: Limits) -> Collected:
        inventory = read_inventory(index, self._catalog)
        # On a full disk, this frees the space that the change of the index needs.
        garbage = inventory.dead
        freed = self._remove_files(garbage)
        decision = decide_collection(inventory, limits, time.time(), self)
        changes = self._change_scopes(inventory, decision)
        if changes:
            index = self._catalog.change(index, changes)
        written = {each.page.manifest.digest[7:] for each in changes.values() if each}
        dead = self._list_dead(inventory, decision) - garbage - written
        freed += self._remove_files(dead)
        self._catalog.reconcile(index)
        return self._report(inventory, decision, len(garbage) + len(dead), freed)

    def _change_scopes(self, inventory: Inventory, decision: Decision) -> dict[str, Change | None]:
        changes: dict[str, Change | None] = dict.fromkeys(decision.dropped)
        files: dict[str, bytes] = {}
        for scope in inventory.scopes:
            lost = decision.lost.get(scope.name)
            if lost:
                manifest = read_manifest(self._layout, scope.entry).without(lost)
                entry, data = renew_entry(scope.entry, manifest)
                files[entry.digest[7:]] = data
                before = self._catalog.journal.read(scope.entry) or Page(
                    scope=scope.name, manifest=entry
                )
                changes[scope.name] = Change(before.renewed(entry), scope.last_used)
                if len(files) == _MOST_TOGETHER:
                    self._layout.blobs.write_together(files, mode=0o444)
                    files.clear()
        self._layout.blobs.write_together(files, mode=0o444)
        return changes

    def _list_dead(self, inventory: Inventory, decision: Decision) -> frozenset[str]:
        if not decision.dropped and not decision.lost:
            return inventory.dead
        changed = {scope.entry.digest for scope in inventory.scopes if scope.name in decision.lost}
        live = {digest[7:] for sizes in decision.kept.values() for digest in sizes}
        before = {digest[7:] for digest in inventory.sizes}
        gone = before - (live - {digest[7:] for digest in changed})
        return inventory.dead | (gone & inventory.files)

    def _remove_files(self, names: frozenset[str]) -> int:
        freed = measure_files(self._layout, names)
        for name in names:
            self._layout.blobs.remove(name)
        return freed

    def _report(
        self, inventory: Inventory, decision: Decision, blobs: int, freed: int
    ) -> Collected:
        return Collected(
            dropped=decision.dropped,
            evicted={name: len(lost) for name, lost in sorted(decision.lost.items())},
            blobs=blobs,
            freed_bytes=freed,
            bytes=decision.bytes + inventory.overhead,
        )
