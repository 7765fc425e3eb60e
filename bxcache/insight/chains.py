"""The layers of a cache without a record: how they build on each other, without names."""

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
    """Layers from the bottom to a layer that no other builds on."""

    layers: tuple[RecordedLayer, ...]


def read_chains(config: CacheConfig, sizes: Mapping[str, int]) -> tuple[Chain, ...]:
    """The chains of a cache without duplicates, ordered so that equal bottoms stand together.

    Args:
        config: the cache config.
        sizes: the size in bytes of each layer in the cache, by digest.
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
