"""Output for a CI job: its own syntax for warnings and annotations, and no accidental commands."""

from __future__ import annotations

import os
from itertools import chain
from typing import TYPE_CHECKING

import click

from bxcache.cli.progress import QUIET, is_shown
from bxcache.console.job_log import JobLog
from bxcache.console.tables import show_line
from bxcache.place.providers import name_providers
from bxcache.place.variables import Variables

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bxcache.pipeline.result import BuildResult


def find_job_log() -> JobLog | None:
    """The log of the current CI job; None outside of CI."""
    variables = Variables(os.environ)
    provider = next(iter(name_providers(variables)), None)
    return JobLog(provider) if provider or variables.is_on("CI") else None


def say(text: str, log: JobLog | None, *, err: bool = True) -> None:
    """Print untrusted text without its control characters and without commands to a CI job."""
    show = show_line if log is None else log.defuse
    click.echo("\n".join(map(show, text.split("\n"))), err=err)


def print_warnings(mode: str, log: JobLog | None, result: BuildResult, name: str = "") -> None:
    """Print the warnings of a finished build, if they were not shown or are folded.

    Args:
        mode: how progress was shown.
        log: the log of the CI job, if any.
        result: the result of the build.
        name: the image, if there are several.
    """
    shown, folded = is_shown(mode), log is not None and log.folds
    if mode == QUIET or (shown and not folded):
        return
    head = f"{name}: warning:" if name else "warning:"
    for text in dict.fromkeys(_list_warnings(result, with_builds=not shown)):
        say(f"{head} {text}", log)


def _list_warnings(result: BuildResult, *, with_builds: bool) -> Iterator[str]:
    # The summary mentions BuildKit's warnings, which were printed before.
    built = result.record.build_warnings if with_builds and result.record is not None else ()
    gates = (str(each) for each in result.gates if not each.fails)
    return chain(built, result.warnings, gates)


def annotate(
    log: JobLog | None,
    result: BuildResult,
    error: str = "",
    words: Sequence[str] = (),
    name: str = "",
) -> None:
    """Annotate a CI job with the failed gates and the failed steps.

    Args:
        log: the log of the CI job, if any.
        result: the result of the build.
        error: why the build failed, if it did.
        words: the last lines that docker printed.
        name: the image, if there are several.
    """
    if log is None:
        return
    from bxcache.console.annotations import (  # noqa: PLC0415  # only a CI job needs it
        annotate_failure,
        annotate_gates,
        render_annotations,
    )

    notes = (
        *annotate_gates(result.gates, name),
        *annotate_failure(result, error, words, name),
    )
    for line in render_annotations(notes, log.provider):
        click.echo(line, err=True)
