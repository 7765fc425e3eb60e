"""`bxcache init`: the first config file of a repository, and the job of its CI system."""

from __future__ import annotations

import click

from bxcache.cli import options
from bxcache.cli.commands import command
from bxcache.console.starter.systems import SYSTEMS


@command("init:write_files")
@click.option(
    "--ci",
    "system",
    type=options.Choice(tuple(SYSTEMS)),
    help="Write the job for it, too; `github-files` needs no registry.",
)
@click.option(
    "--repository",
    metavar="REF",
    help="The image's name in a registry; the cache is beside it. Default: from git's remote.",
)
@click.option(
    "--package",
    metavar="SPEC",
    help="What the job installs, such as the path of a wheel. Default: this version, by its name.",
)
@options.flag("--force", help="Overwrite files that exist.")
@options.flag("--dry-run", help="Print the files, and write nothing.")
def init_command() -> None:
    """Write a bxcache.toml for what this repository builds, and the job of its CI system.

    It looks at the Dockerfiles, bake, Compose and CI files and at git's remote, writes to the top
    of the repository, and asks a few questions if there is a terminal.
    """
