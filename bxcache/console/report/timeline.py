"""The timeline of a report: the steps of each stage over time, and what happens around them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from msgspec import Struct

from bxcache.buildx.stream.events import Phase
from bxcache.config.quantities import format_seconds
from bxcache.console.phases import measure_phases, name_phase
from bxcache.console.report import sections
from bxcache.console.report.markup import BAR, ROW, Markup, draw_row, element, format_percent
from bxcache.console.tables import clean_text, cut_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from bxcache.insight.record_parts import RecordedPhase
    from bxcache.insight.report import Report, ReportedStage, ReportedStep

_NARROWEST = 0.7
"""The minimum width of a bar, in per cent of the whole time."""
_MOST_SHIFT = 3.0
"""How far a bar may move to fit beside another one, in the same unit."""
_WIDE = 12.0
"""The minimum width of a bar with text."""
_TITLE, _WORDS = 80, 60
_MARKS = 5
_ROUND = (1, 2, 5, 10)
_AROUND = "around the steps"
_OF_STEPS = (Phase.STEPS, Phase.FETCH, Phase.PULL)
"""The phases that the steps of the stages show."""
_LEAST = 0.004
"""The shortest part that is drawn, as a share of the whole time."""


class Bar(Struct, frozen=True):
    """A bar's position: per cent of the whole time, and the row within its stage.

    Attributes:
        at: the position of what it stands for: a step, or a phase.
    """

    at: int
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
    begins = _find_begins(stage, steps).items()
    return _place(((at, began, steps[at].seconds) for at, began in begins), whole)


def _place(spans: Iterable[tuple[int, float, float]], whole: float) -> list[Bar]:
    ends: list[float] = []
    bars = []
    for at, began, seconds in sorted(spans, key=lambda each: each[1]):
        width = min(100.0, max(_NARROWEST, 100 * seconds / whole))
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
    stages = [stage for stage in sections.list_needed(report) if stage.steps]
    rows = (_draw_steps(stage, report.steps, whole, marks) for stage in stages)
    phases = _draw_around(report.phases, whole, marks)
    return element("div", _draw_axis(marks, whole), *rows, *phases, class_="chart", id="timeline")


def _draw_axis(marks: Sequence[float], whole: float) -> Markup:
    texts = (
        element("text", _format_mark(mark), x=format_percent(100 * mark / whole), y=12)
        for mark in marks
        if mark / whole < 0.95  # noqa: PLR2004  # more would not fit
    )
    axis = element("svg", *texts, class_="axis", height=16, width="100%", aria_hidden="true")
    return element("div", element("span"), axis, class_="row top")


def _format_mark(seconds: float) -> str:
    return f"{seconds:g} s" if seconds < 60 else format_seconds(seconds)  # noqa: PLR2004


def _draw_steps(
    stage: ReportedStage, steps: Sequence[ReportedStep], whole: float, marks: Sequence[float]
) -> Markup:
    bars = place_bars(stage, steps, whole)
    drawn = (_draw_step(bar, steps[bar.at]) for bar in bars)
    name = clean_text(stage.name) or sections.NO_STAGE
    head = (name, " ", element("small", format_seconds(stage.counts.spent)))
    return _draw_lanes(head, f"stage {name}", bars, (100 * mark / whole for mark in marks), drawn)


def _draw_lanes(
    head: Iterable[str],
    label: str,
    bars: Sequence[Bar],
    marks: Iterable[float],
    drawn: Iterable[Markup],
) -> Markup:
    height = ROW * (1 + max(bar.row for bar in bars))
    lines = (
        element("line", x1=x, x2=x, y1=0, y2=height, class_="grid")
        for x in map(format_percent, marks)
    )
    return draw_row(head, label, height, *lines, _draw_span(bars), *drawn)


def _draw_around(
    phases: Sequence[RecordedPhase], whole: float, marks: Sequence[float]
) -> Iterator[Markup]:
    """Draw what happens before, beside and after the steps."""
    spans = [
        (at, began, ended - began)
        for at, phase in enumerate(phases)
        for began, ended in phase.spans
        if phase.name not in _OF_STEPS and ended - began >= _LEAST * whole
    ]
    bars = _place(spans, whole)
    if bars:
        drawn = (_draw_phase(bar, name_phase(phases[bar.at].name), whole) for bar in bars)
        yield _draw_lanes([_AROUND], _AROUND, bars, (100 * mark / whole for mark in marks), drawn)


def _draw_phase(bar: Bar, name: str, whole: float) -> Markup:
    name = clean_text(name)
    title = element("title", f"{name}, {format_seconds(bar.width * whole / 100)}")
    return element("g", title, *_draw_box(bar, name), class_="phase")


def draw_shares(report: Report) -> Markup:
    """Draw the shares of the phases in the build's time as one bar."""
    whole = measure_phases(report.phases)
    left, drawn = 0.0, []
    for at, phase in enumerate(report.phases):
        width = 100 * phase.seconds / whole if whole else 0.0
        kind = "executed" if phase.name == Phase.STEPS else "reused"
        kind = kind if phase.name in _OF_STEPS else "around"
        if width >= 100 * _LEAST:
            shown = _draw_phase(Bar(at, left, width, 0), name_phase(phase.name), whole)
            drawn.append(element("g", shown, class_=f"share {kind}"))
        left += width
    head = ("all ", element("small", format_seconds(whole)))
    row = draw_row(head, "shares of the phases", ROW, *drawn)
    return element("div", row, class_="chart", id="phases")


def _draw_span(bars: Sequence[Bar]) -> Markup:
    """Draw a line from a stage's first step to its last; gaps are waiting time."""
    first, last = min(bar.left for bar in bars), max(bar.left + bar.width for bar in bars)
    y = ROW // 2
    return element(
        "line", x1=format_percent(first), x2=format_percent(last), y1=y, y2=y, class_="span"
    )


def _draw_step(bar: Bar, step: ReportedStep) -> Markup:
    """Draw a step's bar, which links to its details."""
    kind, text = sections.name_kind(step), clean_text(step.text)
    title = f"{sections.name_outcome(kind)}, {format_seconds(step.seconds)}: {text}"
    shown = element("title", cut_text(title, _TITLE))
    critical = " critical" if step.critical else ""
    boxes = _draw_box(bar, text)
    return element("a", shown, *boxes, href=f"#s{bar.at}", class_=f"bar {kind}{critical}")


def _draw_box(bar: Bar, text: str) -> Iterator[Markup]:
    y = bar.row * ROW + (ROW - BAR) // 2
    left, width = format_percent(bar.left), format_percent(bar.width)
    yield element("rect", x=left, y=y, width=width, height=BAR, rx=2)
    if bar.width >= _WIDE:
        words = element("text", cut_text(text, _WORDS), x=5, y=12)
        yield element("svg", words, x=left, y=y, width=width, height=BAR)
