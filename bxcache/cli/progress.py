"""Where the events of a build go: a terminal, plain lines, a file."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, TextIO

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from bxcache.batch import ImageObserver
    from bxcache.buildx.events import Event
    from bxcache.console.failures import Failures
    from bxcache.console.folding import FoldedProgress
    from bxcache.console.job_log import JobLog
    from bxcache.console.live import LiveProgress
    from bxcache.console.progress import PlainProgress, QuietProgress, RawProgress

    View = LiveProgress | FoldedProgress
    Progress = View | PlainProgress | QuietProgress | RawProgress

BUILD, BAKE = "docker buildx build", "docker buildx bake"
"""What the section of a CI job's log is called."""
_SILENT = ("quiet", "none")


def open_failures(log: JobLog | None) -> Failures:
    """What tells of failures when all else is said."""
    from bxcache.console.failures import Failures  # noqa: PLC0415

    return Failures(sys.stderr, log)


@contextmanager
def open_progress(mode: str, log: JobLog | None, failures: Failures) -> Iterator[Progress]:
    """What shows the progress of a build, as `--progress` asks for it."""
    view = _choose_view(mode, log, failures, BUILD)
    if view is not None:
        with view:
            yield view
        return
    from bxcache.console.progress import (  # noqa: PLC0415
        PlainProgress,
        QuietProgress,
        RawProgress,
    )

    if mode == "rawjson":
        yield RawProgress(sys.stderr)
    elif mode in _SILENT:
        yield QuietProgress()
    else:
        yield PlainProgress(sys.stderr)


@contextmanager
def open_batch_progress(
    mode: str, log: JobLog | None, failures: Failures, title: str, names: Sequence[str] = ()
) -> Iterator[ImageObserver]:
    """What shows the progress of several builds, all of them in one view."""
    view = _choose_view(mode, log, failures, title, names)
    if view is not None:
        with view:
            yield lambda name, event: view(event, name)
        return
    from bxcache.console.batch import BatchProgress  # noqa: PLC0415
    from bxcache.console.progress import RawProgress  # noqa: PLC0415

    if mode == "rawjson":
        raw = RawProgress(sys.stderr)
        yield lambda _, event: raw(event)
        return
    yield BatchProgress(sys.stderr, names, quiet=mode in _SILENT)


def _choose_view(
    mode: str, log: JobLog | None, failures: Failures, title: str, names: Sequence[str] = ()
) -> View | None:
    """A view that has an end of its own; None where there are only lines, or nothing."""
    if (mode == "tty" and sys.stderr.isatty()) or (mode == "auto" and is_live(sys.stderr)):
        from bxcache.console.live import LiveProgress  # noqa: PLC0415  # only a terminal needs it

        return LiveProgress(sys.stderr, failures)
    if log is None or not is_shown(mode):
        return None
    from bxcache.console.folding import FoldedProgress  # noqa: PLC0415

    return FoldedProgress(sys.stderr, log, failures, title, names)


def is_shown(mode: str) -> bool:
    """Whether a person is to see what happens."""
    return mode not in ("rawjson", *_SILENT)


def is_live(stream: TextIO) -> bool:
    """Whether somebody looks at a terminal that can be drawn on."""
    return stream.isatty() and os.environ.get("TERM", "dumb") != "dumb" and "CI" not in os.environ


@contextmanager
def open_log(
    path: Path | None, observe: Callable[[Event], None]
) -> Iterator[Callable[[Event], None]]:
    """An observer that also keeps BuildKit's stream in a file, where one is named.

    Raises:
        click.UsageError: the file cannot be written.
    """
    if path is None:
        yield observe
        return
    from bxcache.console.progress import RawProgress  # noqa: PLC0415

    with _open_file(path) as file:
        keep = RawProgress(file)

        def tell(event: Event) -> None:
            keep(event)
            observe(event)

        yield tell


@contextmanager
def open_logs(paths: Mapping[str, Path | None], observe: ImageObserver) -> Iterator[ImageObserver]:
    """The same for several images, each of which has a file of its own.

    Raises:
        click.UsageError: a file cannot be written.
    """
    from bxcache.console.progress import RawProgress  # noqa: PLC0415

    with ExitStack() as stack:
        keepers = {
            name: RawProgress(stack.enter_context(_open_file(path)))
            for name, path in paths.items()
            if path is not None
        }

        def tell(name: str, event: Event) -> None:
            if name in keepers:
                keepers[name](event)
            observe(name, event)

        yield tell


def _open_file(path: Path) -> TextIO:
    try:
        return path.open("w", encoding="utf-8", errors="replace")
    except OSError as error:
        raise click.UsageError(f"`--log {path}` cannot be written: {error.strerror}") from error
