"""What a new export of a scope keeps of the cache that its build started from. Pure.

BuildKit loads an imported result only if a step needs it, and may export a result that it did not
load as a key without layers. The next build would find such a step's key and execute the step.

It also breaks loops in what it exports, which can leave an input without a key. It then refuses to
import any of that cache (`invalid empty input for record`).
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from functools import cached_property, partial
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from bxcache.errors import StoreError
from bxcache.oci.documents import LARGEST_CONFIG, CacheManifest
from bxcache.oci.merging import Merged, write_merged

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_RESULTS = ("layers", "chains")
Path = tuple[str, ...]
"""The digests of a result's layers from the bottom."""
Ways = list[tuple[int, str]]
"""The alternatives for an input, each a record with a selector of its files."""


class Successor(Struct, frozen=True):
    """The cache to save: the earlier one, a merged one, or else the export as it is."""

    is_before: bool = False
    merged: Merged | None = None


class _Result(Struct, frozen=True):
    """A record's result: `kind` is the list of the record that has it."""

    kind: str
    path: Path
    created: str | None


class _Graph:
    """A cache's records: keys that refer to the keys of their inputs, some with results.

    https://github.com/moby/buildkit/blob/v0.25.2/cache/remotecache/v1/spec.go
    """

    def __init__(self, manifest: CacheManifest, config: bytes) -> None:
        document: dict[str, Any] = json.loads(config)
        self.manifest = manifest
        self.layers: list[dict[str, Any]] = [*(document.get("layers") or ())]
        self.records: list[dict[str, Any]] = [*(document.get("records") or ())]
        self.digests = [each["digest"] for each in self.records]
        self.inputs: list[list[Ways]] = [
            [
                [(way.get("link", 0), way.get("selector", "")) for way in ways or ()]
                for ways in each.get("inputs") or ()
            ]
            for each in self.records
        ]
        self.results = [frozenset(self._read_results(each)) for each in self.records]

    def _read_results(self, record: Mapping[str, Any]) -> Iterator[_Result]:
        """Read the results of a record, as far as their layers are in the manifest."""
        for kind in _RESULTS:
            for each in record.get(kind) or ():
                if kind == "layers":
                    path = self.descend(each.get("layer", 0))
                else:
                    path = tuple(self.layers[at]["blob"] for at in each["layers"])
                if path and all(blob in self.manifest.layer_sizes for blob in path):
                    yield _Result(kind, path, each.get("createdAt"))

    def descend(self, at: int) -> Path:
        path: list[str] = []
        while at >= 0 and len(path) <= len(self.layers):
            path.append(self.layers[at]["blob"])
            at = self.layers[at].get("parent", 0)
        return tuple(reversed(path))

    def paths(self, at: int) -> frozenset[Path]:
        return frozenset(each.path for each in self.results[at])

    def depends(self, at: int, on: int) -> bool:
        """Whether a record is another one, or refers to it."""
        seen, left = {at}, [at]
        while left and on not in seen:
            below = {link for ways in self.inputs[left.pop()] for link, _ in ways} - seen
            seen |= below
            left += below
        return on in seen

    @cached_property
    def order(self) -> tuple[int, ...]:
        """Its records, each after those that it refers to."""
        below = {
            at: {link for ways in inputs for link, _ in ways}
            for at, inputs in enumerate(self.inputs)
        }
        return tuple(TopologicalSorter(below).static_order())


Cache = tuple[CacheManifest, bytes]
"""A manifest with its config."""


