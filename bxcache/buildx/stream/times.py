"""The times in BuildKit's messages."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def parse_spans(spans: Mapping[str, str]) -> list[tuple[float, float]]:
    """Parse time spans, ends by starts, to seconds since 1970, in order; omit invalid ones."""
    known = ((parse_time(a), parse_time(b)) for a, b in spans.items())
    return sorted(each for each in known if all(each))


def measure_spans(spans: Mapping[str, str]) -> float:
    """Return the seconds that time spans cover together; one that runs backwards counts as 0."""
    covered, end = 0.0, float("-inf")
    for start, stop in parse_spans(spans):
        covered += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return covered


def find_beginning(spans: Iterable[str]) -> float | None:
    """Return when the first time span began, in seconds since 1970."""
    return min((moment for moment in map(parse_time, spans) if moment), default=None)


def parse_time(text: str) -> float:
    """Parse a time to seconds since 1970; return 0 if it is invalid or earlier."""
    # Python parses at most microseconds; Go writes up to nine digits.
    head, dot, tail = text.partition(".")
    digits = tail.rstrip("Z").partition("+")[0].partition("-")[0]
    zone = tail[len(digits) :] if dot else ""
    moment = f"{head}.{digits[:6]:0<6}{zone}" if dot else text
    try:
        return max(0.0, datetime.fromisoformat(moment).timestamp())
    except (ValueError, OverflowError, OSError):
        return 0.0
