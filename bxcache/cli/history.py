"""`bxcache history` and `bxcache diff`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from bxcache.cli.commands import deferred
from bxcache.cli.completion import complete_kept_stages, complete_scopes, complete_stages
from bxcache.cli.options import CONFIG, JSON

if TYPE_CHECKING:
    from collections.abc import Callable


_OPTIONS = (
    click.option(
        "--stage",
        "stages",
        multiple=True,
        shell_complete=complete_kept_stages,
        metavar="NAME",
        help="Show only this stage; can be repeated.",
    ),
    click.option("--platform", metavar="NAME", help="Show only this platform."),
    click.option(
        "--target",
        shell_complete=complete_stages,
        metavar="STAGE",
        help="The stage that was built, if not the last.",
    ),
    click.option(
        "--branch", metavar="NAME", help="The branch, if not the one that CI or git reports."
    ),
    click.option(
        "--from",
        "source",
        metavar="DIR|REF",
        help="A store, a directory that buildx exported to, or a registry's repository. "
        "Default: the backends of the configuration.",
    ),
    click.option("--no-trunc", "full", is_flag=True, help="Do not truncate the output."),
    JSON,
    CONFIG,
)


def _with_options(function: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


@click.command("history")
@click.argument("name", required=False, shell_complete=complete_scopes)
@_with_options
@click.option("--chain", is_flag=True, help="Also show what each stage builds on.")
@click.option("-q", "--quiet", is_flag=True, help="Print the digests of the layers only.")
@click.option("--blobs", "places", is_flag=True, help="Show where each layer is stored.")
@click.option(
    "--export",
    "folder",
    metavar="DIR",
    help="Write the files of the --stage from the cache to DIR and print nothing.",
)
@click.pass_obj
@deferred("history:show_history")
def history_command() -> None:
    """Show the layers of each stage after the last build, and the steps that made them.

    NAME is an image or a scope; `~1` after it, or alone, is the build before the last one. The
    default is the last build in this directory, of any image. With --export, arguments after `--`
    are passed to docker; repeat those of the build.
    """


@click.command("diff")
@click.argument("before", default="~1", shell_complete=complete_scopes)
@click.argument("after", required=False, shell_complete=complete_scopes)
@_with_options
@deferred("history:show_difference")
def diff_command() -> None:
    """Compare the layers of two builds by stage, and show the steps behind those that differ.

    BEFORE and AFTER are names as for `bxcache history`. By default, the build before the last one
    is compared with the last one.
    """
