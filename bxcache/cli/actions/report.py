"""`bxcache report`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from bxcache.cli.files import check_alone, write_files
from bxcache.cli.job_log import say
from bxcache.console.report.plain import render_plain
from bxcache.console.report.rendering import render_report
from bxcache.console.tables import defuse_json
from bxcache.insight.find import find_report
from bxcache.insight.request import HistoryRequest

if TYPE_CHECKING:
    from pathlib import Path


def show_report(
    name: str | None,
    *,
    outputs: tuple[Path, ...],
    trace: Path | None,
    as_json: bool,
    **given: Any,  # noqa: ANN401  # click's options
) -> None:
    """Print the report of a past build, or write it to files."""
    check_alone((*outputs, trace))
    report = find_report(HistoryRequest.of(name, **given))
    write_files(report, outputs, trace)
    if as_json:
        click.echo(defuse_json(render_report(report, "json")), nl=False)
    elif not outputs and trace is None:
        say(render_plain(report), err=False)
