"""The trace of a whole stream: steps with their outcomes, sources, caches. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Set as AbstractSet
from functools import reduce
from graphlib import CycleError, TopologicalSorter
from operator import or_
from typing import TYPE_CHECKING

from msgspec import Struct, field
from msgspec.structs import replace

from bxcache.buildx.stream.causes import prepend_cause
from bxcache.buildx.stream.events import Outcome
from bxcache.buildx.stream.names import INTERNAL, CacheVertex, StepName, Transfer, is_local
from bxcache.buildx.stream.raw import list_errors
from bxcache.buildx.stream.times import find_beginning, measure_spans

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping, Sequence

    from bxcache.buildx.stream.events import Phase
    from bxcache.buildx.stream.phases import Span
    from bxcache.buildx.stream.vertices import Vertex


class TracedStep(Struct, frozen=True):
    """A step as reported in the stream.

    Attributes:
        digests: its vertices. A `COPY --link` and an `ADD` of a URL have two.
        seconds: how long it ran, including transfers.
        log: the end of its output.
        is_cut: whether output before `log` was dropped; it may then begin within a word.
        began: when it began, in seconds since 1970; None if unknown.
        inputs: the vertices that it needs.
        reads: the instructions that copy the client's files that it depends on.
        lines: the first lines of its instructions in the Dockerfile, if the build failed and so has
            no metadata.
    """

    name: StepName
    digests: tuple[str, ...]
    outcome: Outcome
    seconds: float
    error: str = ""
    log_bytes: int = 0
    log: str = ""
    is_cut: bool = False
    began: float | None = None
    inputs: tuple[str, ...] = ()
    reads: AbstractSet[str] = frozenset()
    lines: tuple[int, ...] = ()


class TracedSource(Struct, frozen=True):
    """A source of files for steps: a base image, or something fetched.

    Attributes:
        step: its step, if it is a `FROM`.
        began: in seconds since 1970; None if unknown.
    """

    digest: str
    text: str
    step: StepName | None
    seconds: float
    began: float | None = None


class CacheTransfer(Struct, frozen=True):
    """The import or export of one cache, the manifest that an export wrote, and its last output."""

    name: str
    digest: str | None
    error: str
    log: str = ""


class Trace(Struct, frozen=True):
    """The trace of a whole stream.

    Attributes:
        steps: the instructions, in the order in which they began.
        said: docker's own output.
        unloaded: why results found in a cache could not be loaded.
        began: in seconds since 1970; None if unknown.
        moved: the bytes transferred, by kind.
        spans: the work of BuildKit by phase, in seconds since 1970.
        phase_bytes: the bytes that each phase moved, as far as they are known.
        listed: the name of each vertex of an instruction, also of those without an outcome.
    """

    steps: tuple[TracedStep, ...] = ()
    transfers: tuple[CacheTransfer, ...] = ()
    said: tuple[str, ...] = ()
    unloaded: tuple[str, ...] = ()
    sources: tuple[TracedSource, ...] = ()
    began: float | None = None
    warnings: tuple[str, ...] = ()
    moved: Mapping[Transfer, int] = field(default_factory=dict)
    spans: tuple[Span, ...] = ()
    phase_bytes: Mapping[Phase, int] = field(default_factory=dict)
    listed: tuple[StepName, ...] = ()

    @property
    def says_why(self) -> bool:
        """Whether docker reported why it failed."""
        return bool(list_errors(self.said))

    @property
    def last_error(self) -> str | None:
        """Docker's last error message."""
        said = list_errors(self.said)
        # If several targets fail at once, docker reports only one.
        steps = [each.error for each in self.steps if each.outcome is Outcome.FAILED]
        return next(filter(None, (*reversed(said), *steps)), None)

    def find_transfers(self, kind: CacheVertex) -> list[CacheTransfer]:
        """Return the imports, or the exports of one type, in the order in which they began."""
        return [each for each in self.transfers if each.name.startswith(kind)]


class Instruction(Struct, frozen=True):
    """The vertices of one instruction; `main` decides its outcome."""

    name: StepName
    main: Vertex
    parts: tuple[Vertex, ...]

    @property
    def done(self) -> Vertex | None:
        """The vertex with the outcome; after a failed fetch, no other vertex follows."""
        found = (each for each in (self.main, *self.parts) if each.outcome is not None)
        return next(found, None)


