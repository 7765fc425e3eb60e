"""`bxcache config`: show, check, schema."""

from __future__ import annotations

from pathlib import Path

import click

from bxcache.cli.commands import command
from bxcache.cli.options import CONFIG, IMAGE, JSON, flag


@command("config:show")
@CONFIG
@IMAGE
@flag("--changed", help="Only show what differs from the defaults.")
@JSON
def show_command() -> None:
    """Print every value and where it comes from.

    Sizes and times are as in the config file; in the JSON document, they are bytes and seconds.
    """


@command("config:check")
@click.argument("file", type=click.Path(path_type=Path), required=False)
def check_command() -> None:
    """Check a config file and print all its problems.

    FILE defaults to the config file that a build in this directory reads.
    """


@command("config:print_schema")
def schema_command() -> None:
    """Print the JSON Schema of the config file."""
