"""How the layers of caches build on each other. Pure.

A layer is usable only with all layers below it, so dropping one drops everything above it. A blob
can be in several chains: it is lost when all of them are.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from collections.abc import Set as AbstractSet

    from bxcache.oci.documents import CacheConfig

BOTTOM = -1


def list_chains(config: CacheConfig, layers: Collection[str]) -> list[tuple[str, int]]:
    """The chain links of a cache, each as its blob and the position of the link below it.

    A link is left out if something below it is missing from `layers`, or if it is its own ancestor.
    A layer without a link becomes a chain of its own.
    """
    state: dict[int, bool] = {}
    for position in range(len(config.layers)):
        _settle_link(config, layers, position, state)
    kept = [position for position, usable in state.items() if usable]
    at = {position: number for number, position in enumerate(kept)} | {BOTTOM: BOTTOM}
    links = [(config.layers[each].blob, at[config.layers[each].parent]) for each in kept]
    known = {blob for blob, _ in links}
    return links + [(blob, BOTTOM) for blob in layers if blob not in known]


def _settle_link(
    config: CacheConfig, layers: Collection[str], position: int, state: dict[int, bool]
) -> None:
    """Decide for a link and all links below it whether they are usable, lowest first."""
    path: dict[int, None] = {}
    while position not in state and 0 <= position < len(config.layers) and position not in path:
        path[position] = None
        position = config.layers[position].parent
    usable = position == BOTTOM or state.get(position, False)
    for each in reversed(path):
        usable = usable and config.layers[each].blob in layers
        state[each] = usable


def find_lost(links: Iterable[tuple[str, int]], broken: AbstractSet[str]) -> set[str]:
    """The broken layers, and the layers that are unusable without them.

    Args:
        links: from `list_chains`: lower links come first.
        broken: the broken layers.
    """
    dead: list[bool] = []
    alive: set[str] = set()
    seen: set[str] = set()
    for blob, below in links:
        gone = blob in broken or (below != BOTTOM and dead[below])
        dead.append(gone)
        seen.add(blob)
        if not gone:
            alive.add(blob)
    return (seen - alive) | set(broken)


@dataclass(slots=True)
class Node:
    """A layer in one chain, shared by all scopes with the same chain.

    Attributes:
        blob: its digest.
        parent: the node below it, or None.
        children: the nodes above it.
        last_used: when one of its scopes was last used, in seconds since the epoch.
        bytes: its share of the blob's size, and of all above it.
        seconds: its share of the work that the blob saves, and of all above it, if known.
        unknown: the part of `bytes` whose work is unknown.
        count: the number of nodes from it upwards.
    """

    blob: str
    parent: Node | None
    children: dict[str, Node] = field(default_factory=dict)
    last_used: float = 0.0
    bytes: float = 0.0
    seconds: float = 0.0
    unknown: float = 0.0
    count: int = 1
    dead: bool = False

    def weigh(self, usual: float) -> tuple[float, float, int, str]:
        """A sort key, least valuable first: seconds per byte, then last use, then count.

        Args:
            usual: the seconds per byte to assume where unknown.
        """
        if not self.bytes:
            return float("inf"), self.last_used, self.count, self.blob
        # If all of it is unknown, this is exactly `usual`, so the ages decide.
        ratio = self.seconds / self.bytes + usual * (self.unknown / self.bytes)
        return ratio, self.last_used, self.count, self.blob

    def upwards(self) -> Iterator[Node]:
        """This node and all live nodes above it, lower ones first."""
        waiting = [self]
        while waiting:
            node = waiting.pop()
            if not node.dead:
                yield node
                waiting.extend(node.children.values())
