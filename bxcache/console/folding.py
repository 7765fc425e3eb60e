"""The lines of builds in a folded section of a CI job's log."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, TextIO

from bxcache.console.batch import BatchProgress

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import TracebackType
    from typing import Self

    from bxcache.buildx.stream.events import Event
    from bxcache.console.failures import Failures
    from bxcache.console.job_log import JobLog


class FoldedProgress:
    """Writes each step with its outcome and its log into a section."""

    def __init__(
        self,
        stream: TextIO,
        log: JobLog,
        failures: Failures,
        title: str,
        names: Sequence[str] = (),
    ) -> None:
        """Set up the output.

        Args:
            stream: the output.
            log: the job's log.
            failures: prints after the section ended.
            title: the section's title.
            names: the images, if there are several and they are known.
        """
        self._stream, self._log, self._failures = stream, log, failures
        self._title = title
        self._lines = BatchProgress(stream, names, quiet=False, defuse=log.defuse)
        self._lock = Lock()
        self._begun = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._lock:
            if self._begun:
                self._print((*self._log.resume(), *self._log.end()))

    def __call__(self, event: Event, label: str = "") -> None:
        """Write an event of a build; the label is its image, if there are several."""
        with self._lock:
            if not self._begun:
                self._begun = True
                self._print((*self._log.begin(self._title), *self._log.stop()))
            self._failures.take(event, label)
            self._lines(label, event)

    def _print(self, lines: Iterable[str]) -> None:
        for line in lines:
            print(line, file=self._stream, flush=True)
