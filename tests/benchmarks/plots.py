"""SVG plots for the pages of benchmarks, readable on light and on dark pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes

# All have a contrast of at least 3 on white and on GitHub's darkest page, texts of at least 4.
COLOURS = (
    *("#3b82f6", "#d9730d", "#1a9c5b", "#a259d9", "#e0526e"),
    *("#0e96a8", "#8a7d3b", "#7a8699", "#c2410c", "#5b6ee1"),
)
MARKERS = "osD^vPX*<>"
INK, GRID = "#777777", "#88888844"
INCHES = 7.2
MOST_BESIDE = 4
"""More names than these stand in two columns."""
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "bxcache",
    "axes.edgecolor": GRID,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "font.size": 10,
    "grid.color": GRID,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}


@dataclass(frozen=True)
class Axis:
    """What an axis shows, with its unit, and whether each step of it multiplies."""

    label: str
    log: bool = False


@dataclass(frozen=True)
class Series:
    """A line through points (x, y); a dashed one stands for a comparison."""

    name: str
    points: Sequence[tuple[float, float]]
    dashed: bool = False


def draw_lines(path: Path, title: str, x: Axis, y: Axis, series: Sequence[Series]) -> None:
    """Write a plot with one line for each series.

    Args:
        path: the SVG file, which is replaced.
        title: the line above the plot.
        x: the horizontal axis; with `log`, it is marked where there are points.
        y: the vertical axis; without `log`, it begins at 0.
        series: the lines, at most ten.
    """
    more = 0.11 * len(series) if len(series) > MOST_BESIDE else 0
    with _open(path, title, x, height=3.8 + more) as axes:
        axes.set_ylabel(y.label)
        for number, each in enumerate(series):
            axes.plot(
                [at for at, _ in each.points],
                [value for _, value in each.points],
                label=each.name,
                color=COLOURS[number],
                marker=MARKERS[number],
                linestyle="--" if each.dashed else "-",
            )
        if x.log:
            marks = sorted({at for each in series for at, _ in each.points})
            axes.set_xscale("log")
            axes.set_xticks(marks, [format_figure(mark) for mark in marks])
            axes.minorticks_off()
        else:
            axes.xaxis.set_major_formatter(lambda value, _: format_figure(value))
        if y.log:
            axes.set_yscale("log")
        else:
            axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(lambda value, _: format_figure(value))
        _explain(axes, len(series))


def draw_bars(
    path: Path,
    title: str,
    x: Axis,
    rows: Sequence[str],
    parts: Mapping[str, Sequence[float]],
    *,
    stacked: bool = True,
) -> None:
    """Write a plot with horizontal bars, the first row on top.

    Args:
        path: the SVG file, which is replaced.
        title: the line above the plot.
        x: the axis of the values.
        rows: the names at the left.
        parts: by name, at most ten, the value of each row.
        stacked: one bar in each row holds all parts; else each part has a bar of its own.
    """
    thick = 0.7 if stacked else 0.8 / len(parts)
    height = 1.4 + 0.3 * len(rows) * (1 if stacked else max(len(parts) / 2, 1))
    with _open(path, title, x, height=height) as axes:
        left = [0.0] * len(rows)
        for number, (name, values) in enumerate(parts.items()):
            shift = 0.0 if stacked else (number - (len(parts) - 1) / 2) * thick
            places = [row + shift for row in range(len(rows))]
            axes.barh(places, values, thick, left, label=name, color=COLOURS[number])
            if stacked:
                left = [sum(both) for both in zip(left, values, strict=True)]
        axes.set_yticks(range(len(rows)), rows)
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        axes.invert_yaxis()
        if x.log:
            axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: format_figure(value))
        _explain(axes, len(parts))


def format_figure(value: float) -> str:
    """Return a figure as it stands at an axis.

    >>> [format_figure(each) for each in (0.001, 0.5, 10.0, 100_000)]
    ['0.001', '0.5', '10', '100,000']
    """
    return f"{value:,.10g}"


@contextmanager
def _open(path: Path, title: str, x: Axis, height: float) -> Iterator[Axes]:
    """Yield the empty axes of a plot, and write it at the end: the same bytes each time."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(INCHES, height), layout="constrained")
        axes = figure.add_subplot()
        axes.set_axisbelow(b=True)
        figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
        axes.set_xlabel(x.label)
        yield axes
        path.parent.mkdir(parents=True, exist_ok=True)
        metadata = {"Date": None, "Creator": None}
        figure.savefig(path, format="svg", transparent=True, metadata=metadata)


def _explain(axes: Axes, count: int) -> None:
    """Name the series above the plot, if there are several."""
    if count > 1:
        columns = MOST_BESIDE if count <= MOST_BESIDE else 2
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, frameon=False)
