"""What a cache tells by itself: how its layers build on each other, and no names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bxcache.insight.record import RecordedLayer
from bxcache.oci.chains import BOTTOM, list_chains

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bxcache.oci.documents import CacheConfig


@dataclass(frozen=True, slots=True)
class Chain:
    """Layers from the bottom to one that nothing builds on."""

    layers: tuple[RecordedLayer, ...]


def read_chains(config: CacheConfig, sizes: Mapping[str, int]) -> tuple[Chain, ...]:
    """The chains of a cache, each once, those with the same bottom together.

    Args:
        config: its cache config.
        sizes: the size in bytes of each layer that it has, by digest.
    """
    links = list_chains(config, sizes)
    below = {under for _, under in links}
    tops = [position for position in range(len(links)) if position not in below]
    found = {_descend(links, top) for top in tops}
    return tuple(
        Chain(tuple(RecordedLayer(digest=digest, size=sizes[digest]) for digest in chain))
        for chain in sorted(found)
    )


def _descend(links: list[tuple[str, int]], position: int) -> tuple[str, ...]:
    path = []
    while position != BOTTOM:
        blob, position = links[position]
        path.append(blob)
    return tuple(reversed(path))
