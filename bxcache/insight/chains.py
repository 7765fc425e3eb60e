"""The layers of a cache: which of a build are missing, and their chains if there is no record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

from bxcache.backends.declared import is_remote
from bxcache.insight.record_parts import RecordedLayer
from bxcache.oci.chains import BOTTOM, list_chains

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bxcache.insight.record import Record
    from bxcache.oci.documents import CacheConfig


class Chain(Struct, frozen=True):
    """Layers from the bottom to a layer that no other builds on.

    Attributes:
        layers: each builds on the one before it.
    """

    layers: tuple[RecordedLayer, ...]


def read_chains(config: CacheConfig, sizes: Mapping[str, int]) -> tuple[Chain, ...]:
    """The chains of a cache without duplicates, ordered so that equal bottoms stand together.

    The sizes are those of the layers in the cache, by digest.
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


def find_unsaved(record: Record, backend: Mapping[str, Any]) -> frozenset[str] | None:
    """The layers that a build did not save to a backend; None if unknown.

    A store that was moved is recognized if it is the only one.
    """
    if not backend:
        return None
    remote = is_remote(backend["type"])
    kept = (each for each in record.caches if is_remote(each.backend) == remote)
    known = [(each.place, each.unsaved) for each in kept if each.unsaved is not None]
    place = backend.get("dir") or backend.get("ref")
    chosen = [each for each in known if each[0] == place] or known
    return frozenset(chosen[0][1]) if len(chosen) == 1 else None


def explain_layers(
    record: Record, present: Mapping[str, int] | None, unsaved: frozenset[str] | None
) -> Iterator[str]:
    """Explain why the layers of a build are unknown or missing."""
    layers = {each.digest for step in record.steps for each in step.layers}
    if record.steps and not layers:
        yield f"the layers are not known: {record.why_unknown or 'the record does not say why'}"
    elif present == {}:
        if unsaved is None:
            yield "the cache has none of these layers"
        elif layers <= unsaved:
            yield "the build saved nothing to this cache"
        else:
            yield "the cache is gone; these layers are from the record of the build"
