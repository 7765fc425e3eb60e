"""`bxcache key`."""

from __future__ import annotations

import click

from bxcache.cli.commands import deferred
from bxcache.cli.options import BRANCH, CONFIG, IMAGE, to_path

_STYLES = ("plain", "github", "circleci", "gitlab")


@click.command("key")
@click.option("--style", type=click.Choice(_STYLES), default="plain", show_default=True)
@BRANCH
@IMAGE
@click.option("--dir", "folder", type=to_path, metavar="DIR", help="The store.")
@CONFIG
@deferred("key:print_key")
def key_command() -> None:
    """Print a key for the content of the store, and the prefixes to fall back to.

    `github` prints lines for $GITHUB_OUTPUT; `circleci` and `gitlab` print YAML for their files.
    """
