"""Tests of standard streams that nobody reads, that are on a full disk, or that are closed."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import ExitStack, contextmanager
from threading import Thread, Timer
from typing import TYPE_CHECKING

import pytest

from bxcache.buildx.stream.events import Outcome, StepFinished, Warned
from bxcache.buildx.stream.names import StepName
from bxcache.cli.main import handle_signals, judge_output, run
from bxcache.cli.streams import open_streams
from bxcache.pipeline.result import BuildResult
from tests.support.histories import make_record, make_step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from bxcache.cli.streams import Sink

RECORD = make_record(make_step("RUN make", 1))
RESULT = BuildResult(0, "sha256:" + "d" * 64, (), (), (), (), 1.0, record=RECORD)
STEP = StepFinished(StepName(None, "build", 1, 1, "RUN make"), Outcome.EXECUTED, 1.0)


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """List the builds that completed."""
    ended: list[str] = []

    def build(_: object, observe: Callable[[object], None]) -> BuildResult:
        for event in (STEP, Warned("careful")):
            observe(event)
        ended.append("built")
        return RESULT

    monkeypatch.setattr("bxcache.cli.actions.build.run_build", build)
    monkeypatch.delenv("BUILDKIT_PROGRESS", raising=False)
    return ended


def open_file(path: str) -> int:
    return os.open(path, os.O_WRONLY)


def open_broken() -> int:
    """Open a pipe without a reader."""
    read, write = os.pipe()
    os.close(read)
    return write


@contextmanager
def started(stdout: int | None, stderr: int | None) -> Iterator[Sink]:
    """Replace the command's streams as if the process had started with these; None is closed."""
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        for name, number in (("stdout", stdout), ("stderr", stderr)):
            stream = None if number is None else stack.enter_context(os.fdopen(number, "w"))
            patch.setattr(sys, name, stream)
        output = open_streams()
        with sys.stdout, sys.stderr:
            yield output


def open_full() -> int:
    """Open a file on a full disk."""
    return open_file("/dev/full")


def closed() -> None:
    """Return a closed stream as Python represents it."""


@pytest.mark.parametrize("bad", [open_broken, open_full, closed])
@pytest.mark.parametrize("mode", ["auto", "plain", "tty", "rawjson", "quiet", "none"])
def test_unreadable_progress_does_not_stop_a_build(
    bad: Callable[[], int | None], mode: str, builds: list[str]
) -> None:
    """A build continues quietly and completes if its progress cannot be written."""
    with started(open_file(os.devnull), bad()) as output:
        status = judge_output(run(["build", "--progress", mode]), output)
    assert (status, builds) == (0, ["built"])


@pytest.mark.parametrize(("bad", "expected"), [(open_broken, 130), (open_full, 74), (closed, 0)])
def test_data_that_cannot_be_written_sets_the_status(
    bad: Callable[[], int | None], expected: int, builds: list[str], tmp_path: Path
) -> None:
    """If stdout cannot be written, the rest is done first; a closed stdout is not an error."""
    with started(bad(), open_file(os.devnull)) as output:
        words = ["build", "--json", "--report", str(tmp_path / "r.json")]
        status = judge_output(run(words), output)
    assert (status, builds) == (expected, ["built"])
    assert (tmp_path / "r.json").exists()


@pytest.mark.usefixtures("builds")
def test_data_and_messages_are_written(tmp_path: Path) -> None:
    """Data goes to stdout and messages go to stderr."""
    files = [tmp_path / "out", tmp_path / "err"]
    for each in files:
        each.touch()
    with started(*(open_file(str(each)) for each in files)) as output:
        assert judge_output(run(["build", "-q"]), output) == 0
        assert run(["build", "--progress", "plain"]) == 0
    assert files[0].read_text() == f"{RESULT.digest}\n"
    assert "warning: careful\n" in files[1].read_text()


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_full_pipe_loses_no_output(stream: str) -> None:
    """No byte is lost, even if another process made the pipe non-blocking."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    text = "x" * 1_000_000
    got: list[bytes] = []

    def consume() -> None:
        while data := os.read(read, 1000):
            got.append(data)

    reader = Thread(target=consume)
    with started(*(write if each == stream else None for each in ("stdout", "stderr"))) as output:
        Timer(0.2, reader.start).start()
        print(text, file=getattr(sys, stream), flush=True)
        assert judge_output(0, output) == 0
    reader.join(60)
    os.close(read)
    assert b"".join(got).decode() == f"{text}\n"


@pytest.fixture
def handlers() -> Iterator[None]:
    """Restore the signal handlers afterwards."""
    known = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in known.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("ignored", [signal.SIGHUP, signal.SIGTERM])
def test_an_ignored_signal_stays_ignored(ignored: signal.Signals) -> None:
    """A signal that nohup ignores stays ignored; the other one stops the work."""
    (other,) = {signal.SIGHUP, signal.SIGTERM} - {ignored}
    signal.signal(ignored, signal.SIG_IGN)
    signal.signal(other, signal.SIG_DFL)
    handle_signals()
    signal.raise_signal(ignored)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(other)


def test_the_status_of_a_failure_is_kept() -> None:
    """The exit status of a failure is kept if its message cannot be written."""
    with started(open_broken(), None) as output:
        print("lost", flush=True)
        assert judge_output(65, output) == 65
