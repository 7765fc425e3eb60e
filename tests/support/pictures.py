"""The pictures of the documentation, drawn from a recorded build by the code that people see.

`tests/streams/shop` has the build: BuildKit's stream, and bxcache's report of it.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from datetime import datetime
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
MOMENT = 9.8
"""How many seconds the build had been running when the picture of it was taken."""
COLUMNS, ROWS = 100, 17
WIDTH, HEIGHT = 860, 570
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
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {{width}} {{height}}"
 role="img" aria-label="{COMMAND}">
<style>
.{{unique_id}}-matrix {{{{ font: {{char_height}}px {_FONTS}; white-space: pre; }}}}
.{{unique_id}}-title {{{{ font: bold {{char_height}}px {_FONTS}; }}}}
{{styles}}
</style>
<defs>
{{lines}}
</defs>
{{chrome}}
<g transform="translate({{terminal_x}}, {{terminal_y}})">
{{backgrounds}}
<g class="{{unique_id}}-matrix">
{{matrix}}
</g>
</g>
</svg>
"""
_PAGE = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"
 role="img" aria-label="bxcache report">
<style>
{style}body {{ max-width: none; height: {height}px; border: 1px solid var(--line); }}
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
    with Failures(io.StringIO()) as failures, mock.patch("time.monotonic") as clock:
        clock.return_value = 0.0
        live, reader = LiveProgress(_Screen(), failures), TraceReader()
        console = live._console
        console.record, console.size = True, ConsoleDimensions(COLUMNS, ROWS)
        console.print(f"$ {COMMAND}", style="bold")
        for seconds, line in _list_timed():
            if seconds > MOMENT:
                break
            clock.return_value = seconds
            for event in reader.feed(line):
                live(event)
        clock.return_value = MOMENT
        console.print(live._draw())
    return console


def _list_timed() -> Iterator[tuple[float, str]]:
    """List the lines of the stream, each with the seconds from the first moment to its own."""
    start, now = None, 0.0
    for line in (BUILD / "edit.ndjson").read_text().splitlines():
        for moment in map(datetime.fromisoformat, _TIME.findall(line)):
            start = start or moment
            now = max(now, (moment - start).total_seconds())
        yield now, line


def draw_report() -> str:
    """Draw the head of the page of the report, and the timeline."""
    report = Report.model_validate_json((BUILD / "edit.report.json").read_text())
    page = render_report(report, "html")
    found = re.search(r"<style>(.*?)@media \(max-width.*<body>(.*?</section>)", page, re.DOTALL)
    assert found
    # A browser reads a picture as XML, where a drawing within a page needs its name space.
    content = found[2].replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"') + "</main>"
    drawn = _PAGE.format(width=WIDTH, height=HEIGHT, style=found[1], content=content)
    return drawn.replace("><", ">\n<")
