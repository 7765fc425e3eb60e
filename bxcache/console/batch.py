"""Several images side by side: their events as lines, and their outcomes."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, TextIO

from bxcache.buildx.stream.events import Noted
from bxcache.config.quantities import format_count, format_seconds
from bxcache.console.progress import PlainProgress
from bxcache.console.summary import render_summary
from bxcache.console.tables import show_line, show_text
from bxcache.errors import BuildFailedError

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Mapping, Sequence
    from typing import Self

    from bxcache.buildx.stream.events import Event
    from bxcache.console.failures import Failures
    from bxcache.console.job_log import JobLog
    from bxcache.pipeline.result import ImageOutcome


IMAGES, TARGETS = "image", "target"
"""The kinds of builds in a batch."""
_INDENT = "  "


class BatchProgress:
    """Writes the events of several builds, each line prefixed with its image."""

    def __init__(
        self, stream: TextIO, names: Sequence[str], defuse: Callable[[str], str] = show_line
    ) -> None:
        """Make a column as wide as the known images; `defuse` makes a line safe to print."""
        self._width = max(map(len, names), default=0)
        self._lock = Lock()
        self._stream, self._defuse = stream, defuse
        self._writers: dict[str, PlainProgress] = {}

    def __call__(self, name: str, event: Event) -> None:
        """Write an event of an image; without a name, it has no prefix."""
        with self._lock:
            if name not in self._writers:
                self._width = max(self._width, len(name))
                label = f"{name:<{self._width}} | " if name else ""
                self._writers[name] = PlainProgress(self._stream, label, self._defuse)
            self._writers[name](event)


class FoldedProgress:
    """Writes the lines of builds into a folded section of a CI job's log, below the first notes."""

    def __init__(
        self, stream: TextIO, log: JobLog, failures: Failures, title: str, names: Sequence[str] = ()
    ) -> None:
        """Give the section a title; the names are the images, as far as they are known."""
        self._stream, self._log, self._failures, self._title = stream, log, failures, title
        self._lines = BatchProgress(stream, names, log.defuse)
        self._lock = Lock()
        self._begun = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            if self._begun:
                self._print((*self._log.mark("resume"), *self._log.mark("end")))

    def __call__(self, event: Event, label: str = "") -> None:
        """Write an event of a build; the label is its image, if there are several."""
        with self._lock:
            # Notes before docker's output say what the build starts from, and whom it trusts.
            if not self._begun and not isinstance(event, Noted):
                self._begun = True
                self._print((*self._log.mark("begin", self._title), *self._log.mark("stop")))
            if not self._failures.take(event, label):
                self._lines(label, event)

    def _print(self, lines: Iterable[str]) -> None:
        for line in lines:
            print(line, file=self._stream, flush=True)


def render_batch(
    outcomes: Mapping[str, ImageOutcome],
    seconds: float,
    *,
    quiet: bool,
    what: str = IMAGES,
    explained: Container[str] = (),
) -> str:
    """Show each image's outcome below its name, then the totals; with `quiet`, only errors.

    The `explained` images have the errors of docker elsewhere.
    """
    lines = []
    for name, each in outcomes.items():
        if each.result is not None and not quiet:
            summary = render_summary(each.result).splitlines()
            lines += [f"{name}:", *(f"{_INDENT}{line}" for line in summary)]
        if each.error is not None and not (
            name in explained and isinstance(each.error, BuildFailedError)
        ):
            words = filter(None, str(each.error).splitlines())
            lines += [f"{name}: {show_text(line)}" for line in words]
    failed = sum(bool(each.exit_status) for each in outcomes.values())
    built = f"{len(outcomes) - failed} built{f', {failed} failed' if failed else ''}"
    count = format_count(len(outcomes), what)
    return "\n".join([*lines, f"{count}: {built}, in {format_seconds(seconds)}"])
