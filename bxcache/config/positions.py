"""The line of a key in a TOML text, which tomllib does not report.

The shortest prefix of lines whose document has the key ends with the last line of its value. That
works for dotted keys, arrays of tables and values of several lines. It parses the text once per
line, but only for files with errors and files that are shown.
"""

from __future__ import annotations

import tomllib
from typing import Any

_LONGEST_SEARCHED = 2000

Position = tuple[str | int, ...]


def find_lines(text: str, positions: set[Position]) -> dict[Position, int]:
    """The line, counted from 1, of each position's key, if found."""
    lines = text.splitlines()
    found: dict[Position, int] = {}
    if len(lines) > _LONGEST_SEARCHED:
        return found
    start = 1
    for number in range(1, len(lines) + 1):
        try:
            document = tomllib.loads("\n".join(lines[:number]))
        except tomllib.TOMLDecodeError:
            continue
        first = _first_written(lines, start, number)
        for position in positions - found.keys():
            if _holds(document, position):
                found[position] = first
        start = number + 1
    return found


def _first_written(lines: list[str], start: int, end: int) -> int:
    for number in range(start, end):
        if lines[number - 1].strip() and not lines[number - 1].lstrip().startswith("#"):
            return number
    return end


def _holds(document: Any, position: Position) -> bool:  # noqa: ANN401  # any TOML value
    for step in position:
        match document, step:
            case dict(), _ if step in document:
                document = document[step]
            case list(), int() if step < len(document):
                document = document[step]
            case _:
                return False
    return True
