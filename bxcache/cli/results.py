"""The result of one image as text or JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from bxcache.cli.job_log import say
from bxcache.console.history import render_history
from bxcache.console.progress import QuietProgress
from bxcache.console.summary import describe_result, render_summary
from bxcache.console.tables import render_document
from bxcache.insight.history import History

if TYPE_CHECKING:
    from bxcache.console.job_log import JobLog
    from bxcache.pipeline.result import BuildResult


def print_result(
    result: BuildResult, observer: object, log: JobLog | None, *, quiet: bool, as_json: bool
) -> list[str]:
    """Print the result of a build, and return what docker said that nothing has shown so far."""
    said = observer.said if isinstance(observer, QuietProgress) else []
    if isinstance(observer, QuietProgress) and result.exit_status:
        say("\n".join(said), log)
    if as_json:
        click.echo(render_document(describe_result(result)))
    if quiet and not as_json and result.digest:
        click.echo(result.digest)
    if not quiet:
        say(render_summary(result), log)
    return said


def print_layers(result: BuildResult, log: JobLog | None) -> None:
    """Print the layers of every stage."""
    stages = tuple(result.stages.values())
    place = ", ".join(cache.place for cache in result.caches if cache.exported) or "no cache"
    scope = result.record.scope.name if result.record is not None else ""
    history = History(scope, place, record=result.record, stages=stages)
    say(render_history(history, stages, chain=False, full=False, places=False), log, err=False)
