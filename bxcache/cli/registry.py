"""`bxcache registry`: ls, prune, rm."""

from __future__ import annotations

import click

from bxcache.cli import options
from bxcache.cli.commands import command
from bxcache.cli.completion import complete_recent_scopes

_REGISTRY = options.together(
    click.option(
        "--from",
        "ref",
        metavar="REPOSITORY",
        help="The repository. Default: those of the configuration.",
    ),
    options.flag("--insecure", help="Allow plain HTTP and unverified TLS to the --from one."),
    options.CONFIG,
)


@command("registry:list_scopes")
@_REGISTRY
@options.JSON
def ls_command() -> None:
    """List the scopes: branch, size, age, last use."""


@command("registry:prune")
@_REGISTRY
@click.option(
    "--max-age",
    type=options.AGE,
    metavar="AGE",
    help="Remove unused scopes of this age, as `30d`. Default: that of the configuration.",
)
@options.flag("--gone", help="Remove scopes whose branch or tag is gone from git.")
@click.option(
    "--remote",
    default="origin",
    show_default=True,
    metavar="NAME",
    help="The git remote to compare with: a name or a URL.",
)
@options.repeated(
    "--keep", metavar="PATTERN", help="A branch or scope to keep in any case, such as `release/*`."
)
@options.PREVIEW
@options.JSON
def prune_command() -> None:
    """Remove scopes by age, or those whose branch no longer exists in git.

    Only tags that bxcache has written are removed.
    """


@command("registry:remove")
@_REGISTRY
@click.argument(
    "scopes", nargs=-1, required=True, metavar="SCOPE…", shell_complete=complete_recent_scopes
)
@options.PREVIEW
@options.JSON
def rm_command() -> None:
    """Remove scopes, with the images of their stages.

    Only tags that bxcache has written are removed.
    """
