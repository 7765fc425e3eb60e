"""Two builds side by side: the stages whose layers differ, and by how much."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bxcache.insight.history import Stage
    from bxcache.insight.record import RecordedLayer


@dataclass(frozen=True)
class StageDifference:
    """A stage in two builds.

    Attributes:
        name: the stage's name.
        before: the stage in the first build; None if that did not need it.
        after: the stage in the second build; None if that did not need it.
        gone: the layers that only the first has.
        new: the layers that only the second has.
        kept: the layers that both have.
    """

    name: str
    before: Stage | None
    after: Stage | None
    gone: tuple[RecordedLayer, ...]
    new: tuple[RecordedLayer, ...]
    kept: tuple[RecordedLayer, ...]

    @property
    def is_same(self) -> bool:
        """Whether both builds have the stage with the same layers."""
        both = self.before is not None and self.after is not None
        return both and not self.gone and not self.new

    @property
    def gone_bytes(self) -> int:
        """The size of the layers that only the first build has."""
        return sum(layer.size for layer in self.gone)

    @property
    def new_bytes(self) -> int:
        """The size of the layers that only the second build has."""
        return sum(layer.size for layer in self.new)


def compare_stages(before: Iterable[Stage], after: Iterable[Stage]) -> tuple[StageDifference, ...]:
    """The stages of two builds by their names, in the order of the second, then of the first.

    A stage that a build did not need counts as absent there.
    """
    first = {stage.name: stage for stage in before if stage.needed}
    second = {stage.name: stage for stage in after if stage.needed}
    names = [*second, *(name for name in first if name not in second)]
    return tuple(_compare(name, first.get(name), second.get(name)) for name in names)


def _compare(name: str, before: Stage | None, after: Stage | None) -> StageDifference:
    first = before.layers if before is not None else ()
    second = after.layers if after is not None else ()
    had, has = ({layer.digest for layer in layers} for layers in (first, second))
    return StageDifference(
        name=name,
        before=before,
        after=after,
        gone=tuple(layer for layer in first if layer.digest not in has),
        new=tuple(layer for layer in second if layer.digest not in had),
        kept=tuple(layer for layer in second if layer.digest in had),
    )
