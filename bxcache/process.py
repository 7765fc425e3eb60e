"""The one place that runs other programs."""

from __future__ import annotations

import os
import select
import selectors
import signal
import subprocess
import time
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from threading import Lock, Timer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from concurrent.futures import ThreadPoolExecutor
    from pathlib import Path

LONGEST_LINE = 160 << 20
"""How much of a line is read, in characters. One with a log of 100 MB in base64 is whole, which is
more than BuildKit sends at once: gRPC's messages have up to 16 MiB
(https://github.com/containerd/containerd/blob/v2.1.4/defaults/defaults.go)."""
_CHUNK = 1 << 16
_STDIN = 0
_SECONDS_BETWEEN_LOOKS = 0.2
_GUARD = ("/bin/sh", "-c", 'read -r _; kill -9 "-$1"', "sh")
"""Waits for the end of its stdin, which is that of this process, and ends a process group."""
_SECONDS_TO_STOP = ((signal.SIGINT, 10), (signal.SIGTERM, 5), (signal.SIGKILL, 5))


@dataclass(frozen=True, slots=True)
class Answer:
    """What a short command left."""

    status: int
    stdout: str
    stderr: str


class Question:
    """A short command that is being run, to be asked for its answer later."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        variables: Mapping[str, str] | None = None,
        directory: Path | None = None,
        stdin: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start it.

        Args:
            command: the program and its arguments.
            variables: what to add to the environment.
            directory: the working directory.
            stdin: what it reads.
            environment: its environment. Default: this process's own.

        Raises:
            OSError: there is no such program.
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
        """Wait a while for the command to end, and tell whether it did."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def wait(self, seconds: float) -> Answer:
        """The answer.

        Raises:
            TimeoutError: it did not come in time.
        """
        try:
            stdout, stderr = self._process.communicate(self._stdin, timeout=seconds)
        except subprocess.TimeoutExpired as error:
            raise TimeoutError from error
        return Answer(self._process.returncode, stdout, stderr)

    def end(self) -> None:
        """Leave nothing of the command behind, whether or not it was waited for."""
        if self._process.poll() is None:
            self._process.kill()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                # What was not written to a command that has ended is lost on purpose.
                with suppress(BrokenPipeError):
                    stream.close()
        self._process.wait()


def ask(
    command: Sequence[str],
    *,
    variables: Mapping[str, str] | None = None,
    directory: Path | None = None,
    stdin: str | None = None,
    seconds: float,
) -> Answer:
    """Run a short command to its end.

    Raises:
        OSError: there is no such program.
        TimeoutError: it did not end in time; it is killed.
    """
    question = Question(command, variables=variables, directory=directory, stdin=stdin)
    try:
        return question.wait(seconds)
    finally:
        question.end()


class RunningProcess:
    """A long command whose stderr is read line by line.

    Attributes:
        is_late: it was ended because its time was up.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.is_late = False

    def read_lines(self) -> Iterator[str]:
        """Each line of its stderr, as it comes, without its line break.

        Of one that is longer than `LONGEST_LINE` the rest is left out: one that never ends would
        take all memory.
        """
        stream = self._process.stderr
        if stream is None:
            return
        while line := stream.readline(LONGEST_LINE):
            is_whole = line.endswith("\n") or len(line) < LONGEST_LINE
            # A long one is not to be there twice while somebody works on it.
            line = line.removesuffix("\n")
            yield line
            while not is_whole:
                rest = stream.readline(_CHUNK)
                is_whole = not rest or rest.endswith("\n")

    def feed(self, data: bytes) -> None:
        """Give it all that it reads from stdin. One that has ended does not read it."""
        stream = self._process.stdin
        if stream is not None:
            with suppress(BrokenPipeError), os.fdopen(stream.fileno(), "wb", closefd=False) as raw:
                raw.write(data)
            with suppress(BrokenPipeError):
                stream.close()

    def wait(self) -> int:
        """Its exit status; one that a signal ended is 128 plus the signal, as in a shell."""
        status = self._process.wait()
        return status if status >= 0 else 128 - status


class Stop:
    """Ends commands from another thread than those that read from them."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._processes: set[subprocess.Popen[str]] = set()
        self.is_set = False

    def set(self) -> None:
        """End what runs; what is started later ends at once."""
        with self._lock:
            self.is_set = True
            for process in self._processes:
                _signal(process, signal.SIGINT)

    @contextmanager
    def watch(self, process: subprocess.Popen[str]) -> Iterator[None]:
        """Be ready to end a command."""
        with self._lock:
            self._processes.add(process)
            if self.is_set:
                _signal(process, signal.SIGINT)
        try:
            yield
        finally:
            with self._lock:
                self._processes.discard(process)