def _join_parts(vertices: list[Vertex]) -> Iterator[Instruction]:
    """Yield an instruction for each step, which may consist of several vertices."""
    # An `ADD` of a URL has a vertex that fetches it; a `COPY --link` has a merge for each stage.
    by_digest = {each.digest: each for each in vertices}
    fetches: dict[str, list[Vertex]] = defaultdict(list)
    merges: dict[str, list[Vertex]] = defaultdict(list)
    for vertex in vertices:
        copied = vertex.step.copied if vertex.step is not None else None
        for other in (by_digest[digest] for digest in vertex.inputs if digest in by_digest):
            if other.is_part_of(vertex):
                fetches[vertex.digest].append(other)
            elif copied is not None and other.step == copied:
                merges[other.digest].append(vertex)
    fetched = {each.digest for parts in fetches.values() for each in parts}
    for vertex in vertices:
        step = vertex.step
        if step is None or step.is_base or step.is_link or vertex.digest in fetched:
            continue
        yield Instruction(step, vertex, (*fetches[vertex.digest], vertex, *merges[vertex.digest]))


class Reads(AbstractSet[str]):
    """Instructions that copy from the local contexts, as bits of a number, the lowest first.

    Thousands of vertices may each depend on nearly all of them.
    """

    __slots__ = ("_every", "_held")

    def __init__(self, every: Sequence[str], held: int) -> None:
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


def _find_reads(vertices: Iterable[Vertex]) -> dict[str, Reads]:
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


def _make_step(
    instruction: Instruction,
    done: Vertex,
    parts: tuple[Vertex, ...],
    reads: Mapping[str, AbstractSet[str]],
) -> TracedStep:
    """Return the step as executed, possibly by another build."""
    spans = {start: end for each in parts for start, end in each.spans.items()}
    cut = max((at for at, part in enumerate(parts) if part.is_cut), default=0)
    return TracedStep(
        name=instruction.name,
        digests=tuple(part.digest for part in instruction.parts),
        outcome=done.outcome or Outcome.FAILED,
        seconds=measure_spans(spans),
        error=done.error,
        log_bytes=sum(part.log_bytes for part in parts),
        log="".join(part.tail for part in parts[cut:]),
        is_cut=any(part.is_cut for part in parts),
        began=find_beginning(spans),
        inputs=tuple(dict.fromkeys(each for part in instruction.parts for each in part.inputs)),
        reads=reads.get(instruction.main.digest, frozenset()),
    )


def list_steps(
    vertices: list[Vertex], own: Container[str], elsewhere: list[Vertex], *, ended: bool
) -> Iterator[TracedStep]:
    """Yield a build's own instructions with their outcomes.

    Args:
        own: its own vertices, as far as known; empty if unknown.
        elsewhere: the vertices of concurrent builds.
        ended: whether it completed; then a vertex not reported as done was not needed.
    """
    instructions, reads = list(_join_parts(vertices)), _find_reads(vertices)
    mine = {
        each.main.digest for each in instructions if any(part.digest in own for part in each.parts)
    }
    platforms = {each.name.platform for each in instructions if each.main.digest in mine}
    others = {
        (each.name.stage, each.name.text): each
        for each in (*_join_parts(elsewhere), *instructions)
        if mine and each.main.digest not in mine and each.done is not None
    }
    for each in instructions:
        foreign = bool(mine) and each.main.digest not in mine
        # Other nodes of a builder build other platforms, and their vertices are not in `own`.
        if foreign and each.name.platform in platforms:
            continue
        ran = each if each.done else others.get((each.name.stage, each.name.text), each)
        if ran.done is not None:
            yield _make_step(each, ran.done, ran.parts, reads)
        elif ended and each.main.digest in mine:
            yield replace(_make_step(each, each.main, (), reads), outcome=Outcome.REUSED)


def list_sources(vertices: Iterable[Vertex]) -> Iterator[TracedSource]:
    """Yield the base images, and what else was fetched for steps."""
    for vertex in vertices:
        is_step = vertex.step is not None and not vertex.step.is_base
        if not (is_step or vertex.name.startswith(INTERNAL) or _is_transfer(vertex)):
            seconds, began = measure_spans(vertex.spans), find_beginning(vertex.spans)
            yield TracedSource(vertex.digest, vertex.text, vertex.step, seconds, began)


def list_transfers(vertices: Iterable[Vertex]) -> Iterator[CacheTransfer]:
    """Yield the imports and exports of caches."""
    for vertex in filter(_is_transfer, vertices):
        error = prepend_cause(vertex.error)
        yield CacheTransfer(vertex.name, vertex.written, error, vertex.log)


def _is_transfer(vertex: Vertex) -> bool:
    return any(vertex.name.startswith(kind) for kind in CacheVertex)
