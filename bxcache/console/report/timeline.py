"""The steps of a build over time, with rows of bars for each stage."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bxcache.console.progress import format_seconds
from bxcache.console.report.markup import Markup, element
from bxcache.console.report.sections import NO_STAGE, list_needed
from bxcache.console.report.texts import clean_text
from bxcache.console.tables import cut_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bxcache.insight.record import ReportedStep
    from bxcache.insight.report import Report, ReportedStage

_ROW, _BAR = 22, 16
"""The height of a row and of a bar, in pixels."""
_NARROWEST = 0.7
"""The minimum width of a bar, in per cent of the whole time."""
_MOST_SHIFT = 3.0
"""How far a bar may move to fit beside another one, in the same unit."""
_WIDE = 12.0
"""The minimum width of a bar with text."""
_TITLE, _WORDS = 80, 60
_MARKS = 5
_ROUND = (1, 2, 5, 10)


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar's position: per cent of the whole time, and the row within its stage."""

    step: int
    left: float
    width: float
    row: int


def measure_time(report: Report) -> float:
    """Return the length of the time axis in seconds."""
    ends = (step.began + step.seconds for step in report.steps if step.began is not None)
    return max(report.seconds, 0.001, *ends)


def place_bars(stage: ReportedStage, steps: Sequence[ReportedStep], whole: float) -> list[Bar]:
    """Place the bars of a stage; overlapping steps are on different rows.

    A bar may move a little, so that steps without duration do not hide each other.
    """
    ends: list[float] = []
    bars = []
    for at, began in sorted(_find_begins(stage, steps).items(), key=lambda each: each[1]):
        width = min(100.0, max(_NARROWEST, 100 * steps[at].seconds / whole))
        left = min(100 * began / whole, 100 - width)
        most = min(left + _MOST_SHIFT, 100 - width)
        row = next((row for row, end in enumerate(ends) if end <= most), len(ends))
        ends += [0.0] * (row == len(ends))
        left = max(left, ends[row])
        ends[row] = left + width
        bars.append(Bar(at, round(left, 2), round(width, 2), row))
    return bars


def _find_begins(stage: ReportedStage, steps: Sequence[ReportedStep]) -> dict[int, float]:
    """Find when each step of a stage began; an unknown one begins after the one before."""
    begins: dict[int, float] = {}
    end = 0.0
    for at, step in ((at, steps[at]) for at in stage.steps):
        begins[at] = end if step.began is None else step.began
        end = begins[at] + step.seconds
    return begins


def list_marks(whole: float) -> list[float]:
    """List round values for the time axis.

    >>> list_marks(9.2), list_marks(0.26)
    ([0.0, 2.0, 4.0, 6.0, 8.0], [0.0, 0.1, 0.2])
    """
    power = 10.0 ** math.floor(math.log10(whole / _MARKS))
    step = next(each * power for each in _ROUND if each * power >= whole / _MARKS * 0.999)
    return [round(number * step, 6) for number in range(int(whole / step * 1.0001) + 1)]


def draw_timeline(report: Report) -> Markup:
    """Draw all steps by stage."""
    whole = measure_time(report)
    marks = list_marks(whole)
    stages = [stage for stage in list_needed(report) if stage.steps]
    rows = (_draw_stage(stage, report.steps, whole, marks) for stage in stages)
    return element("div", _draw_axis(marks, whole), *rows, class_="chart", id="timeline")


def _draw_axis(marks: Sequence[float], whole: float) -> Markup:
    texts = (
        element("text", _format_mark(mark), x=_percent(100 * mark / whole), y=12)
        for mark in marks
        if mark / whole < 0.95  # noqa: PLR2004  # more would not fit
    )
    axis = element("svg", *texts, class_="axis", height=16, width="100%", aria_hidden="true")
    return element("div", element("span"), axis, class_="row top")


def _format_mark(seconds: float) -> str:
    return f"{seconds:g} s" if seconds < 60 else format_seconds(seconds)  # noqa: PLR2004


def _draw_stage(
    stage: ReportedStage, steps: Sequence[ReportedStep], whole: float, marks: Sequence[float]
) -> Markup:
    bars = place_bars(stage, steps, whole)
    height = _ROW * (1 + max(bar.row for bar in bars))
    lines = (_draw_line(100 * mark / whole, height) for mark in marks)
    drawn = (_draw_step(bar, steps[bar.step]) for bar in bars)
    name = clean_text(stage.name) or NO_STAGE
    svg = draw_group(f"stage {name}", height, *lines, _draw_span(bars), *drawn)
    return draw_row(name, format_seconds(stage.counts.spent), svg)


def draw_group(label: str, height: int, *shapes: Markup) -> Markup:
    """Draw the shapes of a stage."""
    return element("svg", *shapes, height=height, width="100%", role="group", aria_label=label)


def draw_row(name: str, figure: str, svg: Markup) -> Markup:
    """Draw a stage: its name with a figure, and its drawing."""
    head = element("span", name, " ", element("small", figure), class_="name")
    return element("div", head, svg, class_="row")


def _draw_line(left: float, height: int) -> Markup:
    x = _percent(left)
    return element("line", x1=x, x2=x, y1=0, y2=height, class_="grid")


def _draw_span(bars: Sequence[Bar]) -> Markup:
    """Draw a line from a stage's first step to its last; gaps are waiting time."""
    first, last = min(bar.left for bar in bars), max(bar.left + bar.width for bar in bars)
    y = _ROW // 2
    return element("line", x1=_percent(first), x2=_percent(last), y1=y, y2=y, class_="span")


def _draw_step(bar: Bar, step: ReportedStep) -> Markup:
    """Draw a step's bar, which links to its details."""
    y = bar.row * _ROW + (_ROW - _BAR) // 2
    title = f"{name_outcome(step)}, {format_seconds(step.seconds)}: {clean_text(step.text)}"
    rect = element("rect", x=_percent(bar.left), y=y, width=_percent(bar.width), height=_BAR, rx=2)
    words = _draw_words(bar, y, step) if bar.width >= _WIDE else ""
    shown = element("title", cut_text(title, _TITLE))
    return element("a", shown, rect, words, href=f"#s{bar.step}", class_=f"bar {name_class(step)}")


def _draw_words(bar: Bar, y: int, step: ReportedStep) -> Markup:
    text = element("text", cut_text(clean_text(step.text), _WORDS), x=5, y=12)
    left, width = _percent(bar.left), _percent(bar.width)
    return element("svg", text, x=left, y=y, width=width, height=_BAR)


def name_class(step: ReportedStep) -> str:
    """Return a step's CSS class, by its outcome."""
    if step.kind == "from":
        return "from"
    return step.outcome or "unknown"


def name_outcome(step: ReportedStep) -> str:
    """Name the outcome of a step."""
    return "base image" if step.kind == "from" else name_class(step)


def _percent(number: float) -> str:
    return f"{round(number, 2):g}%"
