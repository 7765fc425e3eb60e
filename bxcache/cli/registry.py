"""`bxcache registry`: ls, prune."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from bxcache.cli.commands import deferred
from bxcache.cli.options import CONFIG, JSON, read_with

if TYPE_CHECKING:
    from collections.abc import Callable


_REF = click.option(
    "--ref", metavar="REPOSITORY", help="The repository. Default: those of the configuration."
)


_INSECURE = click.option(
    "--insecure", is_flag=True, help="Allow plain HTTP and unverified TLS to --ref."
)


def _with_registry(function: Callable[..., Any]) -> Callable[..., Any]:
    return _REF(_INSECURE(CONFIG(function)))


@click.command("ls")
@_with_registry
@JSON
@deferred("registry:list_scopes")
def ls_command() -> None:
    """List the scopes: branch, size, age, last use."""


@click.command("prune")
@_with_registry
@click.option(
    "--max-age",
    callback=read_with("parse_age"),
    metavar="AGE",
    help="Remove unused scopes of this age, as `30d`.",
)
@click.option("--gone", is_flag=True, help="Remove scopes whose branch or tag is gone from git.")
@click.option(
    "--remote",
    default="origin",
    show_default=True,
    metavar="NAME",
    help="The git remote to compare with: a name or a URL.",
)
@click.option(
    "--keep",
    multiple=True,
    metavar="PATTERN",
    help="A branch or scope to keep in any case, such as `release/*`.",
)
@click.option("--dry-run", is_flag=True, help="Only show what would be removed.")
@JSON
@deferred("registry:prune")
def prune_command() -> None:
    """Remove scopes by age, or those whose branch no longer exists in git.

    Only tags that bxcache has written are removed.
    """
