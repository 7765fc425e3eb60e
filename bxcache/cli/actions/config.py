"""The actions of `bxcache config`; `cli/config.py` has their help."""

from __future__ import annotations

import os
from pathlib import Path

import click

from bxcache.buildx.command import render_build
from bxcache.buildx.secrets import find_secrets
from bxcache.cli.job_log import say
from bxcache.config.discovery import shorten_path
from bxcache.config.loading import check_file, choose_file, describe
from bxcache.config.schema import render_schema
from bxcache.console.settings import describe_settings, render_settings
from bxcache.console.tables import render_document
from bxcache.errors import ConfigError, Problem
from bxcache.place.trust import describe_place, open_setup
from bxcache.redaction import Redactor


def show(config_file: Path | None, image: str | None, *, changed: bool, as_json: bool) -> None:
    setup, placement = open_setup(Path.cwd(), os.environ, file=config_file, image=image)
    rows = [
        (key, value, str(source))
        for key, value, source in describe(setup, only_changed=changed, as_text=not as_json)
    ]
    rows += [
        (each.key, each.value, f"{each.source}, does not count here: {each.why}")
        for each in placement.refused
    ]
    rows += [each for each in describe_place(placement) if not changed or setup.is_set(each[0])]
    command = render_build(setup.config.build, cache_options=(), metadata_file="")
    redact = Redactor(find_secrets(command, os.environ))
    if as_json:
        click.echo(redact(render_document(describe_settings(rows))))
    else:
        say(redact(render_settings(rows)), err=False)
    for note in (*setup.notes, *placement.notes):
        say(f"note: {redact(note)}")


def check(file: Path | None) -> None:
    found = choose_file(Path.cwd(), os.environ, file)
    if found is None:
        why = "no bxcache.toml and no [tool.bxcache] here, nor above within the repository"
        raise ConfigError([Problem(str(Path.cwd()), "", why)], hint="a build uses the defaults")
    check_file(found)
    say(f"{file or shorten_path(found.path)} is valid", err=False)


def print_schema() -> None:
    click.echo(render_schema(), nl=False)
