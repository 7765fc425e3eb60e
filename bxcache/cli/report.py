"""`bxcache report`."""

from __future__ import annotations

import click

from bxcache.cli.commands import deferred
from bxcache.cli.completion import complete_scopes
from bxcache.cli.options import BRANCH, CONFIG, JSON, PLATFORM, TARGET, repeated
from bxcache.cli.report_files import to_file, to_report_file


@click.command("report")
@click.argument("name", required=False, shell_complete=complete_scopes)
@repeated(
    "-o",
    "--output",
    "outputs",
    type=to_report_file,
    metavar="FILE",
    help="Write the report to a .json, .md or .html file and print nothing; can be repeated.",
)
@click.option(
    "--trace",
    type=to_file,
    metavar="FILE",
    help="Write the build to a file as a trace for Perfetto and print nothing.",
)
@PLATFORM
@TARGET
@BRANCH
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
