"""The actions of `bxcache registry`; `cli/registry.py` has their help."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bxcache.backends.location import choose_registries
from bxcache.cli.job_log import say, show
from bxcache.console.registry import render_pruned, render_scopes
from bxcache.console.tables import render_document
from bxcache.place.repository import list_remote
from bxcache.registry.registry_cache import check_removable
from bxcache.registry.scopes import describe_scopes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bxcache.backends.location import RegistryLocation
    from bxcache.registry.registry_cache import Pruned


def list_scopes(
    ref: str | None, config_file: Path | None, *, insecure: bool, as_json: bool
) -> None:
    here = Path.cwd()
    chosen = choose_registries(here, os.environ, chosen=ref, insecure=insecure, file=config_file)
    found = [(each.cache.name, each.cache.list_scopes()) for each in chosen]
    show(
        lambda: {
            "registries": [
                {"registry": name, "scopes": describe_scopes(scopes)} for name, scopes in found
            ]
        },
        lambda: "\n\n".join(render_scopes(*each) for each in found),
        as_json=as_json,
    )


def prune(*, remote: str, gone: bool, dry_run: bool, as_json: bool, **given: Any) -> None:  # noqa: ANN401  # click's options
    chosen = _choose_changed(given, dry_run=dry_run)
    asked = given["max_age"]
    ages = [each.max_age if asked is None else asked for each in chosen]
    if not gone and all(age is None for age in ages):
        raise click.UsageError(
            "choose what to remove: `--max-age 30d`, `--gone`, or both; or declare `max_age` for "
            "the registry in [[cache.backends]]"
        )
    known = list_remote(Path.cwd(), remote) if gone else None
    _show_pruned(
        (
            each.cache.prune(
                max_age=max_age,
                branches=known.branches if known else None,
                tags=known.tags if known else None,
                keep=given["keep"],
                dry_run=dry_run,
            )
            for each, max_age in zip(chosen, ages, strict=True)
        ),
        as_json=as_json,
    )


def remove(*, scopes: tuple[str, ...], dry_run: bool, as_json: bool, **given: Any) -> None:  # noqa: ANN401  # click's options
    chosen = [each.cache for each in _choose_changed(given, dry_run=dry_run)]
    check_removable({each.name: each.list_scopes() for each in chosen}, scopes)
    removed = (each.remove(*scopes, dry_run=dry_run) for each in chosen)
    _show_pruned(removed, as_json=as_json)


def _choose_changed(given: dict[str, Any], *, dry_run: bool) -> list[RegistryLocation]:
    return choose_registries(
        Path.cwd(),
        os.environ,
        chosen=given["ref"],
        insecure=given["insecure"],
        writes=not dry_run,
        file=given["config_file"],
    )


def _show_pruned(found: Iterable[Pruned], *, as_json: bool) -> None:
    documents = []
    for pruned in found:
        documents.append(pruned.to_dict())
        if not as_json:
            say(render_pruned(pruned), err=False)
    if as_json:
        click.echo(render_document({"registries": documents}))
