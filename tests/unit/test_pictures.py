"""The pictures of the documentation can be shown anywhere."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.bootstrap import ROOT
from tests.support.pictures import BUILD, COLUMNS

LIVE, REPORT = (ROOT / "docs" / "pictures" / f"{name}.svg" for name in ("live", "report"))
LARGEST = 30_000


def read_lines(picture: Path) -> list[str]:
    """Return the texts of a terminal's picture, line by line."""
    lines: dict[float, str] = {}
    for text in ET.fromstring(picture.read_text()).iter("{http://www.w3.org/2000/svg}text"):
        at = float(text.attrib["y"])
        lines[at] = lines.get(at, "") + (text.text or "").replace("\xa0", " ")
    return [line.rstrip() for line in lines.values()]


@pytest.mark.parametrize("picture", [LIVE, REPORT], ids=lambda picture: picture.stem)
def test_a_picture_is_light_and_complete_in_itself(picture: Path) -> None:
    """Each picture is valid XML, small, and names nothing that has to be fetched or run."""
    text = picture.read_text()
    ET.fromstring(text)
    assert len(text) < LARGEST
    assert not re.search(r"(?<!xmlns=\")https?:|@font-face|@import|<script|data:", text)


def test_the_live_view_has_no_shortened_line() -> None:
    """Each line of the terminal is shown whole, and at least two steps are running."""
    lines = read_lines(LIVE)
    assert lines[0] == "bxcache build shop"
    assert not any("…" in line for line in lines)
    assert max(map(len, lines)) <= COLUMNS
    assert re.fullmatch(r"8 reused, 5 executed, 2 running, 2 waiting, [\d.]+ s", lines[-1])


def test_the_report_shows_the_figures_of_its_build() -> None:
    """The tiles have the counts of the recorded report."""
    counts = json.loads((BUILD / "edit.report.json").read_text())["counts"]
    assert (counts["reused"], counts["executed"]) == (8, 9)
    assert "<b>47 %</b> 8 of 17 steps" in REPORT.read_text()


@pytest.mark.parametrize("picture", [LIVE, REPORT], ids=lambda picture: picture.stem)
def test_the_readme_shows_a_picture_with_a_description(picture: Path) -> None:
    """A reader who does not see a picture reads what it shows."""
    readme = (ROOT / "README.md").read_text()
    shown = re.search(rf"!\[([^]]*)\]\(docs/pictures/{picture.name}\)", readme)
    assert shown
    assert len(shown[1]) > 60
