"""Text on stdout and stderr, which contains no accidental commands to a CI job."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any

import click

from bxcache.console.job_log import JobLog
from bxcache.console.tables import render_document, show_line
from bxcache.place.providers import name_providers
from bxcache.place.statement import Variables

if TYPE_CHECKING:
    from collections.abc import Callable


def find_job_log() -> JobLog | None:
    """The log of the current CI job; None outside of CI."""
    variables = Variables(os.environ)
    provider = next(iter(name_providers(variables)), None)
    return JobLog(provider) if provider or variables.is_on("CI") else None


def say(text: str, *, err: bool = True) -> None:
    """Print untrusted text without its control characters and without commands to a CI job."""
    log = find_job_log()
    show = show_line if log is None else log.defuse
    click.echo("\n".join(map(show, text.split("\n"))), err=err)


def show(
    describe: Callable[[], dict[str, Any]], render: Callable[[], str], *, as_json: bool
) -> None:
    """Print a document on stdout, or the untrusted text that says the same."""
    if as_json:
        click.echo(render_document(describe()))
    else:
        say(render(), err=False)


class _Printer(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        say(record.getMessage())


def print_library_log() -> None:
    """Print the library's log messages, such as what it is waiting for."""
    logger = logging.getLogger("bxcache")
    if not logger.handlers:
        logger.addHandler(_Printer())
