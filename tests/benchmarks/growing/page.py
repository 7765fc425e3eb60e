"""The page about growth: its tables and plots."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Sequence
from pathlib import Path

from bxcache.config.quantities import format_count
from tests.benchmarks.growing.curves import MOST_EXPONENT, Chapter, Curve, format_exponent
from tests.benchmarks.plots import Axis, Series, draw_lines

HEAD = f"""\
# How bxcache's own cost grows

`python3 -m tests.benchmarks growth --write` measured this and wrote it. The tables have medians,
and the power of the size with which a cost grows between the larger sizes: 1 is linear, 0 is
constant. What is bxcache's own may grow with a power of at most {MOST_EXPONENT}: linearly, with
some noise. Dashed lines are not judged: they contain BuildKit's work, or are another program's.
Machines differ and are noisy: look at the powers and ratios.
"""
LEAST_SECONDS = 0.1
"""Shorter times are in milliseconds."""


def write_page(path: Path, chapters: Sequence[Chapter]) -> None:
    """Write the page, and a plot for each chapter beside it."""
    for chapter in chapters:
        series = [
            Series(curve.name, curve.points, dashed=not curve.own) for curve in chapter.plotted
        ]
        unit = chapter.curves[0].unit
        cost = Axis({"s": "seconds"}.get(unit, unit), log=True)
        place = path.with_name(name_plot(chapter))
        draw_lines(place, chapter.title, Axis(chapter.axis, log=True), cost, series)
    path.write_text(render_page(chapters))


def render_page(chapters: Sequence[Chapter]) -> str:
    """Return the page's text."""
    parts = [HEAD, *(render_chapter(each) for each in chapters)]
    used = dict.fromkeys(each.versions for each in chapters if each.versions)
    return "\n".join([*parts, f"Measured with {'; '.join([describe_machine(), *used])}.", ""])


def render_chapter(chapter: Chapter) -> str:
    """Return a chapter: a heading, a text, a plot and a table."""
    picture = f"![{chapter.title}: the table below as a plot]({name_plot(chapter)})"
    table = "\n".join(render_table(chapter))
    return f"## {chapter.title}\n\n{chapter.text}\n\n{picture}\n\n{table}\n"


def render_table(chapter: Chapter) -> Iterator[str]:
    """Yield the lines of a table with one row for each curve."""
    sizes = sorted({size for curve in chapter.curves for size in curve.values})
    yield " | ".join(["|", *(f"{size:,}" for size in sizes), "power |"])
    yield " | ".join(["| ---", *("--:" for _ in sizes), "--: |"])
    for curve in chapter.curves:
        medians = dict(curve.points)
        cells = [
            format_cost(medians[size], curve.unit) if size in medians else "" for size in sizes
        ]
        yield " | ".join([f"| {curve.name}", *cells, f"{describe_growth(curve)} |"])


def describe_growth(curve: Curve) -> str:
    """Return the power of a curve, and whether it is too large."""
    power = format_exponent(curve.exponent)
    return f"{power} (too much)" if curve.judge("").reached is False else power


def format_cost(value: float, unit: str) -> str:
    """Return a cost with its unit.

    >>> [format_cost(value, "s") for value in (0.012345, 1.2345, 123.45)]
    ['12.3 ms', '1.23 s', '123 s']
    """
    if unit == "s" and abs(value) < LEAST_SECONDS:
        value, unit = value * 1000, "ms"
    return f"{value:,.0f} {unit}" if abs(value) >= 100 else f"{value:.3g} {unit}"


def name_plot(chapter: Chapter) -> str:
    """Return the file name of a chapter's plot."""
    return f"growth-{chapter.name}.svg"


def describe_machine() -> str:
    """Return what the machine is."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    cores = format_count(os.cpu_count() or 1, "core")
    return f"{cores}, {memory:.0f} GB, Linux, Python {platform.python_version()}"
