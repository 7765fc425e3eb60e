"""Tests that reports of recorded builds agree in every form."""

from __future__ import annotations

import json
import re

import pytest
from markdown_it import MarkdownIt

from tests.support.golden import BUILDS, render_golden


@pytest.mark.parametrize(
    ("suffix", "fails", "warns"),
    [("md", "❌ `", "⚠️ `"), ("txt", "failed: ", "warning: "), ("html", ">Failed: ", ">Warning: ")],
)
def test_a_failed_gate_is_distinguished_from_a_warning(suffix: str, fails: str, warns: str) -> None:
    """A failed gate is marked differently from a warning, and the first line counts it."""
    text = render_golden("source-edit", suffix)
    assert f"{fails}gate max_seconds: " in text
    assert f"{warns}gate max_growth: " in text
    assert "built in 1.7 s, failed by 1 gate" in text
    assert "failed by" not in render_golden("cold", suffix)


@pytest.mark.parametrize("name", BUILDS)
def test_all_forms_agree_on_each_stage(name: str) -> None:
    """The tables of Markdown and plain lines have the figures of the document."""
    stages = json.loads(render_golden(name, "json"))["stages"]
    html = MarkdownIt("commonmark").enable("table").render(render_golden(name, "md"))
    plain = render_golden(name, "txt")
    for stage in (stage for stage in stages if stage["needed"]):
        figures = [stage["counts"][key] for key in ("reused", "executed")]
        row = "".join(f"\\s*<td[^>]*>{figure}</td>" for figure in figures)
        assert re.search(f"<td><code>{stage['name']}</code></td>{row}", html)
        assert re.search(f"\n  {stage['name']} +{figures[0]} +{figures[1]} ", plain)
