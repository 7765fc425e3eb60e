"""The files that a caller names: reports, traces and logs; and the summary page of a CI job."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from bxcache.console.report.rendering import FORMS, render_report
from bxcache.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bxcache.insight.report import Report
    from bxcache.pipeline.result import BuildResult

SUMMARY = "GITHUB_STEP_SUMMARY"
"""The variable that names the file of GitHub's summary page."""

TRACEPARENT = "TRACEPARENT"
"""The variable that names the enclosing trace and span; buildx reads it too.
https://opentelemetry.io/docs/specs/otel/context/env-carriers/"""

_LINK = "it is a link, and bxcache does not write through links"
_STREAMS = (Path("/dev"), Path("/dev/fd"), Path("/proc/self/fd"))
"""Directories whose links belong to the system, such as /dev/stderr."""


def to_report_file(text: str) -> Path:
    """The type of an option that names a file for a report, whose suffix must be known."""
    if _name_form(Path(text)) not in FORMS:
        known = ", ".join(f"`.{form}`" for form in FORMS)
        raise click.BadParameter(f"`{Path(text)}` must end in one of {known}")
    return to_file(text)


def to_file(text: str | Path) -> Path:
    """The type of an option that names a file to write, which stays unchanged."""
    from bxcache.store.directory import find_store  # noqa: PLC0415  # help needs none of it

    path = Path(text)
    # `check_outside` refuses a file in a store; until then it stays untouched.
    if find_store(path) is None:
        existed = os.path.lexists(path)
        try:
            os.close(_open(path, os.O_CREAT | os.O_APPEND))
            if not existed:
                path.unlink()
        except OSError as error:
            why = f"`{path}` cannot be written: {error.strerror or error}"
            raise click.BadParameter(why) from error
    return path


def open_destination(path: Path) -> TextIO:
    """Create or empty a file, and open it for text.

    The author of the checkout may have placed a link there. It is followed only to something
    without content to lose, such as a terminal; any other link is an OSError.
    """
    handle = _open(path, os.O_CREAT | os.O_TRUNC)
    return os.fdopen(handle, "w", encoding="utf-8", errors="replace")


def _open(path: Path, flags: int) -> int:
    plain = os.O_WRONLY | os.O_CLOEXEC
    follow = 0 if path.parent in _STREAMS else os.O_NOFOLLOW
    try:
        return os.open(path, plain | flags | follow, 0o666)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
    refused = OSError(errno.ELOOP, _LINK, str(path))
    try:
        handle = os.open(path, plain)
    except OSError as error:
        raise refused from error
    mode = os.fstat(handle).st_mode
    if not (stat.S_ISCHR(mode) or stat.S_ISFIFO(mode)):
        os.close(handle)
        raise refused
    return handle


def check_outside(paths: Iterable[Path]) -> None:
    """Refuse to write files into a store, with a `ConfigError`."""
    named = [*paths]
    if named:
        from bxcache.pipeline.destinations import Destination, check_destinations  # noqa: PLC0415  # few

        check_destinations(Destination("", path) for path in named)


def check_alone(paths: Iterable[Path | None]) -> None:
    """Refuse to write one file twice, with a `click.UsageError`, or a file into a store."""
    known: set[str] = set()
    named = [*filter(None, paths)]
    check_outside(named)
    for path in named:
        real = os.path.realpath(path)
        if real in known:
            raise click.UsageError(f"`{path}` is given twice; use two file names")
        known.add(real)


def _name_form(path: Path) -> str:
    return path.suffix.removeprefix(".").lower()


def is_wanted(paths: Sequence[Path]) -> bool:
    """Whether a build must write a report."""
    return bool(paths or os.environ.get(SUMMARY))


def write_files(
    report: Report, paths: Iterable[Path], trace: Path | None = None, traceparent: str = ""
) -> None:
    """Write a report to each file, in the format of its suffix, and the trace.

    An OSError names the first file that cannot be written; the others are written.
    """
    texts = [(path, render_report(report, _name_form(path))) for path in paths]  # type: ignore[arg-type]  # it was checked
    if trace is not None:
        from bxcache.console.report.trace_events import render_trace  # noqa: PLC0415  # only here

        texts.append((trace, render_trace(report, traceparent)))
    trouble: OSError | None = None
    for path, text in texts:
        try:
            with open_destination(path) as file:
                file.write(text)
        except OSError as error:
            # The error of a full disk does not name the file.
            error.filename = error.filename or str(path)
            trouble = trouble or error
    if trouble is not None:
        raise trouble


def report_build(result: BuildResult, paths: Sequence[Path], trace: Path | None = None) -> None:
    """Write the reports of a finished build, and add one to the summary page of the CI job.

    All files are tried; a StoreError means that the build succeeded but one was not written.
    """
    report = result.report if trace or is_wanted(paths) else None
    if report is None:
        return
    _add_summary(report)
    try:
        write_files(report, paths, trace, os.environ.get(TRACEPARENT, ""))
    except OSError as error:
        why = f"the file `{error.filename}` was not written: {error.strerror or error}"
        if not result.exit_status:
            hint = "`bxcache report` writes files of a past build"
            raise StoreError(f"the build is done, but {why}", hint=hint) from error
        click.echo(f"warning: {why}", err=True)


def _add_summary(report: Report) -> None:
    """Add a report to the summary page of the job, which only GitHub Actions has."""
    place = os.environ.get(SUMMARY)
    if not place:
        return
    try:
        with Path(place).open("a", encoding="utf-8") as file:
            file.write(f"{render_report(report, 'md')}\n")
    except OSError as error:
        click.echo(f"warning: the summary page was not written: {error}", err=True)
