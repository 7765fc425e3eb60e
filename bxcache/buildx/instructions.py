"""Instructions, which can be several vertices, and what of the context they rest on."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

from bxcache.buildx.vertex_names import LINK, StepName, is_local

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator

    from bxcache.buildx.vertices import Vertex


@dataclass(frozen=True, slots=True)
class Instruction:
    """What one instruction is made of; the vertex whose outcome counts is `main`."""

    name: StepName
    main: Vertex
    parts: tuple[Vertex, ...]

    def is_of(self, own: Container[str]) -> bool:
        """Whether it is one of these vertices."""
        return any(part.digest in own for part in self.parts)

    @property
    def done(self) -> Vertex | None:
        """What tells the outcome: of a fetch that failed, nothing comes after it."""
        found = (each for each in (self.main, *self.parts) if each.outcome is not None)
        return next(found, None)


def join_parts(vertices: list[Vertex]) -> Iterator[Instruction]:
    """One for each instruction, which can be several vertices.

    An `ADD` of a URL first fetches it; a `COPY --link` is placed by a merge for each stage.
    """
    by_digest = {each.digest: each for each in vertices}
    fetches: dict[str, list[Vertex]] = defaultdict(list)
    merges: dict[str, list[Vertex]] = defaultdict(list)
    for vertex in vertices:
        for other in (by_digest[digest] for digest in vertex.inputs if digest in by_digest):
            if vertex.step is not None and vertex.step == other.step:
                fetches[vertex.digest].append(other)
            elif _is_merge_of(vertex.step, other.step):
                merges[other.digest].append(vertex)
    fetched = {each.digest for parts in fetches.values() for each in parts}
    for vertex in vertices:
        step = vertex.step
        if step is None or step.is_base or step.is_link or vertex.digest in fetched:
            continue
        yield Instruction(step, vertex, (*fetches[vertex.digest], vertex, *merges[vertex.digest]))


def _is_merge_of(merge: StepName | None, copy: StepName | None) -> bool:
    if merge is None or copy is None or not merge.is_link:
        return False
    return (merge.label, merge.text) == (copy.label, f"{LINK}{copy.text}")


def find_reads(vertices: Iterable[Vertex]) -> dict[str, frozenset[str]]:
    """What of the local contexts each vertex rests on: the instructions that copy from them."""
    by_digest = {each.digest: each for each in vertices}
    below = {
        digest: [by_digest[other] for other in each.inputs if other in by_digest]
        for digest, each in by_digest.items()
    }
    graph = {digest: [each.digest for each in others] for digest, others in below.items()}
    found: dict[str, frozenset[str]] = {}
    try:
        for digest in TopologicalSorter(graph).static_order():
            vertex = by_digest[digest]
            text = vertex.step.text if vertex.step is not None else vertex.name
            own = (f"{each.name} {text}" for each in below[digest] if is_local(each.name))
            found[digest] = frozenset(own).union(*(found[each] for each in graph[digest]))
    except CycleError:
        return {}
    return found
