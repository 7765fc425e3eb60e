"""Foreign texts made safe to show, and figures for people."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from bxcache.buildx.stream.vertices import write_over
from bxcache.config.quantities import format_ratio, format_size
from bxcache.console.tables import show_text

_CONTROL = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # colours and cursor moves
    r"|\x1b[\]PX^_].*?(?:\x07|\x1b\\|$)"  # titles, links and other terminal commands
    r"|\x1b[ -/]*[0-~]",
    re.DOTALL,
)


UNKNOWN = "-"
"""Shown for an unknown figure."""


class Quoted(str):
    """A text from a Dockerfile, a log or a name, which may contain anything."""

    __slots__ = ()


def clean_text(text: str) -> str:
    r"""Return a text on one line, without terminal control sequences.

    >>> clean_text("RUN \x1b[31mred\x1b[0m\x00 a\nb")
    'RUN red\\x00 a\\nb'
    """
    return show_text(_CONTROL.sub("", text))


def clean_log(text: str) -> str:
    r"""Return a log as a terminal would show it, without colours.

    >>> clean_log("10%\r\x1b[2K20%\r\n\tdone\x07\n")
    '20%\n        done\\x07'
    """
    lines = _CONTROL.sub("", text).replace("\r\n", "\n").split("\n")
    return "\n".join(show_text(write_over(line).expandtabs()) for line in lines).strip("\n")


def format_moment(seconds: float) -> str:
    """Format a time in UTC.

    >>> format_moment(1_700_000_000)
    '2023-11-14 22:13 UTC'
    """
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (ValueError, OverflowError, OSError):
        return f"{seconds:.0f} s after 1970"


def format_known_ratio(ratio: float | None) -> str:
    """Format a ratio, or show that it is unknown."""
    return UNKNOWN if ratio is None else format_ratio(ratio)


def format_known_size(size: int | None) -> str:
    """Format a size, or show that it is unknown."""
    return UNKNOWN if size is None else format_size(size)
