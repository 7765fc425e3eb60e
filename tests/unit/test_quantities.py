"""Tests of sizes, ages and durations."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from bxcache.config.quantities import (
    WRITTEN,
    Age,
    Duration,
    Size,
    format_size,
    parse_age,
    parse_duration,
    parse_size,
)


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
    """Size units without `i` are powers of 1000, with it powers of 1024."""
    assert parse_size(text) == expected


@pytest.mark.parametrize("text", ["", "GB", "five", "5 parsec", "-1MB", "1e3", "0x10", "5GBs"])
def test_an_invalid_size_is_refused(text: str) -> None:
    """An invalid size is refused with the text and valid examples."""
    with pytest.raises(ValueError, match="is not a size; write it like `500MB`"):
        parse_size(text)


@pytest.mark.parametrize(
    ("kind", "unit"),
    [(TypeAdapter(Size), "B"), (TypeAdapter(Age), "d"), (TypeAdapter(Duration), "s")],
    ids=["size", "age", "duration"],
)
@pytest.mark.parametrize(
    "value",
    ["9" * 25, "9" * 400, "9" * 5_000, 1 << 60, 10**400],
    ids=["text", "long text", "longer text", "number", "long number"],
)
def test_a_quantity_that_is_too_large_is_refused(
    kind: TypeAdapter[float], unit: str, value: object
) -> None:
    """A size, an age or a duration that no machine reaches is refused in plain words."""
    written = f"{value}{unit}" if isinstance(value, str) else value
    with pytest.raises(ValidationError, match="is too large"):
        kind.validate_python(written)


SPELLED = [("1 day", 86_400), ("30 days", 2_592_000), ("2 hours", 7_200), ("5minutes", 300)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30s", 30),
        ("90m", 5_400),
        ("36h", 129_600),
        ("14d", 1_209_600),
        ("2w", 1_209_600),
        *SPELLED,
    ],
)
def test_ages_are_read(text: str, expected: int) -> None:
    """Ages of a number and a unit are read as seconds."""
    assert parse_age(text) == expected


@pytest.mark.parametrize("text", ["", "d", "1.5d", "14 dayss", "3 months", "P14D", "-1h"])
def test_an_invalid_age_is_refused(text: str) -> None:
    """An invalid age is refused with valid examples."""
    with pytest.raises(ValueError, match="is not an age; write it like `12h`"):
        parse_age(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", 90),
        ("0.1s", 0.1),
        ("1.5 m", 90),
        ("10m", 600),
        ("1h", 3600),
        ("1d", 86_400),
        ("5", 5),
    ],
)
def test_durations_are_read(text: str, expected: float) -> None:
    """Durations are read as seconds; decimals and a unit are optional."""
    assert parse_duration(text) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["", "soon", "m", "-1s", "1.s", ".5s", "1e3s", "1.5 dayss"])
def test_an_invalid_duration_is_refused(text: str) -> None:
    """An invalid duration is refused with valid examples."""
    with pytest.raises(ValueError, match="is not a duration; write it like `90s`, `10m` or `1h`"):
        parse_duration(text)


@pytest.mark.parametrize("value", ["0s", "0.0m", 0, 0.0, -1.5, float("inf"), float("nan")])
def test_a_time_limit_is_positive_and_finite(value: object) -> None:
    """A time limit is positive and finite, as text and as number."""
    with pytest.raises(ValidationError, match=r"more than zero|finite"):
        TypeAdapter(Duration).validate_python(value)


@given(st.integers(min_value=0, max_value=10**15))
def test_a_shown_size_reads_back_within_its_rounding(size: int) -> None:
    """A printed size reads back to the same size, within one decimal of its unit."""
    shown = format_size(size)
    unit = parse_size(f"1{shown.split()[1]}")
    assert abs(parse_size(shown) - size) <= unit * 0.0501


@pytest.mark.parametrize("kind", [Size, Age, Duration])
@given(number=st.integers(1, 999), unit=st.sampled_from([1, 60, 1000, 1024, 86_400, 10**9]))
def test_a_written_quantity_is_read_back(kind: type, number: int, unit: int) -> None:
    """The text of a quantity is valid in the config file and means exactly the same."""
    adapter: TypeAdapter[float] = TypeAdapter(kind)
    text = adapter.dump_python(number * unit, context=WRITTEN)
    assert isinstance(text, str)
    assert adapter.validate_python(text) == number * unit
    assert adapter.dump_python(number * unit) == number * unit
