"""Destinations of a build's events: a terminal, plain lines, a file."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING, TextIO

import click

from bxcache.cli.destinations import open_destination
from bxcache.console.failures import Failures
from bxcache.console.progress import DocumentLog, PlainProgress, QuietProgress, RawProgress
from bxcache.place.variables import Variables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from bxcache.buildx.stream.events import Event
    from bxcache.console.batch import FoldedProgress
    from bxcache.console.job_log import JobLog
    from bxcache.console.live import LiveProgress
    from bxcache.pipeline.batch import ImageObserver

    View = LiveProgress | FoldedProgress
    Progress = View | PlainProgress | QuietProgress | RawProgress

BUILD, BAKE = "docker buildx build", "docker buildx bake"
"""Titles of the section in a CI job's log."""
QUIET = "quiet"
_SILENT = (QUIET, "none")


def open_failures(log: JobLog | None) -> Failures:
    """The failures, which are printed last."""
    return Failures(sys.stderr, log)


@contextmanager
def open_progress(mode: str, log: JobLog | None, failures: Failures) -> Iterator[Progress]:
    """Show the progress of a build in the mode of `--progress`."""
    view = _choose_view(mode, log, failures, BUILD)
    if view is not None:
        with view:
            yield view
        return
    if mode == "rawjson":
        yield RawProgress(sys.stderr, log.defuse if log is not None else None)
    elif mode in _SILENT:
        yield QuietProgress()
    else:
        yield PlainProgress(sys.stderr)


@contextmanager
def open_batch_progress(
    mode: str, log: JobLog | None, failures: Failures, title: str, names: Sequence[str] = ()
) -> Iterator[ImageObserver]:
    """Show the progress of several builds in one view."""
    view = _choose_view(mode, log, failures, title, names)
    if view is not None:
        with view:
            yield lambda name, event: view(event, name)
        return
    from bxcache.console.batch import BatchProgress  # noqa: PLC0415  # only several images need it

    if mode == "rawjson":
        raw = RawProgress(sys.stderr, log.defuse if log is not None else None)
        yield lambda _, event: raw(event)
        return
    if mode in _SILENT:
        yield lambda *_: None
        return
    yield BatchProgress(sys.stderr, names)


def _choose_view(
    mode: str, log: JobLog | None, failures: Failures, title: str, names: Sequence[str] = ()
) -> View | None:
    """A view that must be closed; None for plain lines or no output."""
    if (mode == "tty" and sys.stderr.isatty()) or (mode == "auto" and is_live(sys.stderr)):
        from bxcache.console.live import LiveProgress  # noqa: PLC0415  # only a terminal needs it

        return LiveProgress(sys.stderr, failures)
    if log is None or not is_shown(mode):
        return None
    from bxcache.console.batch import FoldedProgress  # noqa: PLC0415  # only a CI job needs it

    return FoldedProgress(sys.stderr, log, failures, title, names)


def is_shown(mode: str) -> bool:
    """Whether progress is shown to a person."""
    return mode not in ("rawjson", *_SILENT)


def is_live(stream: TextIO) -> bool:
    """Whether the stream is a terminal that supports drawing, outside of CI."""
    is_drawn = stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    return is_drawn and not Variables(os.environ).is_on("CI")


class KeptLog:
    """Writes BuildKit's stream to a file, until that fails."""

    def __init__(self, path: Path) -> None:
        """Create or empty the file.

        Raises:
            click.UsageError: the file cannot be written.
        """
        self._path, self._file = path, _open_file(path)
        self._write = DocumentLog(self._file)
        self._trouble: OSError | None = None

    def __call__(self, event: Event) -> None:
        """Write an event that is part of the stream."""
        if self._trouble is None:
            try:
                self._write(event)
            except OSError as error:
                # The build goes on.
                self._trouble = error

    def close(self) -> None:
        """Close the file, and warn if it is incomplete."""
        try:
            self._file.close()
        except OSError as error:
            self._trouble = self._trouble or error
        if self._trouble is not None:
            why = self._trouble.strerror or self._trouble
            click.echo(f"warning: the log `{self._path}` is incomplete: {why}", err=True)


@contextmanager
def open_log(path: Path | None) -> Iterator[Callable[[Event], None]]:
    """An observer that writes BuildKit's stream to a file, if one is named.

    Trouble with the file is reported at the end, after the live view.

    Raises:
        click.UsageError: the file cannot be written.
    """
    with open_logs({"": path}) as keep:
        yield lambda event: keep("", event)


@contextmanager
def open_logs(paths: Mapping[str, Path | None]) -> Iterator[ImageObserver]:
    """An observer of several images, each with its own file.

    Raises:
        click.UsageError: a file cannot be written.
    """
    with ExitStack() as stack:
        logs = {
            name: stack.enter_context(closing(KeptLog(path)))
            for name, path in paths.items()
            if path is not None
        }

        def keep(name: str, event: Event) -> None:
            if name in logs:
                logs[name](event)

        yield keep


def _open_file(path: Path) -> TextIO:
    try:
        return open_destination(path)
    except OSError as error:
        raise click.UsageError(f"`--log {path}` cannot be written: {error.strerror}") from error