def choose_successor(before: Cache, after: Cache, *, executed: bool) -> Successor:
    """Choose what to save for a build that started from one cache and exported another.

    A result that the export lost is taken from the earlier cache if the export still has its key:
    the build has that step. So is the key of an input without one. If the build executed no step
    and exported no result that the earlier cache lacks, the earlier cache stays as it is. Results
    of keys that the build does not have are dropped.

    Raises:
        StoreError: one is not in BuildKit's format.
    """
    with _reading():
        old, new = _Graph(*before), _Graph(*after)
        same = _match(old, new)
        if not executed and _has_all(old, new, same):
            return Successor(is_before=True)
        lost = [
            at
            for at in old.order
            if old.results[at] and same[at] and not any(new.results[each] for each in same[at])
        ]
        mended = _mend_inputs(old, new, same)
        if not lost and not mended:
            return Successor()
        return Successor(merged=_write(old, new, {at: same[at] for at in lost}))


def unite_caches(before: Cache, after: Cache) -> Successor:
    """Choose what to save for a failed build: its export, and what the scope's cache has beside it.

    What is another version of a key in the export is left out, with all that depends on it: the
    build would not reuse it, and two versions of one key make BuildKit miss both at random. The
    earlier cache stays as it is if it has all of the export, or if both are too large together.

    Raises:
        StoreError: one is not in BuildKit's format.
    """
    with _reading():
        old, new = _Graph(*before), _Graph(*after)
        same = _match(old, new)
        if _has_all(old, new, same):
            return Successor(is_before=True)
        _mend_inputs(old, new, same)
        exported = len(new.records)
        for at in old.order:
            if not same[at] and not _is_replaced(old, new, at, same, exported):
                same[at] = _add_key(old, new, at, same)
        lost = {
            at: same[at]
            for at in old.order
            if same[at] and not any(old.paths(at) <= new.paths(each) for each in same[at])
        }
        merged = _write(old, new, lost)
    return Successor(is_before=merged is None, merged=merged)


@contextmanager
def _reading() -> Iterator[None]:
    try:
        yield
    except (
        *(ValueError, LookupError, TypeError, AttributeError, RecursionError),
        CycleError,
    ) as error:
        raise StoreError(f"a cache config is not in BuildKit's format: {error}") from error


def _write(old: _Graph, new: _Graph, lost: Mapping[int, set[int]]) -> Merged | None:
    """Write the new cache with the results of some records of the old one; None if too large."""
    layers = _restore(old, new, lost)
    document = {"layers": new.layers, "records": new.records}
    config = json.dumps(document, separators=(",", ":")).encode()
    if len(config) > LARGEST_CONFIG:
        return None
    blobs = old.manifest.blobs
    listed = [*(b for d, b in new.manifest.blobs.items() if d in new.manifest.layer_sizes)]
    listed += [blobs[each] for each in layers if each not in new.manifest.blobs]
    return Merged(write_merged(new.manifest, listed, config), config)


def _is_replaced(old: _Graph, new: _Graph, at: int, same: list[set[int]], exported: int) -> bool:
    """Whether the export has another version of a key: one that shares an input with it."""
    return any(
        new.digests[other] == old.digests[at]
        and any(map(partial(_is_same, same=same), old.inputs[at], new.inputs[other]))
        for other in range(exported)
    )


def _add_key(old: _Graph, new: _Graph, at: int, same: list[set[int]]) -> set[int]:
    """Add a record of the old cache to the new one, without its results; return its position.

    If one of its inputs is not there, the record is not added.
    """
    ways = [_translate(one, same) for one in old.inputs[at]]
    if not all(ways):
        return set()
    record: dict[str, Any] = {"digest": old.digests[at]}
    if ways:
        record["inputs"] = [_write_ways(each) for each in ways]
    new.records.append(record)
    new.digests.append(old.digests[at])
    new.inputs.append(ways)
    new.results.append(frozenset())
    return {len(new.records) - 1}


def _write_ways(ways: Ways) -> list[dict[str, Any]]:
    return [{"link": link, **({"selector": s} if s else {})} for link, s in ways]


