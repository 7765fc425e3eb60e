"""What is told last of builds that fail: docker's last words, and the whole logs of their steps."""

from __future__ import annotations

import tempfile
from collections import deque
from typing import IO, TYPE_CHECKING, TextIO

from bxcache.buildx.stream.events import (
    Outcome,
    RunStarted,
    Said,
    StepFinished,
    StepLogged,
    StepStarted,
    StepStopped,
)
from bxcache.buildx.stream.raw import ERROR
from bxcache.console.tables import show_line

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from bxcache.buildx.stream.events import Event
    from bxcache.buildx.stream.names import StepName
    from bxcache.console.job_log import JobLog

    Key = tuple[str, StepName, str]
    """The image, the step, and what tells it from another one of its name."""

_LARGEST_IN_MEMORY = 64_000
_MOST_WORDS = 1000


class Failures:
    """Keeps the logs of steps until it is known whether they are wanted.

    A long log is kept in a file, so memory is bounded. What was kept is printed at the end of the
    `with` statement.
    """

    def __init__(self, stream: TextIO, log: JobLog | None = None) -> None:
        """Nothing is kept yet.

        Args:
            stream: where it is printed.
            log: the log of the CI job that this is, if it is one.
        """
        self._stream, self._log = stream, log
        self._show = log.defuse if log is not None else show_line
        # None is a log that could not be kept.
        self._logs: dict[Key, IO[str] | None] = {}
        self._failed: dict[Key, None] = {}
        self._said: deque[tuple[str, str]] = deque(maxlen=_MOST_WORDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self._tell()
        finally:
            for key in list(self._logs):
                self._drop(key)

    def take(self, event: Event, label: str = "") -> bool:
        """Take an event, and say whether it is one of docker's last words, which are told later.

        Args:
            event: what happened.
            label: the image, where several are built.
        """
        match event:
            case RunStarted():
                self._forget_all(label)
            case StepStarted(step, vertex):
                self._forget((label, step, vertex))
            case StepLogged(step, line, vertex):
                self._keep((label, step, vertex), line)
            case StepFinished(step, Outcome.FAILED, _, _, vertex):
                self._failed[label, step, vertex] = None
            case StepFinished(step, _, _, _, vertex) | StepStopped(step, _, vertex):
                self._forget((label, step, vertex))
            case Said(line) if self._is_last(line):
                self._said.append((label, line))
                return True
            case _:
                pass
        return False

    def _is_last(self, line: str) -> bool:
        # In a job's log all of it is in the section; where no step fails, an excerpt comes first.
        return self._log is not None or bool(self._failed) or line.startswith(ERROR)

    def list_words(self, label: str = "") -> list[str]:
        """Docker's last words of an image."""
        return [line for name, line in self._said if name == label]

    def forgive(self, label: str = "") -> None:
        """An image was built after all, such as by a second run without its cache."""
        others = [each for each in self._said if each[0] != label]
        self._said.clear()
        self._said.extend(others)
        self._forget_all(label)

    def _forget_all(self, label: str) -> None:
        for key in [key for key in (*self._failed, *self._logs) if key[0] == label]:
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
            # A full disk is no reason to stop the build.
            self._drop(key)
            self._logs[key] = None

    def _forget(self, key: Key) -> None:
        self._failed.pop(key, None)
        self._drop(key)

    def _drop(self, key: Key) -> None:
        log = self._logs.pop(key, None)
        if log is not None:
            log.close()

    def _tell(self) -> None:
        if not self._said and not self._failed:
            return
        self._print(*(self._log.stop() if self._log is not None else ()))
        for label, line in self._said:
            self._print(self._show(f"{label} | {line}" if label else line))
        for key in self._failed:
            self._tell_log(key)
        self._print(*(self._log.resume() if self._log is not None else ()))
        self._stream.flush()

    def _tell_log(self, key: Key) -> None:
        if key not in self._logs:
            return
        label, step, _ = key
        head = f"{label} | {step.label}" if label else step.label
        log = self._logs[key]
        lost = " it could not be kept" if log is None else ""
        first = step.text.partition("\n")[0]
        self._print("", self._show(f"log of {head} {first}:{lost}"))
        if log is not None:
            log.seek(0)
            for line in log:
                self._print(self._show(line.rstrip("\n")))

    def _print(self, *lines: str) -> None:
        for line in lines:
            print(line, file=self._stream)
