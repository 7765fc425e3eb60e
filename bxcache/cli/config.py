"""`bxcache config`: show, check, schema."""

from __future__ import annotations

import os
from pathlib import Path

import click

from bxcache.cli.job_log import find_job_log, say
from bxcache.cli.options import CONFIG, IMAGE


@click.group("config", short_help="Show and check the configuration.")
def config_group() -> None:
    """Show and check the configuration."""


@config_group.command("show")
@CONFIG
@IMAGE
def show_command(config_file: str | None, image: str | None) -> None:
    """Print every value and where it comes from."""
    from bxcache.buildx.command import render_build  # noqa: PLC0415
    from bxcache.buildx.secrets import find_secrets  # noqa: PLC0415
    from bxcache.config.loading import describe  # noqa: PLC0415
    from bxcache.console.settings import render_settings  # noqa: PLC0415
    from bxcache.place.trust import describe_place, open_setup  # noqa: PLC0415
    from bxcache.redaction import Redactor  # noqa: PLC0415

    file = Path(config_file) if config_file else None
    setup, trust = open_setup(Path.cwd(), os.environ, file=file, image=image)
    rows = [(key, value, str(source)) for key, value, source in describe(setup)]
    rows += [
        (each.key, each.value, f"{each.source}, does not count here: {each.why}")
        for each in trust.refused
    ]
    command = render_build(setup.config.build, cache_options=(), metadata_file="")
    redact = Redactor(find_secrets(command, os.environ))
    log = find_job_log()
    say(render_settings([*rows, *describe_place(trust)], redact), log, err=False)
    for note in (*setup.notes, *trust.notes):
        say(f"note: {redact(note)}", log)


@config_group.command("check")
@click.argument("file", type=click.Path(path_type=Path))
def check_command(file: Path) -> None:
    """Check one config file and print all its problems."""
    from bxcache.config.loading import check_file  # noqa: PLC0415

    check_file(file)
    say(f"{file} is valid", find_job_log(), err=False)


@config_group.command("schema")
def schema_command() -> None:
    """Print the JSON Schema of the config file."""
    from bxcache.config.schema import render_schema  # noqa: PLC0415

    click.echo(render_schema(), nl=False)
