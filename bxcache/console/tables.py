"""Tables and documents, as all commands print them."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

VERSION = "1"
COLORS = re.compile(r"\x1b\[[0-9;]*m")
_SIGNS = re.compile("[#\x7f-\x9f\u2028\u2029]|(?<=travis)_")
"""What stands in texts alone, since nothing else of JSON has it."""
_RESET = "\x1b[0m"
_RESETS = re.compile(r"\x1b\[[0;]*m")
_KEPT = re.compile(rf"({COLORS.pattern}|\t)")


def render_document(document: dict[str, Any]) -> str:
    """A document as text."""
    text = json.dumps({"version": VERSION, **document}, indent=2, ensure_ascii=False)
    # A name may hold bytes that are no UTF-8; JSON has the same escape for them as Python.
    return defuse_json(text.encode(errors="backslashreplace").decode())


def defuse_json(text: str) -> str:
    r"""A document as text in which no CI system finds a command, wherever in a line it looks.

    It stays the same document: what a command begins with is escaped, and so is what some take for
    the end of a line. `bxcache.console.job_log` tells who looks for what.

    >>> defuse_json('["##vso[task.complete]"]')
    '["\\u0023\\u0023vso[task.complete]"]'
    """
    return _SIGNS.sub(lambda found: rf"\u{ord(found[0]):04x}", text)


def render_table(head: Sequence[str], rows: Sequence[Sequence[str]], texts: int = 1) -> str:
    """A table whose first columns are texts, and whose others are figures."""
    table = [head, *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(head))]
    lines = []
    for row in table:
        cells = [
            f"{cell:<{width}}" if column < texts else f"{cell:>{width}}"
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def show_name(name: str) -> str:
    """A name that came from elsewhere, which can hold anything."""
    return name if name.isprintable() else repr(name)


def show_text(text: str) -> str:
    r"""A text that came from elsewhere, on one line and with nothing that moves a cursor.

    >>> show_text("RUN a\n\x1b[2J")
    'RUN a\\n\\x1b[2J'
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def show_line(line: str) -> str:
    r"""A line that came from elsewhere, as `show_text` has it, but with its colours and tabs.

    Colours end with the line: what is hidden in one would hide all that follows.

    >>> show_line("\x1b[32mok\x1b[0m\t\x1b[2J\r"), show_line("\x1b[8mx")
    ('\x1b[32mok\x1b[0m\t\\x1b[2J\\r', '\x1b[8mx\x1b[0m')
    """
    if line.isprintable():
        return line
    parts = _KEPT.split(line)
    colors = [part for part in parts[1::2] if part != "\t"]
    end = "" if not colors or _RESETS.fullmatch(colors[-1]) else _RESET
    shown = (part if at % 2 else show_text(part) for at, part in enumerate(parts))
    return "".join((*shown, end))


def show_plain(line: str) -> str:
    r"""A line that came from elsewhere, as `show_line` has it, but without its colours.

    >>> show_plain("\x1b[32mok\x1b[0m\tdone\x1b[2J")
    'ok      done\\x1b[2J'
    """
    return show_text(COLORS.sub("", line).expandtabs())


def cut_text(text: str, room: int) -> str:
    """The text, or as much of it as there is room for.

    >>> cut_text("RUN make", 8), cut_text("RUN make", 7)
    ('RUN make', 'RUN ma…')
    """
    return text if len(text) <= room else f"{text[: max(0, room - 1)]}…"
