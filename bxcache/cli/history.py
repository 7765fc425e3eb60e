"""`bxcache history`, `diff`, `explain` and `report`: what past builds left."""

from __future__ import annotations

import click

from bxcache.cli import options
from bxcache.cli.commands import command
from bxcache.cli.completion import (
    complete_kept_stages,
    complete_scopes,
    complete_sources,
    complete_stages,
)
from bxcache.cli.files import to_file, to_report_file

_WHICH = options.together(
    click.option("--platform", metavar="NAME", help="Show only this platform."),
    click.option(
        "--target",
        shell_complete=complete_stages,
        metavar="STAGE",
        help="The stage that was built, if not the last.",
    ),
    options.BRANCH,
)
_SHARED = options.together(
    options.repeated(
        "--stage",
        "stages",
        shell_complete=complete_kept_stages,
        metavar="NAME",
        help="Show only this stage; can be repeated.",
    ),
    _WHICH,
    click.option(
        "--from",
        "source",
        metavar="DIR|REF",
        shell_complete=complete_sources,
        help="A store, a directory that buildx exported to, or a registry's repository. "
        "Default: the backends of the configuration.",
    ),
    options.flag("--no-trunc", "full", help="Do not truncate the output."),
    options.JSON,
    options.CONFIG,
)


FROM_RECORDS = click.option(
    "--from",
    "source",
    metavar="DIR|REF",
    shell_complete=complete_sources,
    help="A store, or a registry's repository. Default: the backends of the configuration.",
)


@command("history:show_history")
@click.argument("name", required=False, shell_complete=complete_scopes)
@_SHARED
@options.flag("--chain", help="Also show what each stage builds on.")
@options.flag("-q", "--quiet", help="Print the digests of the layers only.")
@options.flag("--blobs", "places", help="Show where each layer is stored.")
@click.option(
    "--export",
    "folder",
    metavar="DIR",
    help="Write the files of the --stage from the cache to DIR and print nothing.",
)
def history_command() -> None:
    """Show the layers of each stage after the last build, and the steps that made them.

    NAME is an image or a scope; `~1` after it, or alone, is the build before the last one. The
    default is the last build in this directory, of any image. With --export, arguments after `--`
    are passed to docker; repeat those of the build.
    """


@command("history:show_difference")
@click.argument("before", default="~1", shell_complete=complete_scopes)
@click.argument("after", required=False, shell_complete=complete_scopes)
@_SHARED
def diff_command() -> None:
    """Compare the layers of two builds by stage, and show the steps behind those that differ.

    BEFORE and AFTER are names as for `bxcache history`. By default, the build before the last one
    is compared with the last one.
    """


@command("history:show_explanation")
@click.argument("name", required=False, shell_complete=complete_scopes)
@click.option(
    "--against",
    metavar="NAME",
    shell_complete=complete_scopes,
    help="Compare with this build. Default: the one whose cache the build imported.",
)
@options.flag("--predictions", help="Show how well the last builds could be predicted instead.")
@_WHICH
@FROM_RECORDS
@options.flag("--no-trunc", "full", help="Do not truncate the output.")
@options.JSON
@options.CONFIG
def explain_command() -> None:
    """Explain why steps of a past build were executed: which file, argument or image changed.

    NAME is an image or a scope; `~1` after it, or alone, is the build before the last one. The
    default is the last build in this directory, of any image. Failed builds count too.
    """


@command("history:show_report")
@click.argument("name", required=False, shell_complete=complete_scopes)
@options.repeated(
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
@_WHICH
@FROM_RECORDS
@options.JSON
@options.CONFIG
def report_command() -> None:
    """Report on a past build: time, reused steps, time saved, slowest steps and layers.

    NAME is an image or a scope; `~1` after it, or alone, is the build before the last one. The
    default is the last build in this directory, of any image. Failed builds count too.
    """
