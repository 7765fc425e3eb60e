"""The records of a cache: keys that refer to the keys of their inputs, some with results. Pure.

https://github.com/moby/buildkit/blob/v0.25.2/cache/remotecache/v1/spec.go
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from bxcache.errors import StoreError
from bxcache.oci.documents import LARGEST_CONFIG, CacheManifest
from bxcache.oci.merging import Merged, write_merged

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_RESULTS = ("layers", "chains")
Path = tuple[str, ...]
"""The digests of a result's layers from the bottom."""
Ways = list[tuple[int, str]]
"""The alternatives for an input, each a record with a selector of its files."""
Cache = tuple[CacheManifest, bytes]
"""A manifest with its config."""


class Result(Struct, frozen=True):
    """A record's result: `kind` is the list of the record that has it."""

    kind: str
    path: Path
    created: str | None


class Graph:
    """A cache's records: keys that refer to the keys of their inputs, some with results."""

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

    def _read_results(self, record: Mapping[str, Any]) -> Iterator[Result]:
        """Read the results of a record, as far as their layers are in the manifest."""
        for kind in _RESULTS:
            for each in record.get(kind) or ():
                if kind == "layers":
                    path = self.descend(each.get("layer", 0))
                else:
                    path = tuple(self.layers[at]["blob"] for at in each["layers"])
                if path and all(blob in self.manifest.layer_sizes for blob in path):
                    yield Result(kind, path, each.get("createdAt"))

    def append(self, digest: str, inputs: list[Ways]) -> int:
        """Add a record without results; return its position."""
        record: dict[str, Any] = {"digest": digest}
        if inputs:
            record["inputs"] = [write_ways(each) for each in inputs]
        self.records.append(record)
        self.digests.append(digest)
        self.inputs.append(inputs)
        self.results.append(frozenset())
        return len(self.records) - 1

    def drop(self, dead: Iterable[int]) -> dict[int, int]:
        """Drop records, and those that cannot be found without them; return where the rest is.

        A record is found if each of its inputs has a key. BuildKit imports nothing of a cache that
        has an input without one, and would take two records of one digest without inputs for the
        same key.
        """
        gone = set(dead)
        for at in self.order:
            left = ([link for link, _ in ways if link not in gone] for ways in self.inputs[at])
            if not all(left):
                gone.add(at)
        places = {at: new for new, at in enumerate(sorted({*range(len(self.records))} - gone))}
        self.inputs = [
            [[(places[link], s) for link, s in ways if link in places] for ways in self.inputs[at]]
            for at in places
        ]
        self.records = [self._write_inputs(at, places[at]) for at in places]
        self.digests = [self.digests[at] for at in places]
        self.results = [self.results[at] for at in places]
        del self.order
        return places

    def _write_inputs(self, at: int, place: int) -> dict[str, Any]:
        inputs = self.inputs[place]
        return {**self.records[at], **({"inputs": [*map(write_ways, inputs)]} if inputs else {})}

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


@contextmanager
def reading() -> Iterator[None]:
    try:
        yield
    except (
        *(ValueError, LookupError, TypeError, AttributeError, RecursionError),
        CycleError,
    ) as error:
        raise StoreError(f"a cache config is not in BuildKit's format: {error}") from error


def match_records(old: Graph, new: Graph) -> list[set[int]]:
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
                is_same(ways, others, same) if others else alike
                for ways, others in zip(*pairs, strict=True)
            ):
                same[at].add(other)
    return same


def is_same(ways: Ways, others: Ways, same: list[set[int]]) -> bool:
    """Whether a lookup of one input finds the other: they have an alternative in common."""
    return any(
        theirs in same[own] and selector == chosen
        for own, selector in ways
        for theirs, chosen in others
    )


def translate(before: Ways, same: list[set[int]]) -> Ways:
    """Return alternatives of the old cache as those of the new one, as far as it has them."""
    return [(each, selector) for link, selector in before for each in sorted(same[link])]


def follow(same: list[set[int]], places: Mapping[int, int]) -> list[set[int]]:
    """Say where the records of another cache are after some were dropped."""
    return [{places[each] for each in others if each in places} for others in same]


def has_all(old: Graph, new: Graph, same: list[set[int]]) -> bool:
    """Whether the old cache has every result of the new one."""
    known: dict[int, set[Path]] = {}
    for at, others in enumerate(same):
        for other in others:
            known.setdefault(other, set()).update(old.paths(at))
    return all(new.paths(at) <= known.get(at, set()) for at in range(len(new.records)))


def write_cache(
    old: Graph, new: Graph, lost: Mapping[int, set[int]], largest: float = LARGEST_CONFIG
) -> Merged | None:
    """Write the new cache with the results of some records of the old one; None if too large."""
    layers = _restore(old, new, lost)
    document = {"layers": new.layers, "records": new.records}
    config = json.dumps(document, separators=(",", ":")).encode()
    if len(config) > largest:
        return None
    blobs = old.manifest.blobs
    listed = [*(b for d, b in new.manifest.blobs.items() if d in new.manifest.layer_sizes)]
    listed += [blobs[each] for each in layers if each not in new.manifest.blobs]
    return Merged(write_merged(new.manifest, listed, config), config)


def write_ways(ways: Ways) -> list[dict[str, Any]]:
    return [{"link": link, **({"selector": s} if s else {})} for link, s in ways]


def _restore(old: Graph, new: Graph, lost: Mapping[int, set[int]]) -> dict[str, None]:
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


def _add_links(new: Graph, links: dict[Path, int], path: Path) -> list[int]:
    """Add the links of a path that are missing; return the positions of all, from the bottom."""
    positions = []
    for length in range(1, len(path) + 1):
        head = path[:length]
        if head not in links:
            links[head] = len(new.layers)
            new.layers.append({"blob": head[-1], "parent": links[head[:-1]]})
        positions.append(links[head])
    return positions


def _describe(result: Result, positions: list[int]) -> dict[str, Any]:
    made = {"createdAt": result.created} if result.created else {}
    if result.kind == "layers":
        return {"layer": positions[-1], **made}
    return {"layers": positions, **made}
