"""`bxcache config`: show, check, schema."""

from __future__ import annotations

import os
from pathlib import Path

import click

from bxcache.cli.options import CONFIG, IMAGE


@click.group("config", short_help="Show and check the configuration.")
def config_group() -> None:
    """Show and check the configuration."""


@config_group.command("show")
@CONFIG
@IMAGE
def show_command(config_file: str | None, image: str | None) -> None:
    """Print every value and where it comes from."""
    from bxcache.config.loading import describe  # noqa: PLC0415
    from bxcache.console.settings import render_settings  # noqa: PLC0415
    from bxcache.placement import describe_place, open_setup  # noqa: PLC0415

    file = Path(config_file) if config_file else None
    setup, placement = open_setup(Path.cwd(), os.environ, file=file, image=image)
    rows = [(key, value, str(source)) for key, value, source in describe(setup)]
    rows += [
        (each.key, each.value, f"{each.source}, does not count here: {each.why}")
        for each in placement.refused
    ]
    click.echo(render_settings([*rows, *describe_place(placement)]))
    for note in (*setup.notes, *placement.notes):
        click.echo(f"note: {note}", err=True)


@config_group.command("check")
@click.argument("file", type=click.Path(path_type=Path))
def check_command(file: Path) -> None:
    """Check one config file and print all its problems."""
    from bxcache.config.loading import check_file  # noqa: PLC0415

    check_file(file)
    click.echo(f"{file} is valid")


@config_group.command("schema")
def schema_command() -> None:
    """Print the JSON Schema of the config file."""
    from bxcache.config.schema import render_schema  # noqa: PLC0415

    click.echo(render_schema(), nl=False)
