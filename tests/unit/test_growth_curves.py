"""The curves of the growth benchmark: powers, what is judged, and the page."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.benchmarks.growing.curves import Chapter, Curve, Limit, fit_exponent
from tests.benchmarks.growing.page import render_page
from tests.benchmarks.growing.steps import list_lines

SIZES = (10, 100, 1000)


def make_curve(
    cost: Callable[[int], float], limit: Limit | None = None, *, own: bool = True
) -> Curve:
    """Make a curve from a formula; the medians are the formula's values."""
    values = {size: [0.5 * cost(size), cost(size), 9 * cost(size)] for size in SIZES}
    return Curve("a cost", values, own=own, limit=limit)


@pytest.mark.parametrize(
    ("cost", "exponent"),
    [
        (lambda _: 3.0, 0.0),
        (lambda n: 0.2 * n, 1.0),
        (lambda n: n**1.5, 1.5),
        (lambda n: n * n / 7, 2.0),
    ],
)
def test_the_exponent_is_the_power_of_a_formula(
    cost: Callable[[int], float], exponent: float
) -> None:
    assert make_curve(cost).exponent == pytest.approx(exponent)


def test_only_the_larger_half_counts() -> None:
    values = {1: [1.0], 10: [1000.0], 100: [1000.0], 1000: [10_000.0]}
    assert Curve("a cost", values).exponent == pytest.approx(1.0)


@pytest.mark.parametrize("points", [[], [(10, 1.0)], [(10, 1.0), (100, 0.0)], [(0, 1.0), (1, 1.0)]])
def test_without_two_points_above_zero_there_is_no_exponent(
    points: list[tuple[float, float]],
) -> None:
    assert fit_exponent(points) is None


@pytest.mark.parametrize(
    ("curve", "reached"),
    [
        (make_curve(lambda n: 5 + n), True),
        (make_curve(lambda n: n**1.2), False),
        (make_curve(lambda n: n**1.2, own=False), None),
        (make_curve(lambda n: 1 + 0.001 * n, Limit(0.002, "")), True),
        (make_curve(lambda n: 1 + 0.003 * n, Limit(0.002, "")), False),
        (make_curve(lambda _: 0.0), True),
    ],
)
def test_own_costs_grow_at_most_linearly_and_within_their_limit(
    curve: Curve,
    reached: bool | None,  # noqa: FBT001  # a column of the table
) -> None:
    assert curve.judge("part").reached is reached


def test_the_page_has_a_table_and_a_plot_for_each_chapter() -> None:
    curves = [
        Curve("time", {10: [0.5], 1000: [50.0]}),
        Curve("memory", {1000: [60.0]}, "MB"),
        Curve("too slow", {10: [1.0], 1000: [10_000.0]}),
    ]
    page = render_page(
        [Chapter("steps", "Steps of a build", "steps", "About it.", curves, "docker")]
    )
    assert "## Steps of a build\n\nAbout it.\n\n![" in page
    assert "](growth-steps.svg)" in page
    assert page.rstrip().splitlines()[-1].endswith("; docker.")
    table = [line for line in page.splitlines() if line.startswith("|")]
    assert table == [
        "| | 10 | 1,000 | power |",
        "| --- | --: | --: | --: |",
        "| time | 0.5 s | 50 s | 1.00 |",
        "| memory |  | 60 MB | unknown |",
        "| too slow | 1 s | 10,000 s | 2.00 (too much) |",
    ]


@pytest.mark.parametrize("steps", [10, 30, 99, 100, 1000])
def test_a_dockerfile_has_exactly_its_steps_and_no_deep_stage(steps: int) -> None:
    lines = [*list_lines(steps)]
    depths: list[int] = []
    for line in lines:
        if line.startswith("FROM "):
            depths.append(0)
        else:
            depths[-1] += 1
    # The base has two steps.
    assert sum(depths) == steps - 2
    assert max(depths) <= 11
