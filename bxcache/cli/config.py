"""`bxcache config`: show, check, schema."""

from __future__ import annotations

from pathlib import Path

import click

from bxcache.cli.commands import deferred
from bxcache.cli.options import CONFIG, IMAGE


@click.command("show")
@CONFIG
@IMAGE
@deferred("config:show")
def show_command() -> None:
    """Print every value and where it comes from."""


@click.command("check")
@click.argument("file", type=click.Path(path_type=Path))
@deferred("config:check")
def check_command() -> None:
    """Check one config file and print all its problems."""


@click.command("schema")
@deferred("config:print_schema")
def schema_command() -> None:
    """Print the JSON Schema of the config file."""
