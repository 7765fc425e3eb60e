"""Charts of a report: the steps over time, the layers by size, and the last builds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bxcache.config.quantities import format_count, format_size
from bxcache.console.progress import format_seconds
from bxcache.console.report import sections
from bxcache.console.report.markup import Markup, element, join
from bxcache.console.tables import clean_text, cut_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from bxcache.insight.record_parts import ReportedStep
    from bxcache.insight.report import Report, ReportedBuild, ReportedLayer, ReportedStage

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
_HEIGHT, _HEAD = 84, 14
"""The height of a chart of builds, and the space above its bars."""
_HOW = "Each layer leads to the step that made it. A pale one is already shown above."
_LEAST = 0.004
"""The minimum size of a layer drawn separately, as a share of the largest stage."""


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
    stages = [stage for stage in sections.list_needed(report) if stage.steps]
    rows = (_draw_steps(stage, report.steps, whole, marks) for stage in stages)
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


def _draw_steps(
    stage: ReportedStage, steps: Sequence[ReportedStep], whole: float, marks: Sequence[float]
) -> Markup:
    bars = place_bars(stage, steps, whole)
    height = _ROW * (1 + max(bar.row for bar in bars))
    lines = (
        element("line", x1=x, x2=x, y1=0, y2=height, class_="grid")
        for x in (_percent(100 * mark / whole) for mark in marks)
    )
    drawn = (_draw_step(bar, steps[bar.step]) for bar in bars)
    name = clean_text(stage.name) or sections.NO_STAGE
    head = (name, " ", element("small", format_seconds(stage.counts.spent)))
    return _draw_row(head, f"stage {name}", height, *lines, _draw_span(bars), *drawn)


def _draw_row(head: Iterable[str], label: str, height: int, *shapes: Markup) -> Markup:
    """Draw the shapes of a stage beside its name."""
    svg = element("svg", *shapes, height=height, width="100%", role="group", aria_label=label)
    return element("div", element("span", *head, class_="name"), svg, class_="row")


def _draw_span(bars: Sequence[Bar]) -> Markup:
    """Draw a line from a stage's first step to its last; gaps are waiting time."""
    first, last = min(bar.left for bar in bars), max(bar.left + bar.width for bar in bars)
    y = _ROW // 2
    return element("line", x1=_percent(first), x2=_percent(last), y1=y, y2=y, class_="span")


def _draw_step(bar: Bar, step: ReportedStep) -> Markup:
    """Draw a step's bar, which links to its details."""
    kind, text = sections.name_kind(step), clean_text(step.text)
    y = bar.row * _ROW + (_ROW - _BAR) // 2
    left, width = _percent(bar.left), _percent(bar.width)
    title = f"{sections.name_outcome(kind)}, {format_seconds(step.seconds)}: {text}"
    shapes = [element("rect", x=left, y=y, width=width, height=_BAR, rx=2)]
    if bar.width >= _WIDE:
        words = element("text", cut_text(text, _WORDS), x=5, y=12)
        shapes.append(element("svg", words, x=left, y=y, width=width, height=_BAR))
    shown = element("title", cut_text(title, _TITLE))
    return element("a", shown, *shapes, href=f"#s{bar.step}", class_=f"bar {kind}")


def _percent(number: float) -> str:
    return f"{round(number, 2):g}%"


def draw_sizes(report: Report) -> Markup:
    """Draw the layers of each stage; a shared layer is drawn in full only in its first stage."""
    stages = [stage for stage in sections.list_needed(report) if stage.layers]
    largest = max((stage.bytes + stage.shared_bytes for stage in stages), default=0)
    rows = (_draw_size(report, stage, largest) for stage in stages) if largest else ()
    return join(element("p", _HOW), element("div", *rows, class_="chart", id="sizes"))


