"""Tests of the live view on an emulated terminal of a given size."""

from __future__ import annotations

import base64
import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from bxcache.buildx.stream.events import (
    Outcome,
)
from bxcache.buildx.stream.names import StepName
from bxcache.buildx.stream.raw import join_documents
from bxcache.buildx.stream.reader import TraceReader
from tests.real.drawings import check_screen, check_stayed, is_tally, list_stages
from tests.support.replay import STREAMS
from tests.support.terminal import Terminal

ROOT = Path(__file__).parents[2]
SIZES = [(80, 24), (200, 50), (40, 10)]


def step(stage: str, index: int, total: int = 3, text: str = "RUN make") -> StepName:
    return StepName(None, stage, index, total, text)


def show(
    stream: str | Path | Mapping[str, str | Path],
    terminal: Terminal,
    until: Callable[[], bool] = lambda: True,
    watch: Callable[[Terminal, int], None] = lambda *_: None,
) -> int:
    """Replay a stream on a terminal, or several by their images.

    Args:
        stream: the stream to replay.
        terminal: the terminal.
        until: the replay pauses at its middle until this is true of the screens shown.
        watch: called after each change with the terminal and its file descriptor.
    """
    # Rich prefers these to the terminal's size.
    known = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES")}
    environment = {**known, "TERM": "xterm-256color", "PYTHONPATH": str(ROOT)}
    streams = stream if isinstance(stream, Mapping) else {"": stream}
    words = [f"{name}={each}" if name else str(each) for name, each in streams.items()]
    command = (sys.executable, "-m", "tests.support.replay", *words, "0.5")
    with tempfile.TemporaryDirectory() as folder:
        go_on = Path(folder) / "go-on"

        def look(each: Terminal, master: int) -> None:
            watch(each, master)
            if until():
                go_on.touch()

        environment["REPLAY_UNTIL"] = str(go_on)
        return terminal.run(command, folder=ROOT, environment=environment, watch=look)


def list_drawn(terminal: Terminal) -> list[list[str]]:
    """List the screens that show a stage with a running step, without empty lines."""
    screens = [[line for line in screen if line] for screen in terminal.seen]
    return [lines for lines in screens if any(line.startswith("> ") for line in lines)]


def shows(terminal: Terminal, words: str) -> bool:
    """Whether the screen contains some words."""
    return any(words in line for line in terminal.screen)


def write_stream(path: Path, *messages: dict[str, object] | str) -> Path:
    lines = [each if isinstance(each, str) else json.dumps(each) for each in messages]
    path.write_text("\n".join(lines) + "\n")
    return path


def vertex(name: str, **more: object) -> dict[str, object]:
    started = "2026-01-01T00:00:00.000000000Z"
    return {"vertexes": [{"digest": f"sha256:{name}", "name": name, "started": started, **more}]}


def log(name: str, text: bytes) -> dict[str, object]:
    data = base64.b64encode(text).decode()
    return {"logs": [{"vertex": f"sha256:{name}", "stream": 1, "data": data}]}


def count_executed(stream: str) -> int:
    reader = TraceReader()
    for line in join_documents((STREAMS / f"{stream}.ndjson").read_text().splitlines()):
        for _ in reader.feed(line):
            pass
    return sum(each.outcome is Outcome.EXECUTED for each in reader.finish().steps)


@pytest.mark.parametrize(("columns", "rows"), SIZES)
@pytest.mark.parametrize("stream", ["cold", "fresh-builder-source-edit", "docker-28-cold"])
def test_every_executed_step_stays_on_the_screen_once(stream: str, columns: int, rows: int) -> None:
    """Each executed step has one line at the end, in the stream's order."""
    terminal = Terminal(columns, rows)
    assert show(stream, terminal) == 0
    stayed = [line for line in terminal.all_lines if line]
    check_stayed(stayed)
    assert len(stayed) == count_executed(stream) > 0
    assert all(line.startswith("executed") for line in stayed)


@pytest.mark.parametrize(("columns", "rows"), SIZES)
def test_the_tally_is_always_the_last_line(columns: int, rows: int) -> None:
    """The tally is the last line of every screen, at any terminal size."""
    terminal = Terminal(columns, rows)
    assert show("cold", terminal, lambda: len(list_drawn(terminal)) > 3) == 0
    for lines in list_drawn(terminal):
        assert is_tally(lines[-1])
    for screen in terminal.seen:
        check_screen(screen)


