"""Tests of `traceparent`, as W3C Trace Context defines it; most cases are from its own test suite.

https://www.w3.org/TR/trace-context/#traceparent-header
https://github.com/w3c/trace-context/blob/main/test/test.py
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bxcache.place.trace_context import TraceContext, parse_traceparent

TRACE, SPAN = "12345678901234567890123456789012", "1234567890123456"
FUTURE = "what-the-future-will-be-like"


@pytest.mark.parametrize(
    "text",
    [
        f"00-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-00",
        f"00-{TRACE}-{SPAN}-ff",
        f"cc-{TRACE}-{SPAN}-01",
        f"cc-{TRACE}-{SPAN}-01-{FUTURE}",
        f"cc-{TRACE}-{SPAN}-01-",
    ],
)
def test_a_context_is_read(text: str) -> None:
    """Contexts of the first version, and of later ones with more fields, are read."""
    assert parse_traceparent(text) == TraceContext(TRACE, SPAN)


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"00-{TRACE}-{SPAN}-01.",
        f"00-{TRACE}-{SPAN}-01-{FUTURE}",
        f"cc-{TRACE}-{SPAN}-01.{FUTURE}",
        f"ff-{TRACE}-{SPAN}-01",
        f".0-{TRACE}-{SPAN}-01",
        f"000-{TRACE}-{SPAN}-01",
        f"0-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-.{TRACE[1:]}-{SPAN}-01",
        f"00-{TRACE}3-{SPAN}-01",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN[:-1]}.-01",
        f"00-{TRACE}-{SPAN}7-01",
        f"00-{TRACE}-{SPAN[1:]}-01",
        f"00-{TRACE}-{SPAN}-.0",
        f"00-{TRACE}-{SPAN}-0",
        f"00-{TRACE}-{SPAN}-001",
        f"00-{TRACE}-{SPAN}",
        f"00-{'A' * 32}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\n",
        f"00-\u0661{TRACE[1:]}-{SPAN}-01",
    ],
)
def test_a_malformed_context_is_ignored(text: str) -> None:
    """A malformed context is ignored, so a new trace begins."""
    assert parse_traceparent(text) is None


@given(
    st.integers(0, 254),
    st.integers(1, 2**128 - 1),
    st.integers(1, 2**64 - 1),
    st.integers(0, 255),
)
def test_ids_are_read_as_they_are_written(version: int, trace: int, span: int, flags: int) -> None:
    """The ids are read for any version and flags."""
    found = parse_traceparent(f"{version:02x}-{trace:032x}-{span:016x}-{flags:02x}")
    assert found is not None
    assert (int(found.trace_id, 16), int(found.span_id, 16)) == (trace, span)
