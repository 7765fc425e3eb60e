"""Sizes, ages, times and shares as text: `5GB`, `512MiB`, `14d`, `1.5s`, `80 %`."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

from pydantic import (
    BeforeValidator,
    Field,
    PlainSerializer,
    SerializationInfo,
    WithJsonSchema,
)

if TYPE_CHECKING:
    from collections.abc import Callable

_Number = TypeVar("_Number", int, float)

_SIZE = r"\s*\d+(\.\d+)?\s*[kKMGT]?i?B?\s*"
_UNIT = "([smhdw]|seconds?|minutes?|hours?|days?|weeks?)"
_AGE = rf"\s*\d+\s*{_UNIT}\s*"
_DURATION = rf"\s*\d+(\.\d+)?\s*{_UNIT}?\s*"
_PARTS = re.compile(r"\s*(?P<number>[\d.]+)\s*(?P<unit>\w*)\s*")
_PREFIXES: Final = "KMGT"
_SECONDS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_LENGTHS: Final = {"day": 86_400, "hour": 3600, "minute": 60}
_MOST_DIGITS = 3
_MOST_SIGNS = 30
_LIMIT = 1 << 60

WrittenSize = Annotated[int, Field(ge=0, lt=_LIMIT)]
"""A size in a document, in bytes. A document beyond these three limits is damaged."""
WrittenSeconds = Annotated[float, Field(ge=0, le=1e12, allow_inf_nan=False)]
"""A duration in a document, in seconds."""
WrittenMoment = Annotated[float, Field(ge=0, le=253_370_764_800, allow_inf_nan=False)]
"""A time in a document, in seconds since 1970, before the year 9999."""


def parse_size(text: str) -> int:
    """Parse bytes, or raise ValueError: `kB`, `MB`, `GB`, `TB` are powers of 1000, `MiB` of 1024.

    >>> parse_size("5GB"), parse_size("1.5 MiB"), parse_size("42")
    (5000000000, 1572864, 42)
    """
    number, unit = _split(_SIZE, text, "a size; write it like `500MB`, `5GB` or `4GiB`")
    unit = unit.upper().removesuffix("B")
    base = 1024 if unit.endswith("I") else 1000
    power = _PREFIXES.index(unit[0]) + 1 if unit and unit[0] in _PREFIXES else 0
    return int(float(number) * base**power)


def parse_age(text: str) -> int:
    """Parse seconds from a text such as `90m`, `36h`, `14 days`, `2w`, or raise ValueError.

    >>> parse_age("14d"), parse_age("60s")
    (1209600, 60)
    """
    number, unit = _split(_AGE, text, "an age; write it like `12h`, `14d` or `2w`")
    return int(number) * _SECONDS[unit[:1]]


def parse_duration(text: str) -> float:
    """Parse seconds from a text such as `90`, `1.5s`, `10m`, `1h`, or raise ValueError.

    >>> parse_duration("1.5m"), parse_duration("90")
    (90.0, 90.0)
    """
    number, unit = _split(_DURATION, text, "a duration; write it like `90s`, `10m` or `1h`")
    return float(number) * _SECONDS[unit[:1]]


def _split(pattern: str, text: str, form: str) -> tuple[str, str]:
    """The number and the unit of a text."""
    parts = _PARTS.fullmatch(text) if re.fullmatch(pattern, text) else None
    if parts is None:
        raise ValueError(f"`{text}` is not {form}")
    if len(parts["number"]) > _MOST_SIGNS:
        raise ValueError(f"`{text[:_MOST_SIGNS]}…` is too large")
    return parts["number"], parts["unit"]


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


def write_size(size: int) -> str:
    """A byte count as exact text that `parse_size` reads.

    >>> write_size(20_000_000_000), write_size(5 << 30), write_size(1001)
    ('20 GB', '5 GiB', '1001 B')
    """
    units = {f"{prefix}iB": 1024**power for power, prefix in enumerate(_PREFIXES, 1)}
    units |= {f"{prefix}B": 1000**power for power, prefix in enumerate("kMGT", 1)}
    fitting = [(size // each, unit) for unit, each in units.items() if size % each == 0]
    number, unit = min(fitting, default=(size, "B"))
    return f"{number} {unit}"


def write_time(seconds: float) -> str:
    """A time span as exact text that `parse_duration` reads, and `parse_age` if it is whole.

    >>> write_time(2_592_000), write_time(3600), write_time(90.0), write_time(1.5)
    ('30 days', '1 hour', '90 seconds', '1.5 seconds')
    """
    fitting = ((seconds / each, unit) for unit, each in _LENGTHS.items() if seconds % each == 0)
    number, unit = next(fitting, (seconds, "second"))
    whole = int(number) if number == int(number) else number
    return format_count(whole, unit)


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


def format_count(number: float, noun: str) -> str:
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
    for length, unit in ((86_400, "days"), (3600, "h"), (60, "min")):
        # Below two of a unit, the smaller unit is clearer.
        if seconds >= 2 * length:
            return f"{int(seconds / length)} {unit}"
    return f"{max(0, int(seconds))} s"


def _reads(parse: Callable[[str], float]) -> BeforeValidator:
    def read(value: object) -> object:
        found = parse(value) if isinstance(value, str) else value
        if isinstance(found, int | float) and not isinstance(found, bool):
            if isinstance(found, float) and not math.isfinite(found):
                raise ValueError("must be a finite number")
            if found <= 0:
                raise ValueError("must be more than zero")
            if found >= _LIMIT:
                raise ValueError("is too large")
        return found

    return BeforeValidator(read)


WRITTEN: Final = "written"
"""The context of pydantic's `model_dump` in which quantities become text for a config file."""


def _writes(write: Callable[[Any], str]) -> PlainSerializer:
    def serialize(value: Any, info: SerializationInfo) -> Any:  # noqa: ANN401  # a number or text
        return write(value) if info.context == WRITTEN else value

    return PlainSerializer(serialize)


def _shows(pattern: str, example: str, **number: object) -> WithJsonSchema:
    text = {"type": "string", "pattern": f"^{pattern}$"}
    return WithJsonSchema({"anyOf": [number, text], "examples": [example]})


Size = Annotated[
    int,
    _reads(parse_size),
    _writes(write_size),
    _shows(_SIZE, "5GB", type="integer", minimum=1),
]
Age = Annotated[
    int,
    _reads(parse_age),
    _writes(write_time),
    _shows(_AGE, "14d", type="integer", minimum=1),
]
Duration = Annotated[
    float,
    _reads(parse_duration),
    _writes(write_time),
    _shows(_DURATION, "10m", type="number", exclusiveMinimum=0),
]


def format_seconds(seconds: float) -> str:
    """Format a duration for people.

    >>> format_seconds(0.31), format_seconds(75.2), format_seconds(4000)
    ('0.3 s', '1 m 15 s', '1 h 06 m')
    """
    if seconds < 59.95:  # noqa: PLR2004  # more would round up to 60.0
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:  # noqa: PLR2004  # an hour
        return f"{minutes} m {rest:02} s"
    return f"{minutes // 60} h {minutes % 60:02} m"