def test_a_running_step_shows_its_last_lines(tmp_path: Path) -> None:
    """A running step has the last lines of its output below it, as many as fit."""
    name = "[build 1/2] RUN make"
    stream = write_stream(
        tmp_path / "s.ndjson", vertex(name), log(name, b"first\nsecond\n"), "waiting", "waiting"
    )
    terminal = Terminal()
    assert show(stream, terminal, lambda: shows(terminal, "second")) == 0
    (screen,) = [each for each in terminal.seen if any("second" in line for line in each)][:1]
    at = next(n for n, line in enumerate(screen) if "RUN make" in line)
    assert screen[at - 1].startswith("> build")
    assert [line.strip() for line in screen[at + 1 : at + 3]] == ["first", "second"]


def test_a_failed_step_shows_its_whole_log_last(tmp_path: Path) -> None:
    """The log of a failed step is complete, however long, and follows docker's error."""
    name = "[build 1/1] RUN make"
    printed = b"".join(b"line %d\n" % number for number in range(2000))
    failed = vertex(name, completed="2026-01-01T00:00:01Z", error="exit code: 2")
    messages = vertex(name), log(name, printed), failed, "ERROR: failed to build: exit code: 2"
    terminal = Terminal()
    assert show(write_stream(tmp_path / "s.ndjson", *messages), terminal) == 0
    lines = [line for line in terminal.all_lines if line]
    assert lines[-2000:] == printed.decode().splitlines()
    assert "log of [build 1/1] RUN make:" in lines
    assert lines.index("ERROR: failed to build: exit code: 2") < lines.index(
        "log of [build 1/1] RUN make:"
    )


def test_several_images_have_one_view() -> None:
    """Lines and stages name their image, there is one tally, and nothing is left behind."""
    terminal = Terminal(80, 24)

    def list_images() -> list[set[str]]:
        return [{name.split()[0] for name in list_stages(each)} for each in terminal.seen]

    both = {"api", "worker"}
    streams = {"api": "cold", "worker": "docker-28-cold"}
    assert show(streams, terminal, lambda: list_images().count(both) > 2) == 0
    assert set().union(*list_images()) == both
    for screen in terminal.seen:
        check_screen(screen)
    stayed = [line for line in terminal.all_lines if " | executed" in line]
    for name, stream in (("api", "cold"), ("worker", "docker-28-cold")):
        own = [line for line in stayed if line.startswith(f"{name} | ")]
        assert len(own) == count_executed(stream)
    check_stayed(terminal.all_lines)
    assert not terminal.is_cursor_hidden


def test_the_log_of_a_failed_image_is_last(tmp_path: Path) -> None:
    """The log of a failed image is last and names the image, even if another one still prints."""
    name = "[build 1/1] RUN make"
    printed = b"".join(b"line %d\n" % number for number in range(500))
    failed = vertex(name, completed="2026-01-01T00:00:01Z", error="exit code: 2")
    words = vertex(name), log(name, printed), failed, "ERROR: failed to build: exit code: 2"
    broken = write_stream(tmp_path / "broken.ndjson", *words)
    good = write_stream(tmp_path / "good.ndjson", vertex(name), *[log(name, b"well\n")] * 9)
    terminal = Terminal(80, 24)
    assert show({"api": good, "worker": broken}, terminal) == 0
    lines = [line for line in terminal.all_lines if line]
    assert lines[-500:] == printed.decode().splitlines()
    assert lines[-501] == "log of worker | [build 1/1] RUN make:"
    assert lines[-502] == "worker | ERROR: failed to build: exit code: 2"


def test_control_sequences_of_a_step_are_made_visible(tmp_path: Path) -> None:
    """Control sequences are made visible, during the step and after its failure."""
    name = "[build 1/1] RUN \x1b[2Jmake"
    failed = vertex(name, completed="2026-01-01T00:00:01Z", error="exit code: 2")
    hostile = b"a\x1b[2Jb\x1b]0;title\x07c\xff\n"
    messages = vertex(name), log(name, hostile), "waiting", failed
    terminal = Terminal()
    stream = write_stream(tmp_path / "s.ndjson", *messages)
    assert show(stream, terminal, lambda: shows(terminal, "\\x1b[2Jmake")) == 0
    assert "a\\x1b[2Jb\\x1b]0;title\\x07c\ufffd" in terminal.all_lines
    assert any("\\x1b[2Jmake" in line for line in terminal.all_lines)


def test_a_smaller_window_is_drawn_anew() -> None:
    """After a resize no line wraps, and nothing of the old drawing is left."""
    terminal = Terminal(120, 30)
    narrow: list[list[str]] = []

    def watch(each: Terminal, master: int) -> None:
        if each.columns == 50:
            narrow.append(each.screen)
        elif len(list_drawn(each)) > 2:
            each.resize(master, 50, 15)

    assert show("cold", terminal, lambda: len(narrow) > 4, watch) == 0
    # The first screen may still be the old one.
    assert [each for each in narrow[2:] if list_stages(each)]
    for screen in narrow[2:]:
        check_screen(screen)