def _draw_size(report: Report, stage: ReportedStage, largest: int) -> Markup:
    name = clean_text(stage.name)
    more = f" + {format_size(stage.shared_bytes)} shared" if stage.shared_bytes else ""
    head = (name or sections.NO_STAGE, " ", element("small", f"{format_size(stage.bytes)}{more}"))
    layers = _draw_layers(report, stage, largest)
    return _draw_row(head, f"layers of stage {name}", _ROW, *layers)


def _draw_layers(report: Report, stage: ReportedStage, largest: int) -> Iterator[Markup]:
    """Draw each layer; small ones are combined at the end."""
    left, least = 0.0, _LEAST * largest
    small = [layer for layer in stage.layers if layer.size < least]
    for layer in stage.layers:
        if layer.size >= least:
            width = 100 * layer.size / largest
            yield _draw_layer(report, layer, left, width)
            left += width
    if small:
        size = sum(layer.size for layer in small)
        title = element("title", f"{format_count(len(small), 'small layer')}, {format_size(size)}")
        rect = _draw_rect(left, max(_LEAST * 100, 100 * size / largest))
        yield element("g", title, rect, class_="small")


def _draw_layer(report: Report, layer: ReportedLayer, left: float, width: float) -> Markup:
    step = report.steps[layer.step]
    shared = " (shared)" if layer.shared else ""
    text = f"{format_size(layer.size)}{shared}: {clean_text(step.text)}"
    title = element("title", cut_text(text, _TITLE))
    kind = "shared" if layer.shared else sections.name_kind(step)
    rect = _draw_rect(left, width)
    return element("a", title, rect, href=f"#s{layer.step}", class_=f"bar layer {kind}")


def _draw_rect(left: float, width: float) -> Markup:
    x, y = f"{left:.2f}%", (_ROW - _BAR) // 2
    return element("rect", x=x, y=y, width=f"{width:.2f}%", height=_BAR)


def draw_trend(report: Report) -> Markup:
    """Draw the time, hit ratio and size of the last builds."""
    builds = report.trend
    figures = (
        _draw_builds(builds, "Time", [build.seconds for build in builds], format_seconds),
        _draw_builds(
            builds, "Reused", [build.hit_ratio for build in builds], sections.format_known_ratio
        ),
        _draw_builds(builds, "Size", [build.bytes for build in builds], sections.format_known_size),
    )
    return element("div", *figures, class_="trend")


def _draw_builds(
    builds: Sequence[ReportedBuild],
    name: str,
    values: Sequence[float | None],
    show: Callable[..., str],
) -> Markup:
    # A ratio is drawn on a scale up to 1.
    most = 1.0 if name == "Reused" else max(filter(None, values), default=0.0)
    slot = 100 / len(builds)
    room = _HEIGHT - _HEAD
    heights = (max(2, round(room * value / most)) if value and most else 2 for value in values)
    bars = (
        _draw_build(build, (at * slot, slot, high), show(value))
        for at, (build, value, high) in enumerate(zip(builds, values, heights, strict=True))
    )
    svg = element("svg", *bars, height=_HEIGHT, width="100%", role="img", aria_label=name)
    last = element("b", show(values[-1]))
    return element("figure", element("figcaption", name, " ", last), svg)


def _draw_build(build: ReportedBuild, place: tuple[float, float, int], value: str) -> Markup:
    left, width, high = place
    middle = f"{left + width / 2:.2f}%"
    end = sections.name_end(build)
    status = "" if end == "built" else f"{end}, "
    title = element("title", f"{sections.format_moment(build.started)}: {status}{value}")
    x, wide = f"{left + width * 0.12:.2f}%", f"{width * 0.76:.2f}%"
    rect = element("rect", x=x, y=_HEIGHT - high, width=wide, height=high, rx=1)
    mark = element("text", "✕", x=middle, y=_HEIGHT - high - 3) if build.exit_status else ""
    return element("g", title, rect, mark, class_="failed" if build.exit_status else "build")
