"""Tests of what a program gets on its stdin, and what this process reads from its own."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from signal import SIGINT
from types import SimpleNamespace
from typing import IO

import pytest

from bxcache import process
from bxcache.process import RunningProcess, Stop, read_stdin


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The write end of stdin."""
    ours, theirs = os.pipe()
    monkeypatch.setattr(process, "_STDIN", ours)
    yield theirs
    os.close(ours)


def read(stderr: IO[bytes]) -> Iterator[str]:
    """Read the lines of a program whose stderr this is."""
    return RunningProcess(SimpleNamespace(stderr=stderr)).read_lines()  # type: ignore[arg-type]


@pytest.mark.parametrize("data", [b"", b"FROM a\r\n# \xff\x00", b"x" * 500_000])
def test_a_program_gets_the_bytes_unchanged(data: bytes, pipe: int) -> None:
    """A program gets any bytes on stdin unchanged."""
    program = SimpleNamespace(stdin=os.fdopen(pipe, "w"))
    threading.Thread(target=RunningProcess(program).feed, args=[data]).start()  # type: ignore[arg-type]
    assert read_stdin(1 << 20) == data


def test_a_program_that_reads_nothing_is_not_an_error(pipe: int) -> None:
    """A program that ends or reads only a part of its stdin is not an error."""
    with Path(os.devnull).open() as nothing:
        os.dup2(nothing.fileno(), process._STDIN)
    RunningProcess(SimpleNamespace(stdin=os.fdopen(pipe, "w"))).feed(b"FROM a")  # type: ignore[arg-type]


def test_reading_stops_at_the_limit(pipe: int) -> None:
    """Reading stops at the limit or at the end, in any pieces."""
    os.write(pipe, b"FROM ")
    threading.Timer(0.05, os.write, [pipe, b"scratch"]).start()
    assert read_stdin(8) == b"FROM scr"
    os.close(pipe)
    assert read_stdin(100) == b"atch"
    assert read_stdin(100) == b""


def test_a_read_from_stdin_can_be_stopped(pipe: int) -> None:
    """Another thread can stop a read from a silent stdin."""
    stop = Stop()
    threading.Timer(0.05, stop.set).start()
    assert read_stdin(100, stop) == b""
    os.close(pipe)


def test_a_closed_stdin_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A closed stdin, as some supervisors leave it, reads as empty."""
    ours, theirs = os.pipe()
    os.close(ours)
    os.close(theirs)
    monkeypatch.setattr(process, "_STDIN", ours)
    assert read_stdin(100) == b""


def test_a_signal_is_handled_while_a_command_is_silent() -> None:
    """A signal that another thread receives interrupts the wait for a silent command's output."""
    ours, theirs = os.pipe()
    interrupt = threading.Timer(0.1, lambda: signal.pthread_kill(interrupt.ident or 0, SIGINT))
    # A wait that the signal does not interrupt ends with the output.
    late = threading.Timer(10, os.close, [theirs])
    with os.fdopen(ours, "rb") as silent:
        for each in (interrupt, late):
            each.start()
        with pytest.raises(KeyboardInterrupt):
            list(read(silent))
    late.cancel()
    os.close(theirs)


def test_lines_are_read_as_text(tmp_path: Path) -> None:
    """Line breaks of each kind end a line, and bytes that are no UTF-8 become U+FFFD."""
    (tmp_path / "output").write_bytes(b"a\r\nb\rc\xff\n\nd")
    with (tmp_path / "output").open("rb") as output:
        assert list(read(output)) == ["a", "b", "c\ufffd", "", "d"]
