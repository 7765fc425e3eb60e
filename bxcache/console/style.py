"""Colours, on terminals that support them (https://no-color.org)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TextIO

_CODES = {"red": 31, "green": 32, "yellow": 33, "cyan": 36, "dim": 2}


@dataclass(frozen=True, slots=True)
class Style:
    """Paints text, or leaves it unchanged."""

    colored: bool

    @classmethod
    def of(cls, stream: TextIO) -> Style:
        """Return the style for a stream."""
        if os.environ.get("NO_COLOR"):
            return cls(colored=False)
        # https://force-color.org
        forced = bool(os.environ.get("FORCE_COLOR"))
        return cls(forced or (stream.isatty() and os.environ.get("TERM") != "dumb"))

    def paint(self, text: str, color: str) -> str:
        """Return the text in a colour."""
        return f"\x1b[{_CODES[color]}m{text}\x1b[0m" if self.colored else text
