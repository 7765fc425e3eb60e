"""Sizes and ages as people write them: `5GB`, `512MiB`, `14d`."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, WithJsonSchema

_SIZE = re.compile(r"\s*(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[kKMGT]?i?B?)\s*")
_AGE = re.compile(r"\s*(?P<number>\d+)\s*(?P<unit>[smhdw])\s*")
_PREFIXES: Final = "KMGT"
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def parse_size(value: Any) -> Any:  # noqa: ANN401  # pydantic hands over whatever the user wrote
    """Bytes from a number or a text: `kB`, `MB`, `GB`, `TB` are powers of 1000, `MiB` of 1024.

    >>> parse_size("5GB"), parse_size("1.5 MiB"), parse_size(42)
    (5000000000, 1572864, 42)

    Raises:
        ValueError: the text is no size.
    """
    if isinstance(value, bool) or not isinstance(value, str):
        return value
    match = _SIZE.fullmatch(value)
    if match is None:
        raise ValueError(f"`{value}` is no size; write it like `500MB`, `5GB` or `4GiB`")
    unit = match["unit"].upper().removesuffix("B")
    base = 1024 if unit.endswith("I") else 1000
    power = _PREFIXES.index(unit[0]) + 1 if unit and unit[0] in _PREFIXES else 0
    return int(float(match["number"]) * base**power)


def parse_age(value: Any) -> Any:  # noqa: ANN401  # pydantic hands over whatever the user wrote
    """Seconds from a number or a text such as `90m`, `36h`, `14d`, `2w`.

    >>> parse_age("14d"), parse_age(60)
    (1209600, 60)

    Raises:
        ValueError: the text is no age.
    """
    if isinstance(value, bool) or not isinstance(value, str):
        return value
    match = _AGE.fullmatch(value)
    if match is None:
        raise ValueError(f"`{value}` is no age; write it like `12h`, `14d` or `2w`")
    return int(match["number"]) * _SECONDS[match["unit"]]


def format_size(size: int) -> str:
    """A byte count for people, in powers of 1000 as docker prints them.

    >>> format_size(0), format_size(1999), format_size(205_300_000)
    ('0 B', '2.0 kB', '205.3 MB')
    """
    number = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if number < 999.95:  # noqa: PLR2004  # what would round up to 1000.0 takes the next unit
            return f"{number:.0f} B" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"


def format_count(number: int, noun: str) -> str:
    """So many things, for people.

    >>> format_count(1, "layer"), format_count(0, "layer")
    ('1 layer', '0 layers')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def format_age(seconds: float) -> str:
    """How long ago something was, for people.

    >>> format_age(-3), format_age(59), format_age(7199), format_age(86_400 * 3.5)
    ('0 s', '59 s', '119 min', '3 days')
    """
    if seconds < 120:  # noqa: PLR2004  # up to two of a unit, the smaller one is clearer
        return f"{max(0, int(seconds))} s"
    if seconds < 7200:  # noqa: PLR2004
        return f"{int(seconds / 60)} min"
    if seconds < 172_800:  # noqa: PLR2004
        return f"{int(seconds / 3600)} h"
    return f"{int(seconds / 86_400)} days"


def _quantity_schema(pattern: str, example: str) -> WithJsonSchema:
    return WithJsonSchema(
        {
            "anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": pattern}],
            "examples": [example],
        }
    )


def _require_positive(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, int) and not isinstance(value, bool) and value <= 0:
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
