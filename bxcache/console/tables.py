"""Tables, documents and foreign texts in the form that all commands print."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING, Any

from bxcache.buildx.stream.vertices import write_over
from bxcache.config.json_documents import VERSION
from bxcache.config.quantities import format_age

if TYPE_CHECKING:
    from collections.abc import Sequence

COLORS = re.compile(r"\x1b\[[0-9;]*m")
_SIGNS = re.compile("[#\x7f-\x9f\u2028\u2029]|(?<=travis)_")
"""Characters that occur only within strings of JSON."""
_RESET = "\x1b[0m"
_RESETS = re.compile(r"\x1b\[[0;]*m")
_KEPT = re.compile(rf"({COLORS.pattern}|\t)")
_CONTROL = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # colours and cursor moves
    r"|\x1b[\]PX^_].*?(?:\x07|\x1b\\|$)"  # titles, links and other terminal commands
    r"|\x1b[ -/]*[0-~]",
    re.DOTALL,
)


def render_document(document: dict[str, Any]) -> str:
    """Render a document as text."""
    text = json.dumps({"version": VERSION, **document}, indent=2, ensure_ascii=False)
    # A name may contain bytes that are not UTF-8; JSON has the same escape for them as Python.
    return defuse_json(text.encode(errors="backslashreplace").decode())


def defuse_json(text: str) -> str:
    r"""Escape everything in a document that a CI system could take for a command.

    The document stays the same: the signs of commands are escaped, and so are characters that some
    readers take for the end of a line. `bxcache.console.job_log` lists the signs.

    >>> defuse_json('["##vso[task.complete]"]')
    '["\\u0023\\u0023vso[task.complete]"]'
    """
    return _SIGNS.sub(lambda found: rf"\u{ord(found[0]):04x}", text)


def render_table(head: Sequence[str], rows: Sequence[Sequence[str]], texts: int = 1) -> str:
    """Render a table whose first columns are texts and whose others are figures."""
    table = [head, *rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    columns = [f"{'<' if at < texts else '>'}{width}" for at, width in enumerate(widths)]
    lines = ("  ".join(map(format, row, columns)).rstrip() for row in table)
    return "\n".join(lines)


def show_ago(moment: float) -> str:
    """Show how long ago a moment was, which is in seconds since 1970."""
    return f"{format_age(time.time() - moment)} ago"


def show_name(name: str) -> str:
    """Show a foreign name, which may contain anything."""
    return name if name.isprintable() else repr(name)


def show_text(text: str) -> str:
    r"""Show a foreign text on one line, without control characters.

    >>> show_text("RUN a\n\x1b[2J")
    'RUN a\\n\\x1b[2J'
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def show_line(line: str) -> str:
    r"""Show a foreign line like `show_text`, but keep its colours and tabs.

    Colours end with the line; otherwise a hidden text would hide everything after it.

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
    r"""Show a foreign line like `show_line`, but without its colours.

    >>> show_plain("\x1b[32mok\x1b[0m\tdone\x1b[2J")
    'ok      done\\x1b[2J'
    """
    return show_text(COLORS.sub("", line).expandtabs())


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


def cut_digest(digest: str) -> str:
    """Shorten a digest like docker.

    >>> cut_digest(f"sha256:{'ab' * 32}")
    'sha256:abababababab'
    """
    return digest[: len("sha256:") + 12]


def cut_text(text: str, room: int) -> str:
    """Shorten a text to the room available.

    >>> cut_text("RUN make", 8), cut_text("RUN make", 7)
    ('RUN make', 'RUN ma…')
    """
    return text if len(text) <= room else f"{text[: max(0, room - 1)]}…"
