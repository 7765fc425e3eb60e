"""Where the reports of a build go: files that are named, and the summary page of a CI job."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bxcache.console.report.rendering import FORMS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bxcache.insight.report import Report
    from bxcache.result import BuildResult

SUMMARY = "GITHUB_STEP_SUMMARY"
"""The variable that names the file of GitHub's summary page."""


def check_files(
    _context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[Path, ...]:
    """The files that reports are to be written to.

    Raises:
        click.BadParameter: one has a suffix that says nothing, or cannot be written.
    """
    paths = tuple(map(Path, values))
    for path in paths:
        _check_file(path, parameter)
    return paths


def _check_file(path: Path, parameter: click.Parameter) -> None:
    if _name_form(path) not in FORMS:
        known = ", ".join(f"`.{form}`" for form in FORMS)
        raise click.BadParameter(f"`{path}` has to end in one of {known}", param=parameter)
    existed = os.path.lexists(path)
    try:
        path.open("ab").close()
        if not existed:
            path.unlink()
    except OSError as error:
        why = f"`{path}` cannot be written: {error.strerror or error}"
        raise click.BadParameter(why, param=parameter) from error


def _name_form(path: Path) -> str:
    return path.suffix.removeprefix(".").lower()


def is_wanted(paths: Sequence[Path]) -> bool:
    """Whether a build is to leave any report."""
    return bool(paths or os.environ.get(SUMMARY))


def write_files(report: Report, paths: Iterable[Path]) -> None:
    """Write a report to each file, in the form that its suffix says.

    Raises:
        OSError: a file cannot be written.
    """
    from bxcache.console.report.rendering import render_report  # noqa: PLC0415  # with all forms

    for path in paths:
        text = render_report(report, _name_form(path))  # type: ignore[arg-type]  # it was checked
        path.write_text(text, encoding="utf-8")


def report_build(result: BuildResult, paths: Sequence[Path]) -> None:
    """Write the reports of a build that is over, and add to the summary page of its job.

    Raises:
        OSError: the build succeeded, and a file cannot be written.
    """
    if result.record is None or not is_wanted(paths):
        return
    from bxcache.insight.reporting import make_report  # noqa: PLC0415  # few builds are told of

    report = make_report((result.record, *result.earlier))
    add_summary(report)
    try:
        write_files(report, paths)
    except OSError as error:
        if not result.exit_status:
            raise
        click.echo(f"warning: the report `{error.filename}` was not written: {error}", err=True)


def add_summary(report: Report) -> None:
    """Add a report to the summary page of the job; nowhere but on GitHub Actions there is one."""
    place = os.environ.get(SUMMARY)
    if not place:
        return
    from bxcache.console.report.rendering import render_report  # noqa: PLC0415

    try:
        with Path(place).open("a", encoding="utf-8") as file:
            file.write(f"{render_report(report, 'md')}\n")
    except OSError as error:
        click.echo(f"warning: the summary page was not written: {error}", err=True)