def read_stdin(most: int, stop: Stop | None = None) -> bytes:
    """What this process has on its stdin, up to so many bytes; less where it is to stop.

    One that is closed, or cannot be read, has nothing.
    """
    data = bytearray()
    with suppress(OSError):
        while len(data) < most and not (stop is not None and stop.is_set):
            # A thread that only reads would not be told to stop.
            if select.select([_STDIN], [], [], _SECONDS_BETWEEN_LOOKS)[0]:
                piece = os.read(_STDIN, min(_CHUNK, most - len(data)))
                if not piece:
                    break
                data += piece
    return bytes(data)


@contextmanager
def open_pool(stop: Stop, threads: int) -> Iterator[ThreadPoolExecutor]:
    """Threads; an error in the block ends what they run, and begins nothing that waits.

    Args:
        stop: ends the commands.
        threads: how many there are.
    """
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
        # Another Ctrl-C goes on to docker, which leaves at once when it has been told three times.
        with suppress(KeyboardInterrupt):
            stop.set()
            pool.shutdown(cancel_futures=True)
            return


def _signal(process: subprocess.Popen[str], number: int) -> None:
    """Signal a command and all that it has started; one that has ended is left alone."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


@contextmanager
def _outlived(process: subprocess.Popen[str]) -> Iterator[None]:
    """Have a command and all that it has started end with this process, even by SIGKILL.

    A process of its own sees to that. A signal for the death of the parent (`PR_SET_PDEATHSIG`)
    would be set between fork and exec, where Python code is not safe beside threads.
    """
    try:
        guard = subprocess.Popen(  # noqa: S603  # always a list; the number is ours
            (*_GUARD, str(process.pid)),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # What ends this process by its group must not end the guard before.
            start_new_session=True,
        )
    except OSError:
        # There is no shell. Nothing else is less for that.
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
    """Run a long command; whatever ends the block ends the command too, in order.

    Args:
        command: the program and its arguments.
        variables: what to add to the environment.
        directory: the working directory.
        stdout: the file descriptor for its stdout, or None to drop it.
        seconds: how long it may take.
        stop: what ends it from another thread.
        fed: `RunningProcess.feed` gives it what it reads from stdin.
    """
    process = subprocess.Popen(  # noqa: S603  # always a list, never a shell
        list(command),
        stdin=subprocess.PIPE if fed else None,
        stdout=subprocess.DEVNULL if stdout is None else stdout,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
        cwd=directory,
        env={**os.environ, **variables},
        # Ctrl-C reaches only this process, which then stops the command in order.
        start_new_session=True,
    )
    running = RunningProcess(process)
    timers = _limit(running, process, seconds) if seconds is not None else ()
    with ExitStack() as guarded:
        try:
            guarded.enter_context(_outlived(process))
            with stop.watch(process) if stop is not None else nullcontext():
                yield running
        finally:
            for timer in timers:
                timer.cancel()
            _stop(process)


def _limit(
    running: RunningProcess, process: subprocess.Popen[str], seconds: float
) -> tuple[Timer, ...]:
    """End a command when its time is up; whoever reads from it comes to the end then."""

    def end(number: int) -> None:
        running.is_late = True
        _signal(process, number)

    grace = _SECONDS_TO_STOP[0][1]
    timers = (
        Timer(seconds, end, [signal.SIGINT]),
        Timer(seconds + grace, end, [signal.SIGKILL]),
    )
    for timer in timers:
        timer.daemon = True
        timer.start()
    return timers


def _stop(process: subprocess.Popen[str]) -> None:
    for number, seconds in _SECONDS_TO_STOP:
        if process.poll() is not None:
            break
        _signal(process, number)
        # A second Ctrl-C goes on to the stronger signal.
        with suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
            _hear_out(process, seconds)
    for stream in (process.stdin, process.stderr):
        if stream is not None:
            with suppress(BrokenPipeError):
                stream.close()


def _hear_out(process: subprocess.Popen[str], seconds: float) -> None:
    """Wait for a command to end, and drop what it has to say till then, on which it would block.

    Raises:
        subprocess.TimeoutExpired: it did not end in time.
    """
    end, stream = time.monotonic() + seconds, process.stderr
    with selectors.DefaultSelector() as selector:
        if stream is not None:
            selector.register(stream, selectors.EVENT_READ)
        while stream is not None:
            # What never ends is over as well when the time is.
            if not selector.select(end - time.monotonic()) or time.monotonic() > end:
                raise subprocess.TimeoutExpired(process.args, seconds)
            if not os.read(stream.fileno(), _CHUNK):
                break
    process.wait(max(0.0, end - time.monotonic()))
