"""Sizes, ages, times and shares as text: `5GB`, `512MiB`, `14d`, `1.5s`, `80 %`."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

from pydantic import BeforeValidator, Field, WithJsonSchema

if TYPE_CHECKING:
    from collections.abc import Callable

_Number = TypeVar("_Number", int, float)

_SIZE = re.compile(r"\s*(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[kKMGT]?i?B?)\s*")
_AGE = re.compile(r"\s*(?P<number>\d+)\s*(?P<unit>[smhdw])\s*")
_DURATION = re.compile(r"\s*(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[smhdw]?)\s*")
_PREFIXES: Final = "KMGT"
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_MOST_DIGITS = 3

WrittenSize = Annotated[int, Field(ge=0, lt=1 << 60)]
"""A size in a document, in bytes. A document beyond these three limits is damaged."""
WrittenSeconds = Annotated[float, Field(ge=0, le=1e12, allow_inf_nan=False)]
"""A duration in a document, in seconds."""
WrittenMoment = Annotated[float, Field(ge=0, le=253_370_764_800, allow_inf_nan=False)]
"""A time in a document, in seconds since 1970, before the year 9999."""


def parse_size(value: Any) -> Any:  # noqa: ANN401  # pydantic passes any value
    """Parse bytes from a number or text: `kB`, `MB`, `GB`, `TB` are powers of 1000, `MiB` of 1024.

    >>> parse_size("5GB"), parse_size("1.5 MiB"), parse_size(42)
    (5000000000, 1572864, 42)

    Raises:
        ValueError: the text is not a size.
    """
    if not isinstance(value, str):
        return value
    match = _match(_SIZE, value, "a size; write it like `500MB`, `5GB` or `4GiB`")
    unit = match["unit"].upper().removesuffix("B")
    base = 1024 if unit.endswith("I") else 1000
    power = _PREFIXES.index(unit[0]) + 1 if unit and unit[0] in _PREFIXES else 0
    size = float(match["number"]) * base**power
    if math.isinf(size):
        raise ValueError(f"`{value[:40]}…` is too large for a size")
    return int(size)


def parse_age(value: Any) -> Any:  # noqa: ANN401  # pydantic passes any value
    """Parse seconds from a number or a text such as `90m`, `36h`, `14d`, `2w`.

    >>> parse_age("14d"), parse_age(60)
    (1209600, 60)

    Raises:
        ValueError: the text is not an age.
    """
    if not isinstance(value, str):
        return value
    match = _match(_AGE, value, "an age; write it like `12h`, `14d` or `2w`")
    return int(match["number"]) * _SECONDS[match["unit"]]


def parse_duration(value: Any) -> Any:  # noqa: ANN401  # pydantic passes any value
    """Parse seconds from a number or a text such as `90`, `1.5s`, `10m`, `1h`.

    >>> parse_duration("1.5m"), parse_duration("90"), parse_duration(60)
    (90.0, 90.0, 60)

    Raises:
        ValueError: the text is not a duration.
    """
    if not isinstance(value, str):
        return value
    match = _match(_DURATION, value, "a duration; write it like `90s`, `10m` or `1h`")
    return float(match["number"]) * _SECONDS[match["unit"] or "s"]


def _match(pattern: re.Pattern[str], text: str, form: str) -> re.Match[str]:
    match = pattern.fullmatch(text)
    if match is None:
        raise ValueError(f"`{text}` is not {form}")
    return match


def format_size(size: int, digits: int = 1) -> str:
    """A byte count as text, in powers of 1000 like docker.

    >>> format_size(0), format_size(1999), format_size(205_300_000), format_size(1_042_000, 2)
    ('0 B', '2.0 kB', '205.3 MB', '1.04 MB')
    """
    number = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        # A number that would round up to 1000 takes the next unit.
        if number < 1000 - 0.5 * 10**-digits:
            return f"{number:.0f} B" if unit == "B" else f"{number:.{digits}f} {unit}"
        number /= 1000
    return f"{number:.{digits}f} TB"


def format_least(size: int) -> str:
    """A byte count, rounded up, as text for a config file.

    >>> format_least(99_000), format_least(4_212_345), format_least(20_500_000_001)
    ('99000B', '4213kB', '20501MB')
    """
    for unit in ("B", "kB", "MB"):
        if size < 100_000:  # noqa: PLR2004  # three digits at least
            return f"{size}{unit}"
        size = -(-size // 1000)
    return f"{size}GB"


def format_ratio(ratio: float, digits: int = 0) -> str:
    """A share as text; only 1 is 100 %, and only 0 is 0 %.

    >>> format_ratio(0.666), format_ratio(0.9999), format_ratio(0.001), format_ratio(43 / 54, 1)
    ('67 %', '99 %', '1 %', '79.6 %')
    """
    percent, least = round(ratio * 100, digits), 10**-digits
    if 0 < ratio < 1:
        percent = min(100 - least, max(least, percent))
    return f"{percent:.{digits}f} %"


def format_apart(
    one: _Number, other: _Number, show: Callable[[_Number, int], str], digits: int, unit: str = ""
) -> tuple[str, str]:
    """Two different figures as different texts.

    Args:
        one: the first.
        other: the second.
        show: formats a figure with a number of decimals.
        digits: the minimum number of decimals; more, up to three, if the texts are equal.
        unit: the unit of the exact figures, used if three decimals are not enough.

    >>> format_apart(1_042_000, 1_040_000, format_size, 1, "B")
    ('1.042 MB', '1.040 MB')
    >>> format_apart(10_000_001, 10_000_000, format_size, 1, "B")
    ('10000001 B', '10000000 B')
    """
    for many in range(digits, _MOST_DIGITS + 1):
        texts = show(one, many), show(other, many)
        if texts[0] != texts[1]:
            return texts
    return f"{one} {unit}".rstrip(), f"{other} {unit}".rstrip()


def format_count(number: int, noun: str) -> str:
    """A number of things as text.

    >>> format_count(1, "layer"), format_count(0, "layer")
    ('1 layer', '0 layers')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def format_age(seconds: float) -> str:
    """An age as text.

    >>> format_age(-3), format_age(59), format_age(7199), format_age(86_400 * 3.5)
    ('0 s', '59 s', '119 min', '3 days')
    """
    if seconds < 120:  # noqa: PLR2004  # below two of a unit, the smaller unit is clearer
        return f"{max(0, int(seconds))} s"
    if seconds < 7200:  # noqa: PLR2004
        return f"{int(seconds / 60)} min"
    if seconds < 172_800:  # noqa: PLR2004
        return f"{int(seconds / 3600)} h"
    return f"{int(seconds / 86_400)} days"


def _quantity_schema(
    pattern: str, example: str, number: dict[str, Any] | None = None
) -> WithJsonSchema:
    known = number or {"type": "integer", "minimum": 1}
    text = {"type": "string", "pattern": pattern}
    return WithJsonSchema({"anyOf": [known, text], "examples": [example]})


def _require_positive(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, int | float) and not isinstance(value, bool) and value <= 0:
        raise ValueError("must be more than zero")
    return value


Size = Annotated[
    int,
    BeforeValidator(lambda value: _require_positive(parse_size(value))),
    _quantity_schema(r"^\s*\d+(\.\d+)?\s*[kKMGT]?i?B?\s*$", "5GB"),
]
Age = Annotated[
    int,
    BeforeValidator(lambda value: _require_positive(parse_age(value))),
    _quantity_schema(r"^\s*\d+\s*[smhdw]\s*$", "14d"),
]
Duration = Annotated[
    float,
    Field(allow_inf_nan=False),
    BeforeValidator(lambda value: _require_positive(parse_duration(value))),
    _quantity_schema(
        r"^\s*\d+(\.\d+)?\s*[smhdw]?\s*$", "10m", {"type": "number", "exclusiveMinimum": 0}
    ),
]
