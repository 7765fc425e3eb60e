"""The results of several builds as text, documents and files."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from bxcache.cli.actions.request import choose_mode
from bxcache.cli.image_files import ImageFiles
from bxcache.cli.job_log import annotate, print_warnings, say
from bxcache.cli.progress import QUIET
from bxcache.cli.report_files import report_build
from bxcache.cli.results import print_layers
from bxcache.console.batch import describe_batch, render_batch
from bxcache.console.tables import render_document
from bxcache.errors import StoppedError, StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bxcache.console.failures import Failures
    from bxcache.console.job_log import JobLog
    from bxcache.pipeline.result import BuildResult, ImageOutcome

_NONE = ImageFiles()


@dataclass(frozen=True, slots=True)
class Outcomes:
    """The results of several builds.

    Attributes:
        what: images or targets.
        each: the outcome of each, by name.
        seconds: how long all the builds took.
        files: the output files of each, by name.
    """

    what: str
    each: Mapping[str, ImageOutcome]
    seconds: float
    files: Mapping[str, ImageFiles] = field(default_factory=dict)


def print_outcomes(
    outcomes: Outcomes, values: dict[str, Any], log: JobLog | None, failures: Failures
) -> None:
    """Print the results of several builds, and write the reports of each.

    Args:
        outcomes: the results.
        values: the command's options.
        log: the log of the CI job, if any.
        failures: the failures to print afterwards.

    Raises:
        StoreError: a file of a successful build cannot be written; everything else is done.
    """
    mode = choose_mode(values)
    quiet = mode == QUIET
    if values["as_json"]:
        click.echo(render_document(describe_batch(outcomes.each, outcomes.what)))
    elif quiet:
        _print_digests(outcomes)
    if not any(each.exit_status for each in outcomes.each.values()):
        failures.forgive()
    trouble: StoreError | None = None
    for name, outcome in outcomes.each.items():
        if not outcome.exit_status:
            failures.forgive(name)
        if outcome.result is not None:
            trouble = _leave_files(name, outcome.result, outcomes, values, log) or trouble
    for name, outcome in outcomes.each.items():
        if outcome.result is not None:
            print_warnings(mode, log, outcome.result, name)
    say(render_batch(outcomes.each, outcomes.seconds, quiet=quiet, what=outcomes.what), log)
    _annotate_all(outcomes, log, failures)
    if trouble is not None:
        raise trouble


def _print_digests(outcomes: Outcomes) -> None:
    for name, each in outcomes.each.items():
        if each.result is not None and each.result.digest and not each.exit_status:
            click.echo(f"{name} {each.result.digest}")


def _leave_files(
    name: str,
    result: BuildResult,
    outcomes: Outcomes,
    values: dict[str, Any],
    log: JobLog | None,
) -> StoreError | None:
    """Print the layers and write the reports of a build; return the error if that fails."""
    if values["layers"]:
        print_layers(result, log)
    files = outcomes.files.get(name, _NONE)
    try:
        report_build(result, files.reports, files.trace)
    except StoreError as error:
        return error
    return None


def _annotate_all(outcomes: Outcomes, log: JobLog | None, failures: Failures) -> None:
    for name, each in outcomes.each.items():
        # A build that was stopped needs no annotation.
        if each.result is not None and not isinstance(each.error, StoppedError):
            error = each.error.message if each.error is not None else ""
            annotate(log, each.result, error, failures.list_words(name), name)
