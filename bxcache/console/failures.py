"""The last output of a failed build: docker's last lines, and the logs of failed steps."""

from __future__ import annotations

import re
import tempfile
from collections import deque
from threading import Lock
from typing import IO, TYPE_CHECKING, TextIO

from bxcache.buildx.stream import events
from bxcache.buildx.stream.events import Outcome
from bxcache.buildx.stream.raw import ERROR
from bxcache.console.tables import show_line

if TYPE_CHECKING:
    from typing import Self

    from bxcache.buildx.stream.events import Event
    from bxcache.buildx.stream.names import StepName
    from bxcache.console.job_log import JobLog

    Key = tuple[str, StepName, str]
    """The image, the step, and its vertex, since two steps can share a name."""

_END = re.compile(rf"{ERROR}|[^\s:]+:[0-9]+$")
"""Docker's error, or the beginning of the excerpt before it: a file and a line."""
_LARGEST_IN_MEMORY = 64_000
_MOST_WORDS = 1000


class Failures:
    """Keeps the logs of steps until it is clear which ones to print.

    A long log is kept in a file, to bound memory. The `with` statement prints the logs at its end.
    """

    def __init__(self, stream: TextIO, log: JobLog | None = None, most: int | None = None) -> None:
        """The stream gets the text at the end; `log` is the log of the CI job, if any.

        `most` is how many last lines of each step's log are printed; None prints all.
        """
        self._stream, self._log, self._most = stream, log, most
        self._show = log.defuse if log is not None else show_line
        self._lock = Lock()
        # None marks a log that could not be stored.
        self._logs: dict[Key, IO[str] | None] = {}
        self._failed: dict[Key, None] = {}
        self._ending: set[str] = set()
        self._said: deque[tuple[str, str]] = deque(maxlen=_MOST_WORDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._print_all()
        finally:
            for key in list(self._logs):
                self._drop(key)

    def take(self, event: Event, label: str = "") -> bool:
        """Read an event; return whether it is one of docker's last lines, printed at the end.

        The label is the image, if several are built, also in several threads.
        """
        with self._lock:
            return self._take(event, label)

    def _take(self, event: Event, label: str) -> bool:
        match event:
            case events.RunStarted():
                self._forget_all(label)
                self._ending.discard(label)
            case events.StepStarted(step, vertex):
                self._forget((label, step, vertex))
            case events.StepLogged(step, line, vertex):
                self._keep((label, step, vertex), line)
            case events.StepFinished(step, Outcome.FAILED, _, _, vertex):
                self._failed[label, step, vertex] = None
            case events.StepFinished(step, _, _, _, vertex) | events.StepStopped(step, _, vertex):
                self._forget((label, step, vertex))
            case events.Said(line):
                if _END.match(line) or any(key[0] == label for key in self._failed):
                    self._ending.add(label)
                is_last = label in self._ending
                # The section of a job's log is folded, and may hide why docker failed.
                if is_last or self._log is not None:
                    self._said.append((label, line))
                return is_last
        return False

    def list_words(self, label: str = "") -> list[str]:
        """Return docker's last lines for an image."""
        return [line for name, line in self._said if name == label]

    def forgive(self, label: str = "") -> None:
        """Forget the failure of an image that a second run built, such as one without its cache."""
        others = (each for each in self._said if each[0] != label)
        self._said = deque(others, maxlen=_MOST_WORDS)
        self._forget_all(label)

    def _forget_all(self, label: str) -> None:
        for key in (*self._failed, *self._logs):
            if key[0] == label:
                self._forget(key)

    def _keep(self, key: Key, line: str) -> None:
        try:
            if key not in self._logs:
                self._logs[key] = tempfile.SpooledTemporaryFile(  # noqa: SIM115  # closed in the end
                    _LARGEST_IN_MEMORY, "w+", encoding="utf-8", errors="replace", newline="\n"
                )
            log = self._logs[key]
            if log is not None:
                log.write(f"{line}\n")
        except OSError:
            # A full disk must not stop the build.
            self._drop(key)
            self._logs[key] = None

    def _forget(self, key: Key) -> None:
        self._failed.pop(key, None)
        self._drop(key)

    def _drop(self, key: Key) -> None:
        log = self._logs.pop(key, None)
        if log is not None:
            log.close()

    def _print_all(self) -> None:
        if not self._said and not self._failed:
            return
        if self._log is not None:
            self._print(*self._log.mark("stop"))
        for label, line in self._said:
            self._print(self._show(f"{label} | {line}" if label else line))
        for key in self._failed:
            if key in self._logs:
                self._print_log(key, self._logs[key])
        if self._log is not None:
            self._print(*self._log.mark("resume"))
        self._stream.flush()

    def _print_log(self, key: Key, log: IO[str] | None) -> None:
        label, step, _ = key
        head = f"{label} | {step.label}" if label else step.label
        lost = " it could not be stored" if log is None else ""
        first = step.text.partition("\n")[0]
        what = "log" if self._most is None else "end of the log"
        self._print("", self._show(f"{what} of {head} {first}:{lost}"))
        if log is not None:
            log.seek(0)
            for line in log if self._most is None else deque(log, self._most):
                self._print(self._show(line.rstrip("\n")))

    def _print(self, *lines: str) -> None:
        for line in lines:
            print(line, file=self._stream)
