"""`bxcache history`, `bxcache diff`, `bxcache explain` and `bxcache report`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from msgspec.structs import replace

from bxcache.cli.commands import find_extra
from bxcache.cli.files import check_alone, write_files
from bxcache.cli.job_log import say, show
from bxcache.console.history import render_digests, render_history
from bxcache.console.tables import defuse_json, show_text
from bxcache.insight.find import find_history, find_report
from bxcache.insight.history_request import HistoryRequest

if TYPE_CHECKING:
    from bxcache.insight.history import History


def show_history(  # noqa: PLR0913  # click gives each option by itself
    name: str | None,
    *,
    folder: str | None,
    chain: bool,
    quiet: bool,
    places: bool,
    full: bool,
    as_json: bool,
    stages: tuple[str, ...],
    **given: Any,  # noqa: ANN401  # click's options
) -> None:
    if quiet and as_json:
        raise click.UsageError("`--quiet` and `--json` exclude each other")
    if folder is not None and len(stages) != 1:
        raise click.UsageError("`--export` writes the files of one `--stage`")
    request = replace(HistoryRequest.of(name, **given), with_places=places)
    history = find_history(request)
    _print_notes(history)
    chosen = history.find_stages(stages)
    if folder is not None:
        from bxcache.console.progress import PlainProgress  # noqa: PLC0415  # only here
        from bxcache.pipeline.extract import extract_stage  # noqa: PLC0415  # the same

        stage, observe = chosen[0].name, PlainProgress(sys.stderr)
        result = extract_stage(
            request, history, stage, Path(folder), extra=find_extra(), observe=observe
        )
        done = f"{result.reused} steps reused, {result.executed} executed"
        click.echo(f"the files of the stage `{stage}` are in {folder}: {done}", err=True)
    elif quiet:
        digests = render_digests(history, chosen, chain=chain)
        click.echo(digests, nl=bool(digests))
    else:
        show(
            lambda: history.to_dict(*stages, chain=chain),
            lambda: render_history(history, chosen, chain=chain, full=full, places=places),
            as_json=as_json,
        )


def show_difference(
    before: str,
    after: str | None,
    *,
    full: bool,
    as_json: bool,
    stages: tuple[str, ...],
    **given: Any,  # noqa: ANN401  # click's options
) -> None:
    from bxcache.console.comparison import render_difference  # noqa: PLC0415  # only here
    from bxcache.insight.difference import find_difference  # noqa: PLC0415  # the same

    difference = find_difference(before, after, **given)
    _print_notes(difference.before, difference.after)
    chosen = difference.of_stages(stages)
    show(chosen.to_dict, lambda: render_difference(chosen, full=full), as_json=as_json)


def show_explanation(
    name: str | None,
    *,
    against: str | None,
    predictions: bool,
    full: bool,
    as_json: bool,
    **given: Any,  # noqa: ANN401  # click's options
) -> None:
    from bxcache.console.explanation import (  # noqa: PLC0415  # only here
        render_explanation,
        render_predictions,
    )
    from bxcache.insight.explanation import (  # noqa: PLC0415  # the same
        find_explanation,
        find_predictions,
    )

    if predictions:
        if against is not None:
            raise click.UsageError("`--predictions` and `--against` exclude each other")
        judged = find_predictions(name, **given)
        show(judged.to_dict, lambda: render_predictions(judged), as_json=as_json)
        return
    found = find_explanation(name, against, **given)
    show(found.to_dict, lambda: render_explanation(found, full=full), as_json=as_json)


def _print_notes(*histories: History) -> None:
    for note in dict.fromkeys(note for each in histories for note in each.notes):
        say(f"note: {show_text(note)}")


def show_report(
    name: str | None,
    *,
    outputs: tuple[Path, ...],
    trace: Path | None,
    as_json: bool,
    **given: Any,  # noqa: ANN401  # click's options
) -> None:
    from bxcache.console.report.plain import render_plain  # noqa: PLC0415  # only here
    from bxcache.console.report.rendering import render_report  # noqa: PLC0415  # the same

    check_alone((*outputs, trace))
    report = find_report(HistoryRequest.of(name, **given))
    write_files(report, outputs, trace)
    if as_json:
        click.echo(defuse_json(render_report(report, "json")), nl=False)
    elif not outputs and trace is None:
        say(render_plain(report), err=False)
