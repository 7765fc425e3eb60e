"""Results that a build took from the builder's own cache, which other builds may fill. Pure.

BuildKit's cache keys leave out some of what a step's result depends on, such as proxy arguments
(https://github.com/moby/buildkit/issues/400). So an untrusted build can leave results in a builder
that a trusted build with the same steps reuses, and saves for others.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from math import inf
from typing import TYPE_CHECKING

from bxcache.buildx.metadata import find_layers, find_line
from bxcache.buildx.stream.events import Outcome
from bxcache.config.quantities import format_count

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from bxcache.buildx.metadata import Metadata, Operation
    from bxcache.buildx.run import RunResult
    from bxcache.buildx.stream.trace import TracedStep

_MOST_NAMED, _LONGEST_TEXT = 5, 60
_ADVICE = (
    "an untrusted build can have left it there: give trusted builds a builder of their own and set "
    '`cache.shared_builder = "trust"`, or set it to "refuse" to save nothing of the kind'
)


@dataclass(frozen=True, slots=True)
class Known:
    """The layers that trusted builds have saved.

    Attributes:
        layers: their digests.
        doubt: why the set may be incomplete, or an empty string.
    """

    layers: AbstractSet[str]
    doubt: str = ""


@dataclass(frozen=True, slots=True)
class BorrowedStep:
    """A step whose result came from the builder's own cache.

    Attributes:
        label: the stage and the number of the step.
        text: the instruction.
        line: its line in the Dockerfile; None if unknown.
        layers: the digests of its layers; empty if unknown.
    """

    label: str
    text: str
    line: int | None
    layers: frozenset[str]


@dataclass(frozen=True, slots=True)
class Borrowing:
    """The results that a build took from the builder's own cache, and the layers it can trust.

    Attributes:
        steps: the steps whose results came from there.
        sound: the digests of the layers that came from a known cache or a base image, or from
            steps that the build executed on top of only such layers.
        doubt: why the origin of some results is unknown, or an empty string.
    """

    steps: tuple[BorrowedStep, ...] = ()
    sound: AbstractSet[str] = field(default_factory=frozenset)
    doubt: str = ""

    def warn(self, saved: AbstractSet[str]) -> str:
        """The warning about borrowed layers that were saved, or an empty string.

        Args:
            saved: the digests of the saved layers.
        """
        steps = [each for each in self.steps if each.layers & saved]
        if self.doubt or not steps:
            return ""
        layers = {layer for each in steps for layer in each.layers & saved}
        return (
            f"{format_count(len(layers), 'layer')} that the build saved came from the builder's "
            f"own cache, and no trusted build is known to have made them: {_name_all(steps)}; "
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

    Args:
        ran: the result of the build.
        metadata: the metadata with its layers.
        known: the layers that trusted builds have saved.
    """
    reused = any(step.outcome is Outcome.REUSED for step in ran.trace.steps)
    if reused and not metadata.definitions:
        return Borrowing(sound=known.layers, doubt="buildx does not report what its steps made")
    steps = {vertex: step for step in ran.trace.steps for vertex in step.digests}
    reader = _Reader(metadata.operations, steps, known.layers)
    borrowed = (
        step
        for step in ran.trace.steps
        if any(reader.is_borrowed(vertex) for vertex in step.digests)
    )
    described = (_describe(step, metadata) for step in borrowed)
    named = tuple(sorted(described, key=lambda each: (each.line or inf, each.label)))
    doubt = known.doubt if named else ""
    return Borrowing(named, reader.list_sound(), doubt)


def _describe(step: TracedStep, metadata: Metadata) -> BorrowedStep:
    layers = frozenset(layer.digest for layer in find_layers(step, metadata))
    return BorrowedStep(step.name.label, step.name.text, find_line(step, metadata), layers)


class _Reader:
    """Follows the operations of a build down to the sources of their files."""

    def __init__(
        self,
        operations: Mapping[str, Operation],
        steps: Mapping[str, TracedStep],
        known: AbstractSet[str],
    ) -> None:
        self._operations, self._steps = operations, steps
        images = (chain for each in operations.values() if each.source for chain in each.chains)
        self._known = known | {layer.digest for chain in images for layer in chain}

    def is_borrowed(self, vertex: str) -> bool:
        """Whether the result of a step came from the builder's own cache.

        A step without a layer was not needed, or its layer is not exported yet: it counts as
        borrowed only if an unknown result depends on it.
        """
        step, operation = self._steps.get(vertex), self._operations.get(vertex)
        if step is None or operation is None or step.outcome is not Outcome.REUSED:
            return False
        return not self._is_known(operation) and (bool(operation.chains) or vertex in self._needed)

    def _is_known(self, operation: Operation) -> bool:
        """Whether all layers of a result are known: one blob can sit on top of several others."""
        return any(
            all(layer.digest in self._known for layer in chain) for chain in operation.chains
        )

    @cached_property
    def _needed(self) -> AbstractSet[str]:
        """The operations that an unknown result depends on."""
        unknown = [each for each in self._operations.values() if not self._is_known(each)]
        return {below for each in unknown for below in each.inputs}

    def list_sound(self) -> AbstractSet[str]:
        """List the known layers, and those that the build made from only sound ones."""
        sound: dict[str, bool] = {}
        # Every operation comes after its inputs.
        for vertex, operation in self._operations.items():
            step = self._steps.get(vertex)
            made = step is None or step.outcome is Outcome.EXECUTED
            rests = all(sound.get(each, True) for each in operation.inputs)
            sound[vertex] = self._is_known(operation) or (made and rests)
        own = (layer for v, each in self._operations.items() if sound[v] for layer in each.layers)
        return self._known | {layer.digest for layer in own}


def _name_all(steps: Sequence[BorrowedStep]) -> str:
    more = len(steps) - _MOST_NAMED
    named = [_name(each) for each in steps[:_MOST_NAMED]]
    return ", ".join([*named, *([f"and {more} more"] if more > 0 else [])])


def _name(step: BorrowedStep) -> str:
    text = " ".join(step.text.split())
    shown = text if len(text) <= _LONGEST_TEXT else f"{text[: _LONGEST_TEXT - 1]}…"
    line = f" line {step.line}" if step.line is not None else ""
    return f"{step.label}{line} `{shown}`"
