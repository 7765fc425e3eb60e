"""Instructions, which can be several vertices, and what of the context they rest on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import reduce
from graphlib import CycleError, TopologicalSorter
from operator import or_
from typing import TYPE_CHECKING

from bxcache.buildx.stream.names import LINK, StepName, is_local

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Sequence

    from bxcache.buildx.stream.vertices import Vertex


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
            if other.is_part_of(vertex):
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


class Reads(AbstractSet[str]):
    """Instructions that copy from the local contexts.

    Of thousands of vertices each can rest on nearly all of these, so they are bits of a number.
    """

    __slots__ = ("_every", "_held")

    def __init__(self, every: Sequence[str], held: int) -> None:
        """Those of a list.

        Args:
            every: the list.
            held: has the bit of each that is held, the lowest for the first.
        """
        self._every, self._held = every, held

    def __contains__(self, text: object) -> bool:
        return text in tuple(self)

    def __iter__(self) -> Iterator[str]:
        return (text for at, text in enumerate(self._every) if self._held >> at & 1)

    def __len__(self) -> int:
        return self._held.bit_count()

    def __hash__(self) -> int:
        return self._hash()

    @classmethod
    def _from_iterable(cls, texts: Iterable[str]) -> frozenset[str]:  # type: ignore[override]
        return frozenset(texts)


def find_reads(vertices: Iterable[Vertex]) -> dict[str, Reads]:
    """What of the local contexts each vertex rests on: the instructions that copy from them."""
    by_digest = {each.digest: each for each in vertices}
    below = {
        digest: [by_digest[other] for other in each.inputs if other in by_digest]
        for digest, each in by_digest.items()
    }
    graph = {digest: [each.digest for each in others] for digest, others in below.items()}
    bits: dict[str, int] = {}
    found: dict[str, int] = {}
    try:
        for digest in TopologicalSorter(graph).static_order():
            vertex = by_digest[digest]
            text = vertex.step.text if vertex.step is not None else vertex.name
            own = (f"{each.name} {text}" for each in below[digest] if is_local(each.name))
            held = sum({1 << bits.setdefault(each, len(bits)) for each in own})
            found[digest] = reduce(or_, (found[each] for each in graph[digest]), held)
    except CycleError:
        return {}
    every = tuple(bits)
    return {digest: Reads(every, held) for digest, held in found.items()}
