"""`bxcache build`."""

from __future__ import annotations

import click

from bxcache.cli.build_options import BUILD_OPTIONS
from bxcache.cli.commands import deferred
from bxcache.cli.completion import complete_images


@click.command("build")
@click.argument("words", nargs=-1, metavar="[PATH | IMAGE...]", shell_complete=complete_images)
@BUILD_OPTIONS
@click.pass_obj
@deferred("build:build")
def build_command() -> None:
    """Build an image with docker buildx, importing every stage from the caches and saving it there.

    PATH is the build context, as for docker. IMAGE is one of the config file's [images]; several
    images, or --all, build side by side. Arguments after `--` are passed to docker unchanged.
    """
