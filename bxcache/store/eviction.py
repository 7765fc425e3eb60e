"""Choose the layers that a store evicts to fit its budget. Pure.

The least valuable layers go first: fewest seconds of work saved per byte. Evicting a layer evicts
all layers above it, so it is weighed with them: an expensive layer protects the cheap ones below
it. A layer of unknown work counts with the average of the known ones. If no work is known, the
least recently used layers go first, from the top.
"""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bxcache.oci.chains import BOTTOM, Node

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Holding:
    """One scope's layers, for the choice.

    Attributes:
        scope: its name.
        last_used: in seconds since the epoch.
        links: its chains, from `chains.list_chains`.
        seconds: how long each layer's step took, by digest, if known; 0 counts as known.
        sizes: the size of each of its layers in bytes, by digest.
    """

    scope: str
    last_used: float
    links: Sequence[tuple[str, int]]
    seconds: Mapping[str, float]
    sizes: Mapping[str, int]


def choose_evicted(holdings: Iterable[Holding], excess: int) -> dict[str, set[str]]:
    """The layers to evict from each scope, to free at least `excess` bytes.

    All layers, if together they have fewer bytes.
    """
    forest = _Forest()
    for holding in holdings:
        forest.add(holding)
    forest.weigh()
    return forest.prune(excess)


class _Forest:
    """The chains of all scopes, with common prefixes merged."""

    def __init__(self) -> None:
        self._roots: dict[str, Node] = {}
        self._nodes: list[Node] = []
        self._sizes: dict[str, int] = {}
        self._seconds: dict[str, float] = {}
        self._scopes: dict[str, list[Node]] = {}
        self._usual = 0.0

    def add(self, holding: Holding) -> None:
        nodes: list[Node] = []
        for blob, below in holding.links:
            parent = None if below == BOTTOM else nodes[below]
            siblings = self._roots if parent is None else parent.children
            node = siblings.get(blob)
            if node is None:
                node = siblings[blob] = Node(blob, parent)
                self._nodes.append(node)
            node.last_used = max(node.last_used, holding.last_used)
            nodes.append(node)
        self._scopes[holding.scope] = nodes
        self._sizes |= holding.sizes
        for blob, seconds in holding.seconds.items():
            self._seconds[blob] = max(seconds, self._seconds.get(blob, 0.0))

    def weigh(self) -> None:
        # A blob in several chains is freed with the last of them.
        shares = Counter(node.blob for node in self._nodes)
        for node in self._nodes:
            node.bytes = self._sizes[node.blob] / shares[node.blob]
            node.seconds = self._seconds.get(node.blob, 0.0) / shares[node.blob]
            node.unknown = 0.0 if node.blob in self._seconds else node.bytes
        for node in reversed(self._nodes):
            if node.parent is not None:
                _add(node.parent, node, 1)
        known = sum(self._sizes[blob] for blob in self._seconds)
        self._usual = sum(self._seconds.values()) / known if known else 0.0

    def prune(self, excess: int) -> dict[str, set[str]]:
        left = Counter(node.blob for node in self._nodes)
        heap = [(node.weigh(self._usual), number) for number, node in enumerate(self._nodes)]
        heapq.heapify(heap)
        while excess > 0 and heap:
            worth, number = heapq.heappop(heap)
            node = self._nodes[number]
            if node.dead:
                continue
            now = node.weigh(self._usual)
            if now != worth:
                # Less valuable layers above it have been evicted since.
                heapq.heappush(heap, (now, number))
                continue
            excess -= self._cut(node, left)
        return self._list_evicted()

    def _cut(self, node: Node, left: Counter[str]) -> int:
        below = node.parent
        while below is not None:
            _add(below, node, -1)
            below = below.parent
        freed = 0
        for each in list(node.upwards()):
            each.dead = True
            left[each.blob] -= 1
            if not left[each.blob]:
                freed += self._sizes[each.blob]
        return freed

    def _list_evicted(self) -> dict[str, set[str]]:
        evicted: dict[str, set[str]] = {}
        for scope, nodes in self._scopes.items():
            alive = {node.blob for node in nodes if not node.dead}
            gone = {node.blob for node in nodes} - alive
            if gone:
                evicted[scope] = gone
        return evicted


def _add(node: Node, other: Node, sign: int) -> None:
    node.bytes += sign * other.bytes
    node.seconds += sign * other.seconds
    node.unknown += sign * other.unknown
    node.count += sign * other.count
