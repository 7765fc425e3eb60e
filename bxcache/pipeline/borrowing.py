"""Results that a build took from the builder's own cache, which other builds may fill. Pure.

BuildKit's cache keys leave out some of what a step's result depends on, such as proxy arguments
(https://github.com/moby/buildkit/issues/400). So an untrusted build can leave results in a builder
that a trusted build with the same steps reuses, and saves for others.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from msgspec import Struct, field
from msgspec.structs import replace

from bxcache.buildx.metadata import find_layers, find_line
from bxcache.buildx.stream.events import Outcome
from bxcache.config.quantities import format_count

if TYPE_CHECKING:
    from collections.abc import Sequence
    from collections.abc import Set as AbstractSet

    from bxcache.buildx.metadata import Metadata, Operation
    from bxcache.buildx.run import RunResult
    from bxcache.buildx.stream.trace import TracedStep

_MOST_NAMED, _LONGEST_TEXT = 5, 60
_ADVICE = (
    "an untrusted build can have left it there: give trusted builds a builder of their own and set "
    '`cache.shared_builder = "trust"`, or set it to "refuse" to save nothing of the kind'
)


class Known(Struct, frozen=True):
    """The digests of the layers that trusted builds have saved.

    `doubt` says why they may be incomplete.
    """

    layers: AbstractSet[str]
    doubt: str | None = None


class BorrowedStep(Struct, frozen=True):
    """A step whose result came from the builder's own cache, with the digests of its layers."""

    label: str
    text: str
    line: int | None
    layers: frozenset[str]


class Borrowing(Struct, frozen=True):
    """The results that a build took from the builder's own cache, and the layers it can trust.

    Attributes:
        sound: the digests of the layers that came from a known cache or a base image, or from
            steps that the build executed on top of only such layers.
        doubt: why the origin of some results is unknown; None if all are known.
    """

    steps: tuple[BorrowedStep, ...] = ()
    sound: AbstractSet[str] = field(default_factory=frozenset)
    doubt: str | None = None

    def warn(self, saved: AbstractSet[str]) -> str | None:
        """The warning about borrowed layers among the saved ones, by their digests, if any."""
        steps = [each for each in self.steps if each.layers & saved]
        if self.doubt or not steps:
            return None
        layers = {layer for each in steps for layer in each.layers & saved}
        made = "it" if len(layers) == 1 else "them"
        return (
            f"{format_count(len(layers), 'layer')} that the build saved came from the builder's "
            f"own cache, and no trusted build is known to have made {made}: {_name_all(steps)}; "
            f"{_ADVICE}"
        )

    @property
    def is_unsound(self) -> bool:
        """Whether a result came from the builder's own cache, or may have."""
        return bool(self.steps or self.doubt)

    def refuse(self) -> str:
        """The warning about borrowed layers that were not saved."""
        if self.doubt:
            return (
                "what may have come from the builder's own cache was not saved, nor what rests on "
                f"it, and nothing to registries: {self.doubt}"
            )
        return (
            "what came from the builder's own cache was not saved, nor what rests on it, and "
            f"nothing to registries; no trusted build is known to have made it: "
            f"{_name_all(self.steps)}; {_ADVICE}"
        )


def find_borrowing(ran: RunResult, metadata: Metadata, known: Known) -> Borrowing:
    """Find the results that a build took from the builder's own cache.

    The metadata has the layers of the build, from all of its runs. A step without a layer was not
    needed, or its layer is not exported yet: it counts as borrowed only if an unknown result
    depends on it.
    """
    reused = any(step.outcome is Outcome.REUSED for step in ran.trace.steps)
    if reused and not metadata.definitions:
        return Borrowing(sound=known.layers, doubt="buildx does not report what its steps made")
    operations = metadata.operations
    outcomes = {vertex: step.outcome for step in ran.trace.steps for vertex in step.digests}
    images = (chain for each in operations.values() if each.source for chain in each.chains)
    layers = known.layers | {layer.digest for chain in images for layer in chain}
    unknown = {vertex: each for vertex, each in operations.items() if not _is_known(each, layers)}
    needed = {below for each in unknown.values() for below in each.inputs}
    borrowed = {
        vertex
        for vertex, each in unknown.items()
        if outcomes.get(vertex) is Outcome.REUSED and (each.chains or vertex in needed)
    }
    steps = (step for step in ran.trace.steps if not borrowed.isdisjoint(step.digests))
    described = (_describe(step, metadata) for step in steps)
    named = tuple(sorted(described, key=lambda each: (each.line or inf, each.label)))
    sound: set[str] = set()
    # An operation comes after its inputs; an input that comes later is not sound.
    for vertex, each in operations.items():
        made = outcomes.get(vertex, Outcome.EXECUTED) is Outcome.EXECUTED
        rests = all(below in sound or below not in operations for below in each.inputs)
        if vertex not in unknown or (made and rests):
            sound.add(vertex)
    own = {layer.digest for vertex in sound for layer in operations[vertex].layers}
    return Borrowing(named, layers | own, known.doubt if named else None)


def add_made(known: Known, others: Sequence[RunResult]) -> Known:
    """Add the layers that other trusted builds made, on known layers or on one another's."""
    layers = frozenset(known.layers)
    while True:
        builds = (find_borrowing(ran, ran.metadata, Known(layers)) for ran in others)
        more = layers.union(*(each.sound for each in builds))
        if more == layers:
            return replace(known, layers=layers)
        layers = more


def _is_known(operation: Operation, known: AbstractSet[str]) -> bool:
    """Whether all layers of a result are known: one blob can sit on top of several others."""
    return any(all(layer.digest in known for layer in chain) for chain in operation.chains)


def _describe(step: TracedStep, metadata: Metadata) -> BorrowedStep:
    layers = frozenset(layer.digest for layer in find_layers(step, metadata))
    return BorrowedStep(step.name.label, step.name.text, find_line(step, metadata), layers)


def _name_all(steps: Sequence[BorrowedStep]) -> str:
    more = len(steps) - _MOST_NAMED
    named = [_name(each) for each in steps[:_MOST_NAMED]]
    return ", ".join([*named, *([f"and {more} more"] if more > 0 else [])])


def _name(step: BorrowedStep) -> str:
    text = " ".join(step.text.split())
    shown = text if len(text) <= _LONGEST_TEXT else f"{text[: _LONGEST_TEXT - 1]}…"
    line = f" line {step.line}" if step.line is not None else ""
    return f"{step.label}{line} `{shown}`"
