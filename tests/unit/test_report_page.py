"""Tests of how a page draws a build: the positions of its bars, and its size."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bxcache.buildx.stream.events import Outcome
from bxcache.console.report.charts import draw_sizes
from bxcache.console.report.rendering import render_report
from bxcache.console.report.timeline import list_marks, measure_time, place_bars
from bxcache.insight.reporting import make_report
from tests.support.histories import make_record, make_stages, make_step
from tests.support.synthetic_report import make_builds

TIMES = st.floats(0, 1_000).map(lambda seconds: round(seconds, 3))
STEPS = st.lists(st.tuples(st.none() | TIMES, TIMES), min_size=1, max_size=40)
MOST_BYTES = 500_000


@given(STEPS)
def test_bars_are_side_by_side_at_the_time_of_their_steps(
    steps: list[tuple[float | None, float]],
) -> None:
    """No bar hides another, leaves the drawing, or is far from its time or too short."""
    made = [
        make_step(f"RUN {n}", stage="a", began=began, seconds=seconds)
        for n, (began, seconds) in enumerate(steps)
    ]
    report = make_report([make_record(*made, seconds=1.0)])
    whole = measure_time(report)
    bars = place_bars(report.stages[0], report.steps, whole)
    assert sorted(bar.at for bar in bars) == [*range(len(steps))]
    rows: dict[int, list[tuple[float, float]]] = {}
    for bar in bars:
        began, seconds = steps[bar.at]
        assert bar.left >= 0
        assert bar.left + bar.width <= 100.02
        assert bar.width >= min(100, 100 * seconds / whole) - 0.01
        if began is not None:
            # A bar that is wider than its step's duration may have to begin earlier.
            assert -0.75 <= bar.left - 100 * began / whole <= 3.75
        rows.setdefault(bar.row, []).append((bar.left, bar.left + bar.width))
    for row in map(sorted, rows.values()):
        assert all(end <= left + 0.02 for (_, end), (left, _) in pairwise(row))


@given(st.floats(0.001, 1e7))
def test_the_time_axis_has_a_few_round_marks(whole: float) -> None:
    """The marks of the time axis begin at 0, are evenly spaced, and do not exceed the end."""
    marks = list_marks(whole)
    assert marks[0] == 0
    assert 3 <= len(marks) <= 6
    assert marks[-1] <= whole * 1.001
    first = f"{marks[1]:.0e}"[0]
    assert first in "125"


def test_the_bars_of_layers_show_their_sizes() -> None:
    """The widths of layers are relative to the largest stage, and small layers are combined."""
    steps = [
        make_step("RUN a", 2, layers="a:600 b:400"),
        make_step("RUN b", 4, layers="c:250 d:1 e:1"),
    ]
    stages = make_stages(("one", 1, "scratch"), ("two", 3, "scratch"))
    drawn = draw_sizes(make_report([make_record(*steps, stages=stages)]))
    widths = [float(width) for width in re.findall(r'<rect[^>]* width="([\d.]+)%"', drawn)]
    assert widths == [60.0, 40.0, 25.0, 0.4]


@pytest.mark.parametrize("number", [0, -1], ids=["mostly reused", "all executed"])
def test_a_page_of_300_steps_is_small(number: int) -> None:
    """A page of 300 steps is smaller than 500 kB, with or without logs."""
    builds = make_builds(300)
    report = make_report(builds if number == 0 else builds[number:])
    assert len(report.steps) == 300
    executed = sum(step.outcome is Outcome.EXECUTED for step in report.steps)
    assert (executed == 300) == (number == -1)
    assert len(render_report(report, "html").encode()) < MOST_BYTES


def test_the_summary_of_a_large_build_is_short() -> None:
    """The summary of 1,500 steps has fewer than 120 lines and counts the steps left out."""
    builds = make_builds(1_500)
    text = render_report(make_report(builds), "md")
    assert "… and 100 more" in text
    assert len(text.splitlines()) < 120
