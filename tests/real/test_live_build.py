"""Tests of a build on a terminal with a real engine: the live view and the final screen."""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

import pytest

from tests.engines import FaultyProxy, busybox_context
from tests.engines.faults import Hold, Rule
from tests.real.conftest import MakeMachine
from tests.real.drawings import check_screen, find_bar, is_tally, list_running, list_stages
from tests.real.machines import Machine
from tests.support.terminal import Terminal

LAYER = 5_000_000
"""The size of a layer, in incompressible bytes."""
DOCKERFILE = """\
COPY own.txt /own
FROM base AS deps
RUN head -c {layer} /dev/urandom > /deps
FROM deps AS build
COPY src.txt /src
RUN echo it is built && until wget -q -O /told http://{gate}/ 2> /err; do sleep 0.1; done
FROM base
COPY --from=build /src /src
"""


@contextmanager
def gate(opened: Event) -> Iterator[str]:
    """Serve an address where a step asks whether it may continue."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if opened.is_set() else 503)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # its name
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """Make an application with a large layer in one stage, and another stage on top."""
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "own.txt").write_text(f"{tmp_path}\n")
    (folder / "src.txt").write_text("one\n")
    return folder


def build(
    machine: Machine, app: Path, ref: str, terminal: Terminal, look: Callable[[], None]
) -> list[str]:
    """Build on a terminal, and return the final rows."""
    words = ("--network", "host", "--branch", "main", "--backend", f"type=registry,ref={ref}")
    command = machine.command(sys.executable, "-m", "bxcache", "build", *words, "-t", "app", ".")
    environment = machine.environment(TERM="xterm-256color")
    for name in ("CI", "COLUMNS", "LINES", "BUILDKIT_PROGRESS"):
        environment.pop(name, None)
    status = terminal.run(command, folder=app, environment=environment, watch=lambda *_: look())
    rows = [row for row in terminal.all_lines if row]
    assert status == 0, "\n".join(rows)
    assert not terminal.is_cursor_hidden
    return rows


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (200, 50)])
def test_a_build_is_drawn_while_it_runs(
    columns: int, rows: int, machines: MakeMachine, proxy: FaultyProxy, app: Path
) -> None:
    """The view shows stages, running steps and transfers; then comes the summary."""
    ref = f"{proxy.address}/{app.parent.name.lower()}"
    opened = Event()
    with gate(opened) as address:
        base = busybox_context(app)
        text = textwrap.dedent(DOCKERFILE).format(layer=LAYER, gate=address)
        (app / "Dockerfile").write_text(base + text)
        cold = Terminal(columns, rows)
        took: set[str] = set()

        def look() -> None:
            took.update(time for time, line in list_running(cold.screen) if line == "it is built")
            if len(took) > 1:
                opened.set()

        left = build(machines(), app, ref, cold, look)
        check_cold(cold, left)
        (app / "src.txt").write_text("two\n")
        check_pulled(*pull(machines(), app, ref, proxy, Terminal(columns, rows)))


def check_cold(terminal: Terminal, left: list[str]) -> None:
    """Check that each step was drawn and has a line, and that the summary is last."""
    waiting = [each for each in terminal.seen if any(list_running(each))]
    assert any(list_stages(each)[-1] == "build" for each in waiting)
    for screen in terminal.seen:
        if any(map(is_tally, screen)):
            check_screen(screen)
    executed = [row for row in left if row.startswith("executed")]
    assert len(executed) == 7
    totals = r"7steps:0reused\(0%\),7executed,in.*saved[\d.]+MBin\d+layers.*"
    assert re.fullmatch(totals, join_end(left))


def join_end(left: list[str]) -> str:
    """Return the totals without spaces, which are lost at the end of a row."""
    at = next(at for at, row in enumerate(left) if " steps: " in row)
    return "".join(left[at:]).replace(" ", "")


def pull(
    machine: Machine, app: Path, ref: str, proxy: FaultyProxy, terminal: Terminal
) -> tuple[Terminal, list[str]]:
    """Build on an empty engine; the large layer stops half-way until that was seen."""
    hold = Hold(LAYER)
    proxy.fail(fault=hold, matching=Rule("GET"))

    def look() -> None:
        if find_bar(terminal.screen):
            hold.released.set()

    return terminal, build(machine, app, ref, terminal, look)


def check_pulled(terminal: Terminal, left: list[str]) -> None:
    """Check that the bar matches its figures, stages are above it, and the output is complete."""
    pulling = [each for each in terminal.seen if find_bar(each)]
    assert pulling
    for screen in pulling:
        assert list_stages(screen)
        check_screen(screen)
    assert re.match(r"7steps:4reused\(57%\),3executed,in.*,[\d.]+MBfetched,", join_end(left))
