"""The pictures of the documentation, drawn from a recorded build by the code that people see.

`tests/streams/shop` has the build: BuildKit's stream, and bxcache's report of it.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from unittest import mock

from rich.console import Console, ConsoleDimensions
from rich.terminal_theme import TerminalTheme

from bxcache.buildx.stream.reader import TraceReader
from bxcache.console.failures import Failures
from bxcache.console.live import LiveProgress
from bxcache.console.report.rendering import render_report
from bxcache.insight.report import Report
from tests.support.replay import STREAMS

BUILD = STREAMS / "shop"
COMMAND = "bxcache build shop"
MOMENT = timedelta(seconds=9)
"""How long the build had been running when the picture of it was taken."""
COLUMNS, ROWS = 92, 24
WIDTH, HEIGHT = 860, 690
"""Of the report's picture, in CSS pixels."""
_TIME = re.compile(r'"(?:started|completed|timestamp)":"([^"]+)"')
# Colours of a dark terminal; each is readable on its ground.
_THEME = TerminalTheme(
    (22, 27, 34),
    (230, 237, 243),
    [
        *((72, 79, 88), (255, 123, 114), (86, 211, 100), (227, 179, 65)),
        *((121, 192, 255), (210, 168, 255), (86, 212, 221), (177, 186, 196)),
    ],
)
_FONTS = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
# Rich's own frame names fonts that a reader's browser would have to fetch.
_FRAME = f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {{width}} {{height}}" role="img" aria-label="{{title}}">
<style>
.{{unique_id}}-matrix {{{{ font: {{char_height}}px {_FONTS}; white-space: pre; }}}}
{{styles}}
</style>
<defs>
<clipPath id="{{unique_id}}-clip-terminal">
<rect x="0" y="0" width="{{terminal_width}}" height="{{terminal_height}}"/>
</clipPath>
{{lines}}
</defs>
{{chrome}}
<g transform="translate({{terminal_x}}, {{terminal_y}})" clip-path="url(#{{unique_id}}-clip-terminal)">
{{backgrounds}}
<g class="{{unique_id}}-matrix">
{{matrix}}
</g>
</g>
</svg>
"""
_PAGE = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="{label}">
<style>
{style}body {{ max-width: none; height: {height}px; border: 1px solid var(--line); border-radius: .5rem; }}
</style>
<foreignObject width="{width}" height="{height}">
<body xmlns="http://www.w3.org/1999/xhtml">
{content}
</body>
</foreignObject>
</svg>
"""


class _Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def draw_live() -> str:
    """Draw what is on the terminal in the middle of the build."""
    with mock.patch.dict(os.environ, {"TERM": "xterm-256color"}, clear=True):
        console = _show_build()
    return console.export_svg(
        title=COMMAND, theme=_THEME, code_format=_FRAME, font_aspect_ratio=0.6, unique_id="live"
    )


def _show_build() -> Console:
    lines = list(_list_timed())
    start = lines[0][0]
    screen = _Screen()
    with Failures(io.StringIO()) as failures, mock.patch("time.monotonic") as clock:
        clock.return_value = 0.0
        live, reader = LiveProgress(screen, failures), TraceReader()
        console = live._console
        console.record, console.size = True, ConsoleDimensions(COLUMNS, ROWS)
        console.print(f"$ {COMMAND}", style="bold")
        for at, line in lines:
            if at - start > MOMENT:
                break
            clock.return_value = (at - start).total_seconds()
            for event in reader.feed(line):
                live(event)
        clock.return_value = MOMENT.total_seconds()
        console.print(live._draw())
    return console


def _list_timed() -> Iterator[tuple[datetime, str]]:
    """List the lines of the stream, each with the last moment that it or an earlier one names."""
    last = None
    for line in (BUILD / "edit.ndjson").read_text().splitlines():
        named = [datetime.fromisoformat(text) for text in _TIME.findall(line)]
        last = max([*named, *([last] if last else [])])
        yield last, line


def draw_report() -> str:
    """Draw the report's page from its head to the slowest steps."""
    report = Report.model_validate_json((BUILD / "edit.report.json").read_text())
    page = render_report(report, "html")
    style = re.search(r"<style>(.*?)@media \(max-width", page, re.DOTALL)
    body = re.search(r"<body>(.*)</header>", page, re.DOTALL)
    parts = re.findall(r"<section>.*?</section>", page, re.DOTALL)
    assert style and body
    content = f"{body[1]}</header><main>{''.join(parts[:2])}</main>"
    # A browser reads a picture as XML, where a drawing within a page needs its name space.
    content = content.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"')
    return _PAGE.format(
        width=WIDTH, height=HEIGHT, label="bxcache report", style=style[1], content=content
    ).replace("><", ">\n<")
