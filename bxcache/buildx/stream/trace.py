"""The trace of a whole stream: steps with their outcomes, sources, caches. Pure."""

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
    """A step as reported in the stream.

    Attributes:
        digests: its vertices. A `COPY --link` and an `ADD` of a URL have two.
        seconds: how long it ran, including transfers.
        log_bytes: how much it printed.
        log: the end of its output.
        is_cut: whether output before `log` was dropped; it may then begin within a word.
        began: when it began, in seconds since 1970; None if unknown.
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
    reads: AbstractSet[str] = frozenset()
    lines: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class TracedSource:
    """A source of files for steps: a base image, or something fetched.

    Attributes:
        digest: its vertex.
        text: BuildKit's name for it.
        step: its step, if it is a `FROM`.
        began: when it began, in seconds since 1970; None if unknown.
    """

    digest: str
    text: str
    step: StepName | None
    seconds: float
    began: float | None = None


@dataclass(frozen=True, slots=True)
class CacheTransfer:
    """The import or export of one cache.

    Attributes:
        name: BuildKit's name for it.
        digest: the manifest that an export wrote, or None.
        error: why it failed; empty if it did not.
        log: the last line that it printed.
    """

    name: str
    digest: str | None
    error: str
    log: str = ""


@dataclass(frozen=True, slots=True)
class Trace:
    """The trace of a whole stream.

    Attributes:
        steps: the instructions, in the order in which they began.
        said: docker's own output.
        unloaded: why results found in a cache could not be loaded.
        began: when the build began, in seconds since 1970; None if unknown.
        warnings: BuildKit's warnings, each once.
        moved: the bytes transferred, by kind.
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
        reads=reads.get(instruction.main.digest, frozenset()),
    )


def list_steps(
    vertices: list[Vertex], own: Container[str], elsewhere: list[Vertex], *, ended: bool
) -> Iterator[TracedStep]:
    """Yield a build's own instructions with their outcomes.

    Args:
        vertices: the vertices in its stream.
        own: its own vertices, as far as known; empty if unknown.
        elsewhere: the vertices of concurrent builds.
        ended: whether it completed; then a vertex not reported as done was not needed.
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
        yield CacheTransfer(vertex.name, vertex.written, vertex.error, vertex.log)


def _is_transfer(vertex: Vertex) -> bool:
    return any(vertex.name.startswith(kind) for kind in CacheVertex)