def _match(old: _Graph, new: _Graph) -> list[set[int]]:
    """The records of the new cache that are the same key, for each record of the old one."""
    places: dict[str, list[int]] = {}
    for at, digest in enumerate(new.digests):
        places.setdefault(digest, []).append(at)
    same: list[set[int]] = [set() for _ in old.records]
    for at in old.order:
        for other in places.get(old.digests[at], ()):
            pairs = (old.inputs[at], new.inputs[other])
            alike = not old.paths(at).isdisjoint(new.paths(other))
            if len(pairs[0]) == len(pairs[1]) and all(
                _is_same(ways, others, same) if others else alike
                for ways, others in zip(*pairs, strict=True)
            ):
                same[at].add(other)
    return same


def _is_same(ways: Ways, others: Ways, same: list[set[int]]) -> bool:
    """Whether a lookup of one input finds the other: they have an alternative in common."""
    return any(
        theirs in same[own] and selector == chosen
        for own, selector in ways
        for theirs, chosen in others
    )


def _mend_inputs(old: _Graph, new: _Graph, same: list[set[int]]) -> bool:
    """Give inputs without a key those of the old cache; return whether there were any.

    A record for which there are none becomes a key that no lookup finds.
    """
    broken = {at for at, inputs in enumerate(new.inputs) if not all(inputs)}
    for at in old.order:
        for other in sorted(same[at] & broken):
            new.inputs[other] = [
                ways or _find_ways(new, other, before, same)
                for ways, before in zip(new.inputs[other], old.inputs[at], strict=True)
            ]
    for at in broken:
        inputs = [_write_ways(ways) for ways in new.inputs[at]]
        whole = {**new.records[at], "inputs": inputs}
        new.records[at] = whole if all(inputs) else {"digest": new.digests[at]}
    return bool(broken)


def _find_ways(new: _Graph, at: int, before: Ways, same: list[set[int]]) -> Ways:
    return [way for way in _translate(before, same) if not new.depends(way[0], at)]


def _translate(before: Ways, same: list[set[int]]) -> Ways:
    """Return alternatives of the old cache as those of the new one, as far as it has them."""
    return [(each, selector) for link, selector in before for each in sorted(same[link])]


def _has_all(old: _Graph, new: _Graph, same: list[set[int]]) -> bool:
    """Whether the old cache has every result of the new one."""
    known: dict[int, set[Path]] = {}
    for at, others in enumerate(same):
        for other in others:
            known.setdefault(other, set()).update(old.paths(at))
    return all(new.paths(at) <= known.get(at, set()) for at in range(len(new.records)))


def _restore(old: _Graph, new: _Graph, lost: Mapping[int, set[int]]) -> dict[str, None]:
    """Add results to the records of the new cache; return the layers that they need."""
    links: dict[Path, int] = {(): -1}
    for at in range(len(new.layers)):
        links.setdefault(new.descend(at), at)
    needed: dict[str, None] = {}
    done: set[int] = set()
    for at, others in lost.items():
        for result in sorted(old.results[at], key=lambda each: (each.kind, each.path)):
            needed |= dict.fromkeys(result.path)
            described = _describe(result, _add_links(new, links, result.path))
            for other in sorted(others - done):
                record = new.records[other]
                new.records[other] = {
                    **record,
                    result.kind: [*(record.get(result.kind) or ()), described],
                }
        done |= others
    return needed


def _add_links(new: _Graph, links: dict[Path, int], path: Path) -> list[int]:
    """Add the links of a path that are missing; return the positions of all, from the bottom."""
    positions = []
    for length in range(1, len(path) + 1):
        head = path[:length]
        if head not in links:
            links[head] = len(new.layers)
            new.layers.append({"blob": head[-1], "parent": links[head[:-1]]})
        positions.append(links[head])
    return positions


def _describe(result: _Result, positions: list[int]) -> dict[str, Any]:
    made = {"createdAt": result.created} if result.created else {}
    if result.kind == "layers":
        return {"layer": positions[-1], **made}
    return {"layers": positions, **made}
