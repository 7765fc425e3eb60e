"""`bxcache report`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bxcache.cli.completion import complete_scopes, complete_stages
from bxcache.cli.job_log import find_job_log, say
from bxcache.cli.options import CONFIG, JSON
from bxcache.cli.report_files import check_alone, check_files, check_trace, write_files

if TYPE_CHECKING:
    from bxcache.insight.find import HistoryRequest


@click.command("report", short_help="Tell of a past build: time, hits, layers.")
@click.argument("name", required=False, shell_complete=complete_scopes)
@click.option(
    "-o",
    "--output",
    "outputs",
    multiple=True,
    callback=check_files,
    metavar="FILE",
    help="Write it to a file that ends in .json, .md or .html, and print nothing; can be repeated.",
)
@click.option(
    "--trace",
    callback=check_trace,
    metavar="FILE",
    help="Write it to a file as a trace for Perfetto, and print nothing.",
)
@click.option("--platform", metavar="NAME", help="Only what was built for this one.")
@click.option(
    "--target",
    shell_complete=complete_stages,
    metavar="STAGE",
    help="The stage that was built, if not the last.",
)
@click.option("--branch", metavar="NAME", help="The branch, if it is not what CI or git say.")
@click.option(
    "--from",
    "source",
    metavar="DIR|REF",
    help="A store, or a registry's repository. Default: the backends of the configuration.",
)
@JSON
@CONFIG
def report_command(  # noqa: PLR0913  # click gives each option by itself
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
    """Tell of a past build: its time, what was reused and saved, its slowest steps, and its layers.

    NAME is an image or a scope; `~1` behind it, or alone, is the build before the last one. Without
    NAME it is the last build in this directory, whatever was built. Builds that failed count too.
    """
    from bxcache.insight.find import HistoryRequest  # noqa: PLC0415

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
    from bxcache.console.report.plain import render_plain  # noqa: PLC0415
    from bxcache.console.report.rendering import render_report  # noqa: PLC0415
    from bxcache.console.tables import defuse_json  # noqa: PLC0415
    from bxcache.insight.find import find_report  # noqa: PLC0415

    report = find_report(request)
    write_files(report, outputs, trace)
    if as_json:
        click.echo(defuse_json(render_report(report, "json")), nl=False)
    elif not outputs and trace is None:
        say(render_plain(report), find_job_log(), err=False)
