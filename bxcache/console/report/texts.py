"""Texts from elsewhere, made fit to be shown, and figures as people read them."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from bxcache.buildx.stream.vertices import write_over
from bxcache.config.quantities import format_ratio, format_size
from bxcache.console.tables import show_text

_CONTROL = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # colours and cursor moves
    r"|\x1b[\]PX^_].*?(?:\x07|\x1b\\|$)"  # titles, links and other words to the terminal
    r"|\x1b[ -/]*[0-~]",
    re.DOTALL,
)


UNKNOWN = "-"
"""What stands for a figure that is not known."""


class Quoted(str):
    """A text that came from a Dockerfile, a log or a name, and can hold anything."""

    __slots__ = ()


def clean_text(text: str) -> str:
    r"""A text on one line, with nothing in it that a terminal obeys.

    >>> clean_text("RUN \x1b[31mred\x1b[0m\x00 a\nb")
    'RUN red\\x00 a\\nb'
    """
    return show_text(_CONTROL.sub("", text))


def clean_log(text: str) -> str:
    r"""A log as a terminal would leave it, without colours.

    >>> clean_log("10%\r\x1b[2K20%\r\n\tdone\x07\n")
    '20%\n        done\\x07'
    """
    lines = _CONTROL.sub("", text).replace("\r\n", "\n").split("\n")
    return "\n".join(show_text(write_over(line).expandtabs()) for line in lines).strip("\n")


def format_moment(seconds: float) -> str:
    """A moment for people everywhere.

    >>> format_moment(1_700_000_000)
    '2023-11-14 22:13 UTC'
    """
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (ValueError, OverflowError, OSError):
        return f"{seconds:.0f} s after 1970"


def format_known_ratio(ratio: float | None) -> str:
    """A share, or a sign for one that is not known."""
    return UNKNOWN if ratio is None else format_ratio(ratio)


def format_known_size(size: int | None) -> str:
    """A size, or a sign for one that is not known."""
    return UNKNOWN if size is None else format_size(size)
