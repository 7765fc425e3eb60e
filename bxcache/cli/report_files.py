"""The files for reports and traces, and the summary page of a CI job."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bxcache.cli.destinations import check_destination, open_destination
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

https://opentelemetry.io/docs/specs/otel/context/env-carriers/
"""


def to_report_file(text: str) -> Path:
    """The type of an option that names a file for a report.

    Raises:
        click.BadParameter: the file has an unknown suffix, or cannot be written.
    """
    if _name_form(Path(text)) not in FORMS:
        known = ", ".join(f"`.{form}`" for form in FORMS)
        raise click.BadParameter(f"`{Path(text)}` must end in one of {known}")
    return to_file(text)


def to_file(text: str | Path) -> Path:
    """The type of an option that names a file to write.

    Raises:
        click.BadParameter: the file cannot be written.
    """
    from bxcache.store.surroundings import find_store  # noqa: PLC0415  # help needs none of it

    path = Path(text)
    # `check_outside` refuses a file in a store; until then it stays untouched.
    if find_store(path) is None:
        try:
            check_destination(path)
        except OSError as error:
            why = f"`{path}` cannot be written: {error.strerror or error}"
            raise click.BadParameter(why) from error
    return path


def check_outside(paths: Iterable[Path]) -> None:
    """Refuse to write files into a store.

    Raises:
        ConfigError: a file is inside a store.
    """
    named = [*paths]
    if named:
        from bxcache.pipeline.destinations import Destination, check_destinations  # noqa: PLC0415  # few

        check_destinations(Destination("", path) for path in named)


def check_alone(paths: Iterable[Path | None]) -> None:
    """Refuse to write one file twice, or a file into a store.

    Raises:
        click.UsageError: two of the paths are the same file.
        ConfigError: a file is inside a store.
    """
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

    Args:
        report: the report.
        paths: the files for reports.
        trace: the file for the trace.
        traceparent: the enclosing trace and span, if any.

    Raises:
        OSError: a file cannot be written, which the error names; the others are written.
    """
    from bxcache.console.report.trace_events import render_trace  # noqa: PLC0415  # only `--trace` needs it

    troubles = [
        _try_writing(path, render_report(report, _name_form(path)))  # type: ignore[arg-type]  # it was checked
        for path in paths
    ]
    if trace is not None:
        troubles.append(_try_writing(trace, render_trace(report, traceparent)))
    for error in filter(None, troubles):
        raise error


def _try_writing(path: Path, text: str) -> OSError | None:
    """Write a file; return the error, with the file's name, if that fails."""
    try:
        with open_destination(path) as file:
            file.write(text)
    except OSError as error:
        # The error of a full disk does not name the file.
        error.filename = error.filename or str(path)
        return error
    return None


def report_build(result: BuildResult, paths: Sequence[Path], trace: Path | None = None) -> None:
    """Write the reports of a finished build, and add one to the summary page of the CI job.

    Args:
        result: the result of the build.
        paths: the files for reports.
        trace: the file for the trace, which belongs to the trace that the environment names.

    Raises:
        StoreError: the build succeeded but a file cannot be written; the others are written.
    """
    report = result.report if trace or is_wanted(paths) else None
    if report is None:
        return
    add_summary(report)
    try:
        write_files(report, paths, trace, os.environ.get(TRACEPARENT, ""))
    except OSError as error:
        why = f"the file `{error.filename}` was not written: {error.strerror or error}"
        if not result.exit_status:
            hint = "`bxcache report` writes files of a past build"
            raise StoreError(f"the build is done, but {why}", hint=hint) from error
        click.echo(f"warning: {why}", err=True)


def add_summary(report: Report) -> None:
    """Add a report to the summary page of the job, which only GitHub Actions has."""
    place = os.environ.get(SUMMARY)
    if not place:
        return
    try:
        with Path(place).open("a", encoding="utf-8") as file:
            file.write(f"{render_report(report, 'md')}\n")
    except OSError as error:
        click.echo(f"warning: the summary page was not written: {error}", err=True)
