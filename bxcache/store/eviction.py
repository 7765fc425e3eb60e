"""Choose the layers that a store evicts to fit its budget. Pure.

The least valuable layers go first: fewest seconds of work saved per byte. Evicting a layer evicts
all layers above it, so it is weighed with them: an expensive layer protects the cheap ones below
it. A layer of unknown work counts with the average of the known ones. If no work is known, the
least recently used layers go first, from the top.
"""

from __future__ import annotations

import heapq
from collections import Counter
from typing import TYPE_CHECKING

from msgspec import Struct, field

from bxcache.oci.chains import BOTTOM

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence


class Holding(Struct, frozen=True):
    """One scope's layers, for the choice.

    Attributes:
        last_used: in seconds since the epoch.
        links: its chains, from `list_chains`.
        seconds: how long each layer's step took, by digest, if known; 0 counts as known.
        sizes: the size of each of its layers in bytes, by digest.
    """

    scope: str
    last_used: float
    links: Sequence[tuple[str, int]]
    seconds: Mapping[str, float]
    sizes: Mapping[str, int]


def choose_evicted(holdings: Iterable[Holding], excess: int) -> dict[str, set[str]]:
    """The layers to evict from each scope, to free at least `excess` bytes, or all layers."""
    forest = _Forest()
    for holding in holdings:
        forest.add(holding)
    forest.weigh()
    return forest.prune(excess)


class _Node(Struct):
    """A layer in one chain, shared by all scopes with the same chain; its parent is below it.

    Attributes:
        last_used: when one of its scopes was last used, in seconds since the epoch.
        bytes: its share of the blob's size, and of all above it.
        seconds: its share of the work that the blob saves, and of all above it, if known.
        unknown: the part of `bytes` whose work is unknown.
        count: the number of nodes from it upwards.
    """

    blob: str
    parent: _Node | None
    children: dict[str, _Node] = field(default_factory=dict)
    last_used: float = 0.0
    bytes: float = 0.0
    seconds: float = 0.0
    unknown: float = 0.0
    count: int = 1
    dead: bool = False

    def weigh(self, usual: float) -> tuple[float, float, int, str]:
        """A sort key, least valuable first; `usual` is the seconds per byte where unknown."""
        ratio = float("inf")
        if self.bytes:
            # If all of it is unknown, this is exactly `usual`, so the ages decide.
            ratio = self.seconds / self.bytes + usual * (self.unknown / self.bytes)
        return ratio, self.last_used, self.count, self.blob

    def upwards(self) -> Iterator[_Node]:
        """This node and all live nodes above it, lower ones first."""
        waiting = [self]
        while waiting:
            node = waiting.pop()
            if not node.dead:
                yield node
                waiting.extend(node.children.values())

    def add(self, other: _Node, sign: int = 1) -> None:
        self.bytes += sign * other.bytes
        self.seconds += sign * other.seconds
        self.unknown += sign * other.unknown
        self.count += sign * other.count


class _Forest:
    """The chains of all scopes, with common prefixes merged."""

    def __init__(self) -> None:
        self._roots: dict[str, _Node] = {}
        self._nodes: list[_Node] = []
        self._sizes: dict[str, int] = {}
        self._seconds: dict[str, float] = {}
        self._scopes: dict[str, list[_Node]] = {}
        self._usual = 0.0

    def add(self, holding: Holding) -> None:
        nodes: list[_Node] = []
        for blob, below in holding.links:
            parent = None if below == BOTTOM else nodes[below]
            siblings = self._roots if parent is None else parent.children
            node = siblings.get(blob)
            if node is None:
                node = siblings[blob] = _Node(blob, parent)
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
                node.parent.add(node)
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

    def _cut(self, node: _Node, left: Counter[str]) -> int:
        below = node.parent
        while below is not None:
            below.add(node, -1)
            below = below.parent
        freed = 0
        for each in list(node.upwards()):
            each.dead = True
            left[each.blob] -= 1
            if not left[each.blob]:
                freed += self._sizes[each.blob]
        return freed

    def _list_evicted(self) -> dict[str, set[str]]:
        evicted = {
            scope: {node.blob for node in nodes} - {node.blob for node in nodes if not node.dead}
            for scope, nodes in self._scopes.items()
        }
        return {scope: gone for scope, gone in evicted.items() if gone}
