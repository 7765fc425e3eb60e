"""`bxcache report`."""

from __future__ import annotations

import click

from bxcache.cli.commands import deferred
from bxcache.cli.completion import complete_scopes, complete_stages
from bxcache.cli.options import CONFIG, JSON
from bxcache.cli.report_files import check_files, check_trace


@click.command("report")
@click.argument("name", required=False, shell_complete=complete_scopes)
@click.option(
    "-o",
    "--output",
    "outputs",
    multiple=True,
    callback=check_files,
    metavar="FILE",
    help="Write the report to a .json, .md or .html file and print nothing; can be repeated.",
)
@click.option(
    "--trace",
    callback=check_trace,
    metavar="FILE",
    help="Write the build to a file as a trace for Perfetto and print nothing.",
)
@click.option("--platform", metavar="NAME", help="Show only this platform.")
@click.option(
    "--target",
    shell_complete=complete_stages,
    metavar="STAGE",
    help="The stage that was built, if not the last.",
)
@click.option("--branch", metavar="NAME", help="The branch, if not the one that CI or git reports.")
@click.option(
    "--from",
    "source",
    metavar="DIR|REF",
    help="A store, or a registry's repository. Default: the backends of the configuration.",
)
@JSON
@CONFIG
@deferred("report:show_report")
def report_command() -> None:
    """Report on a past build: time, reused steps, time saved, slowest steps and layers.

    NAME is an image or a scope; `~1` after it, or alone, is the build before the last one. The
    default is the last build in this directory, of any image. Failed builds count too.
    """
