"""`bxcache bake`."""

from __future__ import annotations

import click

from bxcache.cli.build_options import BAKE_OPTIONS
from bxcache.cli.commands import deferred


@click.command("bake")
@click.argument("targets", nargs=-1, metavar="[TARGET...]")
@BAKE_OPTIONS
@click.pass_obj
@deferred("bake:bake")
def bake_command() -> None:
    """Build the targets of a bake file with docker buildx bake, each from a cache of its own.

    The bake file alone says what is built; bxcache adds the caches. A target with a `cache-to` of
    its own stays as it is. Arguments after `--` are passed to bake unchanged, including flags
    that make it answer instead of build, such as `--print`.
    """
