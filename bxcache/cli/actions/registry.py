"""The actions of `bxcache registry`; `cli/registry.py` has their help."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from bxcache.backends.location import choose_registries
from bxcache.cli.job_log import say, show
from bxcache.console.registry import describe_pruned, describe_scopes, render_pruned, render_scopes
from bxcache.console.tables import render_document
from bxcache.place.repository import list_remote


def list_scopes(
    ref: str | None, config_file: Path | None, *, insecure: bool, as_json: bool
) -> None:
    here = Path.cwd()
    chosen = choose_registries(here, os.environ, chosen=ref, insecure=insecure, file=config_file)
    found = [(each.name, each.list_scopes()) for each in chosen]
    show(
        lambda: {"registries": [describe_scopes(*each) for each in found]},
        lambda: "\n\n".join(render_scopes(*each) for each in found),
        as_json=as_json,
    )


def prune(*, remote: str, gone: bool, dry_run: bool, as_json: bool, **given: Any) -> None:  # noqa: ANN401  # click's options
    if given["max_age"] is None and not gone:
        raise click.UsageError("choose what to remove: `--max-age 30d`, `--gone`, or both")
    known = list_remote(Path.cwd(), remote) if gone else None
    documents = []
    registries = choose_registries(
        Path.cwd(),
        os.environ,
        chosen=given["ref"],
        insecure=given["insecure"],
        writes=not dry_run,
        file=given["config_file"],
    )
    for each in registries:
        pruned = each.prune(
            max_age=given["max_age"],
            branches=known.branches if known else None,
            tags=known.tags if known else None,
            keep=given["keep"],
            dry_run=dry_run,
        )
        documents.append(describe_pruned(each.name, pruned, dry_run=dry_run))
        if not as_json:
            say(render_pruned(each.name, pruned, dry_run=dry_run), err=False)
    if as_json:
        click.echo(render_document({"registries": documents}))
