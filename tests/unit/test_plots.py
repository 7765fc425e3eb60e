"""The plots of the benchmarks: texts stay texts, and the same values give the same bytes."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.benchmarks.plots import Axis, Series, draw_bars, draw_lines

SVG = "{http://www.w3.org/2000/svg}"
SERIES = (
    Series("bxcache", [(10, 0.5), (1000, 9.0)]),
    Series("raw buildx", [(10, 0.3), (1000, 8.5)], dashed=True),
)


def draw_both(folder: Path) -> list[Path]:
    """Draw a plot of each kind."""
    lines, bars = folder / "lines.svg", folder / "bars.svg"
    draw_lines(lines, "Builds", Axis("steps", log=True), Axis("seconds", log=True), SERIES)
    parts = {"restore": [1.0, 2.0], "save": [3.0, 4.0]}
    draw_bars(bars, "Phases", Axis("seconds"), ["none", "bxcache"], parts)
    return [lines, bars]


def test_the_same_values_give_the_same_bytes(tmp_path: Path) -> None:
    first, second = (
        [path.read_bytes() for path in draw_both(tmp_path / name)] for name in ("one", "other")
    )
    assert first == second


@pytest.mark.parametrize(
    ("at", "names"),
    [
        (0, {"Builds", "steps", "seconds", "bxcache", "raw buildx", "10", "1,000"}),
        (1, {"Phases", "seconds", "restore", "save", "none", "bxcache"}),
    ],
)
def test_names_stay_texts(tmp_path: Path, at: int, names: set[str]) -> None:
    root = ET.fromstring(draw_both(tmp_path)[at].read_text())
    assert names <= {"".join(each.itertext()) for each in root.iter(f"{SVG}text")}


def test_there_is_no_background(tmp_path: Path) -> None:
    for path in draw_both(tmp_path):
        assert "#ffffff" not in path.read_text()
