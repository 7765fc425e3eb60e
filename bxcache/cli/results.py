"""The results of builds as text or JSON, and their notes for a CI job."""

from __future__ import annotations

import sys
from itertools import chain
from typing import TYPE_CHECKING

import click

from bxcache.cli.job_log import find_job_log, say
from bxcache.cli.progress import QUIET, is_shown
from bxcache.console.progress import QuietProgress, shows_colors
from bxcache.console.summary import render_summary
from bxcache.console.tables import render_document

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bxcache.errors import BxcacheError
    from bxcache.pipeline.result import BuildResult


def print_result(
    result: BuildResult, observer: object, *, quiet: bool, as_json: bool
) -> Sequence[str]:
    """Print the result of a build, and return what docker said that nothing has shown so far."""
    said = observer.said if isinstance(observer, QuietProgress) else []
    if isinstance(observer, QuietProgress) and result.exit_status:
        say("\n".join(said))
    if as_json:
        click.echo(render_document(result.to_dict()))
    elif quiet and result.digest:
        click.echo(result.digest)
    # If nothing began, docker's error is all that there is to say.
    if not quiet and (result.steps or not result.exit_status):
        say(render_summary(result, colored=shows_colors(sys.stderr)))
    return said


def print_layers(result: BuildResult) -> None:
    """Print the layers of every stage."""
    from bxcache.console.history import render_history  # noqa: PLC0415  # few ask for layers
    from bxcache.insight.history import History  # noqa: PLC0415  # the same

    stages = tuple(result.stages.values())
    place = ", ".join(cache.place for cache in result.caches if cache.is_kept) or "no cache"
    scope = result.record.scope.name if result.record is not None else ""
    history = History(scope, place, record=result.record, stages=stages)
    say(render_history(history, stages, chain=False, full=False, places=False), err=False)


def note_unknown(results: Iterable[BuildResult]) -> None:
    """Note once why the printed layers are unknown, if they are."""
    whys = (each.record.why_unknown for each in results if each.record is not None)
    for why in dict.fromkeys(filter(None, whys)):
        say(f"note: the layers are not known: {why}")


def print_warnings(mode: str, result: BuildResult, name: str | None = None) -> None:
    """Print the warnings of a finished build, if its progress did not show them or folded them."""
    shown, log = is_shown(mode), find_job_log()
    if mode == QUIET or (shown and not (log is not None and log.folds)):
        return
    # The summary mentions BuildKit's warnings, which were printed before.
    built = () if shown or result.record is None else result.record.build_warnings
    gates = (str(each) for each in result.gates if not each.fails)
    head = "warning:" if name is None else f"{name}: warning:"
    for text in dict.fromkeys(chain(built, result.warnings, gates)):
        say(f"{head} {text}")


def annotate(
    result: BuildResult, error: BxcacheError | None, words: Sequence[str], name: str = ""
) -> None:
    """Annotate a CI job with the failed gates, the failed steps with docker's last `words`, and why
    steps were executed.

    The name is the image's, if there are several.
    """
    log = find_job_log()
    if log is None:
        return
    from bxcache.console import annotations  # noqa: PLC0415  # only a CI job needs it

    why = error.message if error is not None else ""
    gates = annotations.annotate_gates(result.gates, name)
    failures = annotations.annotate_failure(result, why, words, name)
    misses = annotations.annotate_misses(result, name)
    for line in annotations.render_annotations((*gates, *failures, *misses), log.provider):
        click.echo(line, err=True)
