"""The lines of builds in one section of a CI job's log, which a person unfolds who wants them."""

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
    """Each step with its outcome, and its log as it comes, in a section that begins with them."""

    def __init__(
        self,
        stream: TextIO,
        log: JobLog,
        failures: Failures,
        title: str,
        names: Sequence[str] = (),
    ) -> None:
        """Nothing is written yet.

        Args:
            stream: where lines go.
            log: the log that they become a part of.
            failures: what is told when the section has ended.
            title: what the section is called.
            names: the images, where there are several and they are known.
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
        """Write an event of a build; the label is its image, where there are several."""
        with self._lock:
            if not self._begun:
                self._begun = True
                self._print((*self._log.begin(self._title), *self._log.stop()))
            self._failures.take(event, label)
            self._lines(label, event)

    def _print(self, lines: Iterable[str]) -> None:
        for line in lines:
            print(line, file=self._stream, flush=True)
