"""`bxcache key`."""

from __future__ import annotations

import click

from bxcache.cli.commands import deferred
from bxcache.cli.options import CONFIG, IMAGE

_STYLES = ("plain", "github", "circleci", "gitlab")


@click.command("key")
@click.option("--style", type=click.Choice(_STYLES), default="plain", show_default=True)
@click.option("--branch", metavar="NAME", help="The branch, if not the one that CI or git reports.")
@IMAGE
@click.option("--dir", "folder", metavar="DIR", help="The store.")
@CONFIG
@deferred("key:print_key")
def key_command() -> None:
    """Print a key for the content of the store, and the prefixes to fall back to.

    `github` prints lines for $GITHUB_OUTPUT; `circleci` and `gitlab` print YAML for their files.
    """
