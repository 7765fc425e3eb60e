"""Instructions, which may consist of several vertices, and the files that they depend on."""

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
    """The vertices of one instruction; `main` decides its outcome."""

    name: StepName
    main: Vertex
    parts: tuple[Vertex, ...]

    def is_of(self, own: Container[str]) -> bool:
        """Whether any of its vertices is in a set."""
        return any(part.digest in own for part in self.parts)

    @property
    def done(self) -> Vertex | None:
        """The vertex with the outcome; after a failed fetch, no other vertex follows."""
        found = (each for each in (self.main, *self.parts) if each.outcome is not None)
        return next(found, None)


def join_parts(vertices: list[Vertex]) -> Iterator[Instruction]:
    """Yield an instruction for each step, which may consist of several vertices.

    An `ADD` of a URL has a vertex that fetches it; a `COPY --link` has a merge for each stage.
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

    Thousands of vertices may each depend on nearly all of them, so they are bits of a number.
    """

    __slots__ = ("_every", "_held")

    def __init__(self, every: Sequence[str], held: int) -> None:
        """Select from a list by bits, the lowest for the first item."""
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
    """Find the instructions that copy from the local contexts and that each vertex depends on."""
    known = {each.digest: each for each in vertices}
    below = {name: [each for each in known[name].inputs if each in known] for name in known}
    bits: dict[str, int] = {}
    found: dict[str, int] = {}
    try:
        for digest in TopologicalSorter(below).static_order():
            contexts = (known[each].name for each in below[digest])
            own = (f"{each} {known[digest].text}" for each in contexts if is_local(each))
            held = sum({1 << bits.setdefault(each, len(bits)) for each in own})
            found[digest] = reduce(or_, (found[each] for each in below[digest]), held)
    except CycleError:
        return {}
    every = tuple(bits)
    return {digest: Reads(every, held) for digest, held in found.items()}
