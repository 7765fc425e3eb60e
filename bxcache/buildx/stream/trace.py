"""What a stream told in the end: steps with their outcomes, sources, caches. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from bxcache.buildx.stream.events import Outcome
from bxcache.buildx.stream.instructions import Instruction, find_reads, join_parts
from bxcache.buildx.stream.names import INTERNAL, CacheVertex, StepName, Transfer
from bxcache.buildx.stream.raw import list_errors
from bxcache.buildx.stream.vertices import Vertex, find_beginning, measure_spans

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping
    from collections.abc import Set as AbstractSet


@dataclass(frozen=True, slots=True)
class TracedStep:
    """A step as the stream tells it.

    Attributes:
        digests: its vertices. A `COPY --link` has two, an `ADD` of a URL too.
        seconds: how long it was worked on, transfers included.
        log_bytes: how much it printed.
        log: the end of that.
        is_cut: there was more before that, so it may begin within a word.
        began: when its work began, in seconds since 1970; None if unknown.
        reads: what it rests on of the files that the client sends, as the instructions that copy
            them.
        lines: the first line in the Dockerfile of each place that it stands for, where no metadata
            tells them, since the build failed.
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
    reads: AbstractSet[str] = frozenset()
    lines: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class TracedSource:
    """Where steps get files from: a base image, something that was fetched.

    Attributes:
        digest: its vertex.
        text: what BuildKit calls it.
        step: the step that it is, where it is a `FROM`.
        seconds: how long it was worked on.
        began: when that began, in seconds since 1970; None if unknown.
    """

    digest: str
    text: str
    step: StepName | None
    seconds: float
    began: float | None = None


@dataclass(frozen=True, slots=True)
class CacheTransfer:
    """The import or the export of one cache.

    Attributes:
        name: BuildKit's name for it.
        digest: the manifest that an export wrote, if it came so far.
        error: why it failed, or an empty string.
        log: the last line that it printed, or an empty string.
    """

    name: str
    digest: str | None
    error: str
    log: str = ""


@dataclass(frozen=True, slots=True)
class Trace:
    """What a stream told in the end.

    Attributes:
        steps: the instructions, in the order in which they began.
        transfers: the imports and exports of caches.
        said: what docker said outside of them.
        unloaded: why results that were found in a cache could not be loaded.
        sources: where the steps get files from.
        began: when the first of it all began, in seconds since 1970; None if unknown.
        warnings: what BuildKit warned of, each once.
        moved: how many bytes were moved, by what moved them.
    """

    steps: tuple[TracedStep, ...] = ()
    transfers: tuple[CacheTransfer, ...] = ()
    said: tuple[str, ...] = ()
    unloaded: tuple[str, ...] = ()
    sources: tuple[TracedSource, ...] = ()
    began: float | None = None
    warnings: tuple[str, ...] = ()
    moved: Mapping[Transfer, int] = field(default_factory=dict)

    @property
    def says_why(self) -> bool:
        """Whether docker said why it failed."""
        return bool(list_errors(self.said))

    @property
    def last_error(self) -> str:
        """Why docker failed, in its own last words; empty where it did not say."""
        said = list_errors(self.said)
        # Of several targets that fail at once docker tells of one.
        steps = [each.error for each in self.steps if each.outcome is Outcome.FAILED]
        return next(filter(None, (*reversed(said), *steps)), "")

    def find_transfers(self, kind: CacheVertex) -> list[CacheTransfer]:
        """The imports, or the exports of one type, in the order in which they began."""
        return [each for each in self.transfers if each.name.startswith(kind)]


def _describe(
    instruction: Instruction,
    done: Vertex,
    parts: tuple[Vertex, ...],
    reads: Mapping[str, AbstractSet[str]],
) -> TracedStep:
    """The step, as it was done; maybe by another build."""
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
        reads=reads.get(instruction.main.digest, frozenset()),
    )


def list_steps(
    vertices: list[Vertex], own: Container[str], elsewhere: list[Vertex], *, ended: bool
) -> Iterator[TracedStep]:
    """The instructions that are a build's own, with what became of them.

    Args:
        vertices: what its stream told.
        own: its vertices, as far as they are known; empty if they are not.
        elsewhere: the vertices of builds that ran at the same time.
        ended: it has come to its end: what was not told to be done was not needed.
    """
    instructions, reads = list(join_parts(vertices)), find_reads(vertices)
    mine = {each.main.digest for each in instructions if each.is_of(own)}
    platforms = {each.name.platform for each in instructions if each.main.digest in mine}
    others = {
        (each.name.stage, each.name.text): each
        for each in (*join_parts(elsewhere), *instructions)
        if mine and each.main.digest not in mine and each.done is not None
    }
    for each in instructions:
        foreign = bool(mine) and each.main.digest not in mine
        # Other nodes of a builder work for other platforms, and are not told to be the build's.
        if foreign and each.name.platform in platforms:
            continue
        told = each if each.done else others.get((each.name.stage, each.name.text), each)
        if told.done is not None:
            yield _describe(each, told.done, told.parts, reads)
        elif ended and each.main.digest in mine:
            yield replace(_describe(each, each.main, (), reads), outcome=Outcome.REUSED)


def list_sources(vertices: Iterable[Vertex]) -> Iterator[TracedSource]:
    """Where the steps of a build get files from."""
    for vertex in vertices:
        is_step = vertex.step is not None and not vertex.step.is_base
        if not (is_step or vertex.name.startswith(INTERNAL) or _is_transfer(vertex)):
            text = vertex.step.text if vertex.step is not None else vertex.name
            seconds, began = measure_spans(vertex.spans), find_beginning(vertex.spans)
            yield TracedSource(vertex.digest, text, vertex.step, seconds, began)


def list_transfers(vertices: Iterable[Vertex]) -> Iterator[CacheTransfer]:
    """The imports and exports of caches."""
    for vertex in filter(_is_transfer, vertices):
        yield CacheTransfer(vertex.name, vertex.written, vertex.error, vertex.log)


def _is_transfer(vertex: Vertex) -> bool:
    return any(vertex.name.startswith(kind) for kind in CacheVertex)
