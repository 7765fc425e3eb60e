"""The layers of the steps of a failed build, from the runs that saved them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bxcache.buildx.stream.events import Outcome
from bxcache.insight.record_parts import RecordedLayer

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bxcache.buildx.metadata import Layer, Metadata
    from bxcache.insight.record_parts import RecordedStep


def add_layers(steps: Sequence[RecordedStep], runs: Iterable[Metadata]) -> tuple[RecordedStep, ...]:
    """Return the steps of a failed build with the layers that runs which saved them report.

    They are found by the lines of the Dockerfile, whose other steps these runs do not have.
    """
    known = {
        (definition.platform, line): operation.layers
        for run in runs
        for definition in run.definitions
        for operation in definition.operations
        for line in operation.lines
        if operation.layers and not operation.source
    }

    def find(step: RecordedStep) -> tuple[RecordedLayer, ...]:
        platform = next(iter(step.platforms), None)
        found = (known.get((platform, line)) for line in step.lines)
        layers: tuple[Layer, ...] = next(filter(None, found), ())
        return tuple(RecordedLayer(digest=each.digest, size=each.size) for each in layers[:1])

    return tuple(
        step.model_copy(update={"layers": find(step)})
        if step.kind == "instruction" and step.outcome is not Outcome.FAILED and not step.layers
        else step
        for step in steps
    )
