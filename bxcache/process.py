"""The one place that runs other programs."""

from __future__ import annotations

import io
import os
import select
import selectors
import signal
import subprocess
import time
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from math import inf
from threading import Event, Lock, Thread, Timer
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from concurrent.futures import ThreadPoolExecutor
    from pathlib import Path

    from _typeshed import WriteableBuffer

LONGEST_LINE = 160 << 20
"""How much of a line is read, in characters. It fits a log of 100 MB in base64; BuildKit sends
less at once, since gRPC messages have up to 16 MiB
(https://github.com/containerd/containerd/blob/v2.1.4/defaults/defaults.go)."""
_CHUNK = 1 << 16
_STDIN = 0
_SECONDS_BETWEEN_LOOKS = 0.2
_GUARD = ("/bin/sh", "-c", 'read -r _; kill -9 "-$1"', "sh")
"""Waits until its stdin closes, as it does when this process ends; then kills a process group."""
_SECONDS_BETWEEN_GLANCES = 0.1
_GRACE = 10
_SECONDS_TO_STOP = ((signal.SIGINT, _GRACE), (signal.SIGTERM, 5), (signal.SIGKILL, 5))


class Answer(Struct, frozen=True):
    """The exit status and output of a short command."""

    status: int
    stdout: str
    stderr: str


class Question:
    """A short command that runs in the background; `wait` returns its answer."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        variables: Mapping[str, str] | None = None,
        directory: Path | None = None,
        stdin: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start the command, or raise an OSError if the program does not exist.

        `variables` are added to its environment, by default this process's.
        """
        self._stdin = stdin
        self._process = subprocess.Popen(  # noqa: S603  # always a list, never a shell
            list(command),
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            cwd=directory,
            env={**(os.environ if environment is None else environment), **(variables or {})},
        )

    def is_answered_within(self, seconds: float) -> bool:
        """Wait for the command to end; whether it ended in time."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        return self._process.returncode is not None

    def wait(self, seconds: float) -> Answer:
        """Wait for the command to end and return its answer; raise a TimeoutError if it is late."""
        try:
            stdout, stderr = self._process.communicate(self._stdin, timeout=seconds)
        except subprocess.TimeoutExpired as error:
            raise TimeoutError from error
        return Answer(self._process.returncode, stdout, stderr)

    def end(self) -> None:
        """Kill the command if it still runs, and close its streams."""
        if self._process.poll() is None:
            self._process.kill()
        _close(self._process)
        self._process.wait()


def ask(
    command: Sequence[str],
    *,
    variables: Mapping[str, str] | None = None,
    directory: Path | None = None,
    stdin: str | None = None,
    seconds: float,
) -> Answer:
    """Run a short command to its end, or kill it and raise a TimeoutError if it is late.

    It raises an OSError if the program does not exist.
    """
    question = Question(command, variables=variables, directory=directory, stdin=stdin)
    try:
        return question.wait(seconds)
    finally:
        question.end()


class _Pipe(io.FileIO):
    """A pipe that is read in short waits, between which Python handles signals.

    Python would handle a signal that comes just before a blocking read, or that another thread
    receives, only with the next output.
    """

    def readinto(self, buffer: WriteableBuffer, /) -> int | None:
        """Fill the buffer with what there is, once there is something; 0 at the end."""
        poll = select.poll()
        poll.register(self, select.POLLIN)
        while not poll.poll(_SECONDS_BETWEEN_LOOKS * 1000):
            pass
        return super().readinto(buffer)


class RunningProcess:
    """A long command whose stderr is read line by line; `is_late` if it ran out of time."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._timers: tuple[Timer, ...] = ()
        self.is_late = False

    def read_lines(self) -> Iterator[str]:
        """Each line of its stderr as it arrives, without its line break.

        A line is cut at `LONGEST_LINE`: an endless one would take all memory.
        """
        pipe = self._process.stderr
        if pipe is None:
            return
        raw = _Pipe(pipe.fileno(), closefd=False)
        stream = io.TextIOWrapper(io.BufferedReader(raw), "utf-8", "replace")
        while line := stream.readline(LONGEST_LINE):
            is_whole = line.endswith("\n") or len(line) < LONGEST_LINE
            # Do not hold a long line twice while the caller works on it.
            line = line.removesuffix("\n")
            yield line
            while not is_whole:
                rest = stream.readline(_CHUNK)
                is_whole = not rest or rest.endswith("\n")

    def limit(self, seconds: float | None) -> None:
        """Stop it when this time is over, which also ends its output; None lifts the limit."""
        for timer in self._timers:
            timer.cancel()
        late = () if seconds is None else ((0, signal.SIGINT), (_GRACE, signal.SIGKILL))
        self._timers = tuple(Timer((seconds or 0) + more, self._end, [it]) for more, it in late)
        for timer in self._timers:
            timer.daemon = True
            timer.start()

    def _end(self, number: int) -> None:
        self.is_late = True
        _signal(self._process, number)

    def feed(self, data: bytes) -> None:
        """Write all of its stdin; ignored if the command has ended."""
        stream = self._process.stdin
        if stream is not None:
            with suppress(BrokenPipeError), os.fdopen(stream.fileno(), "wb", closefd=False) as raw:
                raw.write(data)
            with suppress(BrokenPipeError):
                stream.close()

    def wait(self) -> int:
        """Its exit status; 128 plus the signal if a signal ended it, as in a shell."""
        status = self._process.wait()
        return status if status >= 0 else 128 - status


