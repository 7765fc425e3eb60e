"""`bxcache registry`: ls, prune."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bxcache.backends.location import choose_registries
from bxcache.cli.job_log import find_job_log, say
from bxcache.console.registry import describe_pruned, describe_scopes, render_pruned, render_scopes
from bxcache.console.tables import render_document
from bxcache.place.repository import list_remote

if TYPE_CHECKING:
    from bxcache.registry.registry_cache import RegistryCache


def _find(
    ref: str | None, config_file: str | None, *, insecure: bool, writes: bool = False
) -> list[RegistryCache]:
    return choose_registries(
        Path.cwd(),
        os.environ,
        chosen=ref,
        insecure=insecure,
        writes=writes,
        file=Path(config_file) if config_file else None,
    )


def list_scopes(ref: str | None, config_file: str | None, *, insecure: bool, as_json: bool) -> None:
    """List the scopes: branch, size, age, last use."""
    found = [(each.name, each.list_scopes()) for each in _find(ref, config_file, insecure=insecure)]
    if as_json:
        registries = [describe_scopes(name, scopes) for name, scopes in found]
        click.echo(render_document({"registries": registries}))
    else:
        text = "\n\n".join(render_scopes(name, scopes) for name, scopes in found)
        say(text, find_job_log(), err=False)


def prune(*, remote: str, gone: bool, dry_run: bool, as_json: bool, **given: Any) -> None:  # noqa: ANN401  # click's options
    """Remove scopes by age, or those whose branch no longer exists in git."""
    if given["max_age"] is None and not gone:
        raise click.UsageError("choose what to remove: `--max-age 30d`, `--gone`, or both")
    known = list_remote(Path.cwd(), remote) if gone else None
    documents = []
    registries = _find(
        given["ref"], given["config_file"], insecure=given["insecure"], writes=not dry_run
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
            text = render_pruned(each.name, pruned, dry_run=dry_run)
            say(text, find_job_log(), err=False)
    if as_json:
        click.echo(render_document({"registries": documents}))
