"""`bxcache report`."""

from __future__ import annotations

from pathlib import Path

import click

from bxcache.cli.job_log import find_job_log, say
from bxcache.cli.report_files import check_alone, write_files
from bxcache.console.report.plain import render_plain
from bxcache.console.report.rendering import render_report
from bxcache.console.tables import defuse_json
from bxcache.insight.find import HistoryRequest, find_report


def show_report(  # noqa: PLR0913  # click gives each option by itself
    *,
    name: str | None,
    outputs: tuple[Path, ...],
    trace: Path | None,
    platform: str | None,
    target: str | None,
    branch: str | None,
    source: str | None,
    as_json: bool,
    config_file: str | None,
) -> None:
    """Print the report of a past build, or write it to files."""
    check_alone((*outputs, trace))
    file = Path(config_file) if config_file else None
    _tell(
        HistoryRequest(
            name=name,
            source=source,
            target=target,
            branch=branch,
            platform=platform,
            config_file=file,
        ),
        outputs,
        trace,
        as_json=as_json,
    )


def _tell(
    request: HistoryRequest, outputs: tuple[Path, ...], trace: Path | None, *, as_json: bool
) -> None:
    report = find_report(request)
    write_files(report, outputs, trace)
    if as_json:
        click.echo(defuse_json(render_report(report, "json")), nl=False)
    elif not outputs and trace is None:
        say(render_plain(report), find_job_log(), err=False)