class Stop:
    """Stops commands from another thread than the ones that read from them; `why` says why."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._processes: dict[subprocess.Popen[bytes], Timer] = {}
        self.is_set = False
        self.why = "the build was stopped"

    def set(self) -> None:
        """Stop running commands; those started later are stopped at once.

        A command that does not end within a few seconds is killed.
        """
        with self._lock:
            self.is_set = True
            for process in self._processes:
                self._interrupt(process)

    @contextmanager
    def watch(self, process: subprocess.Popen[bytes]) -> Iterator[None]:
        """Stop this command, too, when `set` is called."""
        with self._lock:
            self._processes[process] = timer = Timer(_GRACE, _signal, [process, signal.SIGKILL])
            timer.daemon = True
            if self.is_set:
                self._interrupt(process)
        try:
            yield
        finally:
            with self._lock:
                del self._processes[process]
            timer.cancel()

    def _interrupt(self, process: subprocess.Popen[bytes]) -> None:
        _signal(process, signal.SIGINT)
        timer = self._processes[process]
        if not timer.is_alive():
            timer.start()


@contextmanager
def limit(seconds: float | None, cancel: Event | None) -> Iterator[Stop]:
    """A stop that is set when the time is up or when `cancel` is set, while the block runs."""
    stop, over = Stop(), Event()
    if seconds is None and cancel is None:
        yield stop
        return
    end = inf if seconds is None else time.monotonic() + seconds

    def watch() -> None:
        while not (stop.is_set or over.wait(_SECONDS_BETWEEN_GLANCES)):
            is_late = time.monotonic() >= end
            if is_late or (cancel is not None and cancel.is_set()):
                late = f"the build took longer than {seconds} s and was stopped"
                stop.why = late if is_late else "the build was canceled"
                stop.set()

    watcher = Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield stop
    finally:
        over.set()
        watcher.join()


def read_stdin(most: int, stop: Stop | None = None) -> bytes:
    """Read up to `most` bytes of this process's stdin; fewer when stopped.

    A closed or unreadable stdin gives nothing.
    """
    data = bytearray()
    with suppress(OSError):
        while len(data) < most and not (stop is not None and stop.is_set):
            # A thread that blocks in a read would not notice a stop.
            if select.select([_STDIN], [], [], _SECONDS_BETWEEN_LOOKS)[0]:
                if not (piece := os.read(_STDIN, min(_CHUNK, most - len(data)))):
                    break
                data += piece
    return bytes(data)


@contextmanager
def open_pool(stop: Stop, threads: int) -> Iterator[ThreadPoolExecutor]:
    """A thread pool; an error in the block stops its commands and cancels waiting jobs."""
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415  # 10 ms, for several builds

    pool = ThreadPoolExecutor(max(1, threads))
    try:
        yield pool
    except BaseException:
        _end(pool, stop)
        raise
    pool.shutdown()


def _end(pool: ThreadPoolExecutor, stop: Stop) -> None:
    while True:
        # Pass another Ctrl-C on to docker, which exits at once on the third.
        with suppress(KeyboardInterrupt):
            stop.set()
            pool.shutdown(cancel_futures=True)
            return


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    """Signal a command and its descendants, unless it has ended."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


@contextmanager
def _outlived(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Kill a command and its descendants when this process dies, even by SIGKILL.

    A guard process does that. A parent-death signal (`PR_SET_PDEATHSIG`) would be set between fork
    and exec, where Python code is not safe beside threads.
    """
    try:
        guard = subprocess.Popen(  # noqa: S603  # always a list; the number is ours
            (*_GUARD, str(process.pid)),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # A signal to this process's group must not reach the guard.
            start_new_session=True,
        )
    except OSError:
        # Without a shell, the command runs without a guard.
        yield
        return
    with guard:
        try:
            yield
        finally:
            guard.kill()


@contextmanager
def run(  # noqa: PLR0913  # each is a property of its own of what runs
    command: Sequence[str],
    *,
    variables: Mapping[str, str],
    directory: Path,
    stdout: int | None,
    seconds: float | None = None,
    stop: Stop | None = None,
    fed: bool = False,
) -> Iterator[RunningProcess]:
    """Run a long command, and stop it when the block ends.

    `variables` are added to its environment. `stdout` is a file descriptor; None drops the output.
    If `fed`, its stdin comes from `RunningProcess.feed`.
    """
    process = subprocess.Popen(  # noqa: S603  # always a list, never a shell
        list(command),
        stdin=subprocess.PIPE if fed else None,
        stdout=subprocess.DEVNULL if stdout is None else stdout,
        stderr=subprocess.PIPE,
        cwd=directory,
        env={**os.environ, **variables},
        # Ctrl-C reaches only this process, which then stops the command.
        start_new_session=True,
    )
    running = RunningProcess(process)
    running.limit(seconds)
    with ExitStack() as guarded:
        try:
            guarded.enter_context(_outlived(process))
            with stop.watch(process) if stop is not None else nullcontext():
                yield running
        finally:
            running.limit(None)
            _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    for number, seconds in _SECONDS_TO_STOP:
        if process.poll() is not None:
            break
        _signal(process, number)
        # A second Ctrl-C moves on to the stronger signal.
        with suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
            _drain(process, seconds)
    _close(process)


def _close(process: subprocess.Popen[bytes] | subprocess.Popen[str]) -> None:
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            # A command that has ended does not read the rest.
            with suppress(BrokenPipeError):
                stream.close()


def _drain(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Wait for a command to end, and drop its output, on which it would block."""
    end, stream = time.monotonic() + seconds, process.stderr
    with selectors.DefaultSelector() as selector:
        if stream is not None:
            selector.register(stream, selectors.EVENT_READ)
        while stream is not None:
            # Output that never ends must not extend the time.
            if not selector.select(end - time.monotonic()) or time.monotonic() > end:
                raise subprocess.TimeoutExpired(process.args, seconds)
            if not os.read(stream.fileno(), _CHUNK):
                break
    process.wait(max(0.0, end - time.monotonic()))
