"""Destinations of a build's events: a terminal, plain lines, a file."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING, TextIO

import click

from bxcache.cli.files import open_destination
from bxcache.console.progress import DocumentLog, PlainProgress, QuietProgress, RawProgress
from bxcache.place.statement import Variables

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from bxcache.buildx.stream.events import Event, Observer
    from bxcache.console.batch import FoldedProgress
    from bxcache.console.failures import Failures
    from bxcache.console.job_log import JobLog
    from bxcache.console.live import LiveProgress
    from bxcache.pipeline.batch import ImageObserver

QUIET = "quiet"
_SILENT = (QUIET, "none")
_MOST_LINES = 20
"""How many lines of a failed step's log are shown again at the end."""


def open_progress(
    mode: str, log: JobLog | None, failures: Failures
) -> AbstractContextManager[Observer]:
    """Show the progress of a build in the mode of `--progress`."""
    view = _choose_view(mode, log, failures, "docker buildx build")
    if view is not None:
        return view
    if mode == "rawjson":
        return nullcontext(_open_raw(log))
    if mode in _SILENT:
        return nullcontext(QuietProgress())
    plain = PlainProgress(sys.stderr)
    return nullcontext(lambda event: None if failures.take(event) else plain(event))


@contextmanager
def open_batch_progress(
    mode: str, log: JobLog | None, failures: Failures, title: str, names: Sequence[str] = ()
) -> Iterator[ImageObserver]:
    """Show the progress of several builds in one view."""
    view = _choose_view(mode, log, failures, title, names)
    if view is not None:
        with view:
            yield lambda name, event: view(event, name)
    elif mode == "rawjson":
        raw = _open_raw(log)
        yield lambda _, event: raw(event)
    elif mode in _SILENT:
        yield lambda *_: None
    else:
        from bxcache.console.batch import BatchProgress  # noqa: PLC0415  # only several need it

        lines = BatchProgress(sys.stderr, names)
        yield lambda name, event: None if failures.take(event, name) else lines(name, event)


def open_failures(mode: str, log: JobLog | None) -> Failures:
    """Keep what shows why steps fail, to print it last."""
    from bxcache.console.failures import Failures  # noqa: PLC0415  # only a build needs it

    # A live view hid the logs, and a CI job folded them: all of them is printed there.
    return Failures(sys.stderr, log, None if log is not None or _is_drawn(mode) else _MOST_LINES)


def _open_raw(log: JobLog | None) -> RawProgress:
    return RawProgress(sys.stderr, log.defuse if log is not None else None)


def _choose_view(
    mode: str, log: JobLog | None, failures: Failures, title: str, names: Sequence[str] = ()
) -> LiveProgress | FoldedProgress | None:
    """A view that must be closed; None for plain lines or no output."""
    if _is_drawn(mode):
        from bxcache.console.live import LiveProgress  # noqa: PLC0415  # only a terminal needs it

        return LiveProgress(sys.stderr, failures)
    if log is None or not is_shown(mode):
        return None
    from bxcache.console.batch import FoldedProgress  # noqa: PLC0415  # only a CI job needs it

    return FoldedProgress(sys.stderr, log, failures, title, names)


def _is_drawn(mode: str) -> bool:
    return (mode == "tty" and sys.stderr.isatty()) or (mode == "auto" and is_live(sys.stderr))


def is_shown(mode: str) -> bool:
    """Whether progress is shown to a person."""
    return mode not in ("rawjson", *_SILENT)


def is_live(stream: TextIO) -> bool:
    """Whether the stream is a terminal that supports drawing, outside of CI."""
    is_drawn = stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    return is_drawn and not Variables(os.environ).is_on("CI")


@contextmanager
def open_log(path: Path | None) -> Iterator[Observer]:
    """An observer that writes BuildKit's stream to a file, if one is named, until that fails.

    A file that cannot be opened is a `click.UsageError`; later trouble with it is reported at the
    end, after the live view.
    """
    if path is None:
        yield lambda _: None
        return
    try:
        file = open_destination(path)
    except OSError as error:
        raise click.UsageError(f"`--log {path}` cannot be written: {error.strerror}") from error
    troubles: list[OSError] = []
    write = DocumentLog(file)

    def keep(event: Event) -> None:
        # The build goes on without its log.
        if not troubles:
            try:
                write(event)
            except OSError as error:
                troubles.append(error)

    try:
        yield keep
    finally:
        try:
            file.close()
        except OSError as error:
            troubles.append(error)
        if troubles:
            why = troubles[0].strerror or troubles[0]
            click.echo(f"warning: the log `{path}` is incomplete: {why}", err=True)


@contextmanager
def open_logs(paths: Mapping[str, Path | None]) -> Iterator[ImageObserver]:
    """An observer of several images, each with its own file, or with the one without a name."""
    with ExitStack() as stack:
        logs = {name: stack.enter_context(open_log(path)) for name, path in paths.items()}
        last = logs.get("", lambda _: None)
        yield lambda name, event: logs.get(name, last)(event)
