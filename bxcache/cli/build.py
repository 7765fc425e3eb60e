"""`bxcache build`."""

from __future__ import annotations

import click

from bxcache.cli.build_options import with_build_options
from bxcache.cli.commands import deferred
from bxcache.cli.completion import complete_images


@click.command("build")
@click.argument("words", nargs=-1, metavar="[PATH | IMAGE...]", shell_complete=complete_images)
@with_build_options
@click.pass_obj
@deferred("build:build")
def build_command() -> None:
    """Build an image with docker buildx; every stage comes from the caches and is saved to them.

    PATH is the build context, as for docker. IMAGE is one of the config file's [images]; several,
    or --all, are built side by side. What follows `--` is passed to docker unchanged.
    """
