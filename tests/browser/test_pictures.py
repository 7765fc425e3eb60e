"""The pictures of the documentation in a browser."""

from __future__ import annotations

import pytest

from tests.bootstrap import ROOT
from tests.browser.conftest import Window

PICTURES = ROOT / "docs" / "pictures"
# The lowest and the rightmost edge of any text, in the picture's own units, less its size.
_EDGES = """
const root = document.documentElement, scale = root.viewBox.baseVal.width / root.clientWidth;
const boxes = [...root.querySelectorAll("text, h1, h2, p, dd, li, .name")].map(
  (each) => each.getBoundingClientRect());
const edge = (name) => Math.max(...boxes.map((box) => box[name])) * scale;
const size = root.viewBox.baseVal;
return [boxes.length, edge("right") - size.width, edge("bottom") - size.height];
"""


@pytest.mark.parametrize("name", ["live", "report"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_picture_holds_all_of_its_text(window: Window, name: str, scheme: str) -> None:
    """No text reaches beyond the edges of a picture."""
    window.set_media(prefers_color_scheme=scheme)
    window.driver.get((PICTURES / f"{name}.svg").as_uri())
    count, right, bottom = window.run(_EDGES)
    assert count > 10
    assert max(right, bottom) < 0
