"""The order of the stages in a build whose Dockerfile is not in its record."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bxcache.insight.record_parts import RecordedStep


def order_stages(began: Iterable[str], steps: Iterable[RecordedStep]) -> list[str]:
    """Put stages in the Dockerfile's order, as far as the lines of their steps show it.

    `began` names the stages as they began; those without a line keep their places.
    """
    lines: dict[str, int] = {}
    for step in steps:
        if step.kind == "instruction" and step.lines:
            lines[step.stage] = min(*step.lines, lines.get(step.stage, step.lines[0]))
    names = [*began]
    lined = iter(sorted(filter(lines.__contains__, names), key=lines.__getitem__))
    return [next(lined) if name in lines else name for name in names]
