"""Sizes and ages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bxcache.config.quantities import format_size, parse_age, parse_size


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("17", 17),
        ("17B", 17),
        ("1kB", 1_000),
        ("1KB", 1_000),
        ("500MB", 500_000_000),
        ("5GB", 5_000_000_000),
        ("5 GB", 5_000_000_000),
        ("2G", 2_000_000_000),
        ("1TB", 1_000_000_000_000),
        ("1KiB", 1_024),
        ("1.5MiB", 1_572_864),
        ("4GiB", 4_294_967_296),
    ],
)
def test_sizes_are_read(text: str, expected: int) -> None:
    """Powers of 1000 without `i`, of 1024 with it."""
    assert parse_size(text) == expected


@pytest.mark.parametrize("text", ["", "GB", "five", "5 parsec", "-1MB", "1e3", "0x10", "5GBs"])
def test_what_is_no_size_is_refused(text: str) -> None:
    """The error repeats the text and shows the right form."""
    with pytest.raises(ValueError, match="is no size; write it like `500MB`"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("30s", 30), ("90m", 5_400), ("36h", 129_600), ("14d", 1_209_600), ("2w", 1_209_600)],
)
def test_ages_are_read(text: str, expected: int) -> None:
    """Seconds, from a number and a unit."""
    assert parse_age(text) == expected


@pytest.mark.parametrize("text", ["", "d", "1.5d", "14 days", "P14D", "-1h"])
def test_what_is_no_age_is_refused(text: str) -> None:
    """The error shows the right form."""
    with pytest.raises(ValueError, match="is no age; write it like `12h`"):
        parse_age(text)


@given(st.integers(min_value=0, max_value=10**15))
def test_a_shown_size_reads_back_within_its_rounding(size: int) -> None:
    """What is printed is the size to one decimal of its unit."""
    shown = format_size(size)
    unit = parse_size(f"1{shown.split()[1]}")
    assert abs(parse_size(shown) - size) <= unit * 0.0501
