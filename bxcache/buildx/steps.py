"""Docker's metadata about the steps in its stream."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bxcache.buildx.metadata import Layer, Metadata, Operation
    from bxcache.buildx.stream.trace import TracedStep


def find_layers(step: TracedStep, metadata: Metadata) -> tuple[Layer, ...]:
    """Find the layers that a step made, as far as known."""
    known = _find_operations(step, metadata)
    return tuple(dict.fromkeys(layer for each in known for layer in each.layers))


def find_chains(step: TracedStep, metadata: Metadata) -> frozenset[tuple[str, ...]]:
    """Find the digests of all layers of a step's result, from the bottom, as far as known.

    Each form of the result has its own chain.
    """
    known = _find_operations(step, metadata)
    chains = (chain for each in known for chain in each.chains)
    return frozenset(tuple(layer.digest for layer in chain) for chain in chains)


def find_line(step: TracedStep, metadata: Metadata) -> int | None:
    """Find a step's first line in the Dockerfile, if known."""
    known = (line for each in _find_operations(step, metadata) for line in each.lines)
    return min((*known, *step.lines), default=None)


def is_linked(step: TracedStep, metadata: Metadata) -> bool:
    """Whether a step belongs to another build whose result is a named context of this one."""
    known = _find_operations(step, metadata)
    return bool(known) and all(each.is_linked for each in known)


def _find_operations(step: TracedStep, metadata: Metadata) -> list[Operation]:
    return [metadata.operations[each] for each in step.digests if each in metadata.operations]
