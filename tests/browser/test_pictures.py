"""The pictures of the documentation in a browser."""

from __future__ import annotations

import pytest

from tests.bootstrap import ROOT
from tests.browser.conftest import Window

PICTURES = ROOT / "docs" / "pictures"
# How many texts there are, and how far the outermost ones are from the right and lower edges.
_EDGES = """
const root = document.documentElement, size = root.viewBox.baseVal, shown = root.getScreenCTM();
const boxes = [...root.querySelectorAll("text, h1, h2, p, dd, li, .name")].map(
  (each) => each.getBoundingClientRect());
const right = Math.max(...boxes.map((box) => (box.right - shown.e) / shown.a));
const bottom = Math.max(...boxes.map((box) => (box.bottom - shown.f) / shown.d));
return [boxes.length, size.width - right, size.height - bottom];
"""


@pytest.mark.parametrize("name", ["live", "report"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_picture_holds_all_of_its_text(window: Window, name: str, scheme: str) -> None:
    """No text reaches beyond the edges of a picture."""
    window.set_media(prefers_color_scheme=scheme)
    window.driver.get((PICTURES / f"{name}.svg").as_uri())
    count, right, bottom = window.run(_EDGES)
    assert count > 10
    assert min(right, bottom) > 0
