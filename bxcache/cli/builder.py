"""`bxcache builder`: up, ls, rm."""

from __future__ import annotations

import click

from bxcache.cli import options
from bxcache.cli.commands import command
from bxcache.cli.completion import complete_builders


@command("builder:bring_up")
@options.CONFIG
@options.JSON
def up_command() -> None:
    """Create, change or start the builder that [builder] declares.

    Without [builder], it is a builder named bxcache of the driver docker-container, which becomes
    docker's current builder. One that is up and as declared stays as it is.
    """


@command("builder:list_all")
@options.CONFIG
@options.JSON
def ls_command() -> None:
    """List all builders: driver, nodes, what they can export, and which one builds use."""


@command("builder:remove")
@click.argument("name", required=False, metavar="[NAME]", shell_complete=complete_builders)
@options.CONFIG
@options.PREVIEW
@options.JSON
def rm_command() -> None:
    """Remove a builder, with what it has built.

    NAME defaults to the builder that [builder] declares.
    """
