"""Charts of a report: the layers by size, and the last builds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bxcache.config.quantities import format_count, format_seconds, format_size
from bxcache.console.report import sections
from bxcache.console.report.markup import BAR, ROW, Markup, draw_row, element, join
from bxcache.console.tables import clean_text, cut_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bxcache.insight.report import (
        Report,
        ReportedBuild,
        ReportedLayer,
        ReportedStage,
    )

_TITLE = 80
_HEIGHT, _HEAD = 84, 14
"""The height of a chart of builds, and the space above its bars."""
_HOW = "Each layer leads to the step that made it. A pale one is already shown above."
_LEAST = 0.004
"""The minimum size of a layer drawn separately, as a share of the largest stage."""


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
    return draw_row(head, f"layers of stage {name}", ROW, *layers)


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
    x, y = f"{left:.2f}%", (ROW - BAR) // 2
    return element("rect", x=x, y=y, width=f"{width:.2f}%", height=BAR)


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
