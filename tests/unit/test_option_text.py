"""Tests of docker's option text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bxcache.buildx.option_text import parse_options, render_options

NAMES = st.from_regex(r"[a-z][a-z0-9.-]{0,10}", fullmatch=True)
VALUES = st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=30)


@given(st.lists(st.tuples(NAMES, VALUES), min_size=1, max_size=6))
def test_rendered_options_read_back(attributes: list[tuple[str, str]]) -> None:
    """Parsing a rendered text returns the same attributes, whatever the values."""
    assert parse_options(render_options(attributes)) == tuple(attributes)


@pytest.mark.parametrize(
    ("attributes", "text"),
    [
        ([("type", "local"), ("dest", "/a b")], "type=local,dest=/a b"),
        ([("type", "local"), ("dest", "/a,b")], 'type=local,"dest=/a,b"'),
        ([("type", "local"), ("dest", '/a"b')], 'type=local,"dest=/a""b"'),
        ([("type", "registry"), ("ref", "r/a:b")], "type=registry,ref=r/a:b"),
    ],
)
def test_fields_are_quoted_as_docker_reads_them(
    attributes: list[tuple[str, str]], text: str
) -> None:
    """A field is quoted as a whole, and only if necessary."""
    assert render_options(attributes) == text


@pytest.mark.parametrize("text", ["type", "=x", 'type=local,"dest=/a', "a=1,,b=2"])
def test_broken_texts_are_refused(text: str) -> None:
    """A field without a name and an open quote are refused."""
    with pytest.raises(ValueError, match=r"is not `key=value`|is not quoted"):
        parse_options(text)
