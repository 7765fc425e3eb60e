"""How the layers of caches build on each other. Pure.

A layer is usable only with all layers below it, so dropping one drops everything above it. A blob
can be in several chains: it is lost when all of them are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
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
    lost: set[str] = set()
    alive: set[str] = set()
    for blob, below in links:
        dead.append(blob in broken or (below != BOTTOM and dead[below]))
        (lost if dead[-1] else alive).add(blob)
    return (lost - alive).union(broken)
