"""Curves: a cost at several sizes, how it grows between the larger ones, and what may be. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.benchmarks.figures import Figures, Finding

MOST_EXPONENT = 1.1
"""Linear, with some room for noise."""


@dataclass(frozen=True)
class Limit:
    """The most that each unit of size may add between the smallest and the largest size.

    Attributes:
        most: in the curve's unit.
        text: the same, for people.
    """

    most: float
    text: str


@dataclass(frozen=True)
class Curve:
    """A cost at several sizes, measured several times at each.

    Attributes:
        name: what has this cost.
        values: what was measured, by size.
        unit: the unit of the values.
        own: whether it is bxcache's own cost, which may grow at most linearly.
        limit: what each unit of size may add.
    """

    name: str
    values: Mapping[int, Sequence[float]]
    unit: str = "s"
    own: bool = True
    limit: Limit | None = None

    @property
    def points(self) -> list[tuple[float, float]]:
        """The medians, by size."""
        return [(size, statistics.median(self.values[size])) for size in sorted(self.values)]

    @property
    def exponent(self) -> float | None:
        """The power of the size with which the cost grows in the larger half; None if unknown."""
        return fit_exponent(take_larger(self.points))

    @property
    def added(self) -> float:
        """What each unit of size adds between the smallest and the largest size."""
        (small, least), *_, (large, most) = self.points
        return (most - least) / (large - small)

    def judge(self, part: str) -> Finding:
        """Judge the growth."""
        figures = [
            Figures(f"{part}: {self.name}, {size:,}", self.values[size], self.unit)
            for size in sorted(self.values)
        ]
        text = f"grows with the power {format_exponent(self.exponent)}"
        if not self.own:
            return Finding(tuple(figures), text)
        text = f"at most linear: {text}, at most {MOST_EXPONENT}"
        reached = self.exponent is None or self.exponent <= MOST_EXPONENT
        if self.limit is not None:
            text = f"{text}; {self.limit.text}"
            reached = reached and self.added <= self.limit.most
        return Finding(tuple(figures), text, reached)


@dataclass(frozen=True)
class Chapter:
    """What was measured for one kind of size.

    Attributes:
        name: the part's name on the command line.
        title: the heading.
        axis: what the sizes count.
        text: what was measured.
        curves: the costs; those in the first one's unit are plotted.
        versions: the engine that was used, if any.
    """

    name: str
    title: str
    axis: str
    text: str
    curves: Sequence[Curve]
    versions: str = ""

    @property
    def plotted(self) -> list[Curve]:
        """The curves of the plot."""
        return [each for each in self.curves if each.unit == self.curves[0].unit]

    def judge(self) -> list[Finding]:
        """Judge all curves."""
        return [each.judge(self.name) for each in self.curves]


def take_larger(points: Sequence[tuple[float, float]]) -> Sequence[tuple[float, float]]:
    """Return the points of the larger half of the sizes, and at least two.

    >>> take_larger([(1, 0.1), (10, 0.2), (100, 0.3)])
    [(10, 0.2), (100, 0.3)]
    """
    return points[-max(2, math.ceil(len(points) / 2)) :]


def fit_exponent(points: Sequence[tuple[float, float]]) -> float | None:
    """Return the slope of the line that fits the logarithms best; None if there is no such line.

    >>> fit_exponent([(10, 3.0), (100, 30.0), (1000, 300.0)])
    1.0
    >>> fit_exponent([(10, 2.0), (100, 200.0)])
    2.0
    """
    if len(points) < 2 or any(value <= 0 for point in points for value in point):
        return None
    logs = [(math.log(size), math.log(value)) for size, value in points]
    slope = statistics.linear_regression(*zip(*logs, strict=True)).slope
    return round(slope, 6)


def format_exponent(exponent: float | None) -> str:
    """Return an exponent for people."""
    return "unknown" if exponent is None else f"{exponent:.2f}"
