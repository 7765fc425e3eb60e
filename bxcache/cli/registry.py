"""`bxcache registry`: ls, prune."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bxcache.cli.job_log import find_job_log, say
from bxcache.cli.options import CONFIG, JSON

if TYPE_CHECKING:
    from collections.abc import Callable

    from bxcache.registry.registry_cache import RegistryCache

_REF = click.option(
    "--ref", metavar="REPOSITORY", help="The repository. Default: those of the configuration."
)
_INSECURE = click.option(
    "--insecure", is_flag=True, help="Allow plain HTTP and unverified TLS to --ref."
)


def _with_registry(function: Callable[..., Any]) -> Callable[..., Any]:
    return _REF(_INSECURE(CONFIG(function)))


def _find(
    ref: str | None, config_file: str | None, *, insecure: bool, writes: bool = False
) -> list[RegistryCache]:
    from bxcache.backends.location import choose_registries  # noqa: PLC0415

    return choose_registries(
        Path.cwd(),
        os.environ,
        chosen=ref,
        insecure=insecure,
        writes=writes,
        file=Path(config_file) if config_file else None,
    )


def _age(_context: click.Context, _parameter: click.Parameter, value: str | None) -> Any:  # noqa: ANN401
    from bxcache.config.quantities import parse_age  # noqa: PLC0415

    try:
        return parse_age(value) if value is not None else None
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.group("registry", short_help="Look at and prune the scopes in a registry.")
def registry_group() -> None:
    """Look at and prune the scopes in a registry."""


@registry_group.command("ls")
@_with_registry
@JSON
def ls_command(ref: str | None, config_file: str | None, *, insecure: bool, as_json: bool) -> None:
    """List the scopes: branch, size, age, last use."""
    from bxcache.console.registry import describe_scopes, render_scopes  # noqa: PLC0415
    from bxcache.console.tables import render_document  # noqa: PLC0415

    found = [(each.name, each.list_scopes()) for each in _find(ref, config_file, insecure=insecure)]
    if as_json:
        registries = [describe_scopes(name, scopes) for name, scopes in found]
        click.echo(render_document({"registries": registries}))
    else:
        text = "\n\n".join(render_scopes(name, scopes) for name, scopes in found)
        say(text, find_job_log(), err=False)


@registry_group.command("prune")
@_with_registry
@click.option(
    "--max-age", callback=_age, metavar="AGE", help="Remove what was not used for so long: `30d`."
)
@click.option("--gone", is_flag=True, help="Remove what belongs to no branch or tag of git.")
@click.option(
    "--remote",
    default="origin",
    show_default=True,
    metavar="NAME",
    help="The git remote that tells the branches, a name or a URL.",
)
@click.option(
    "--keep",
    multiple=True,
    metavar="PATTERN",
    help="A branch or a scope that stays in any case, such as `release/*`.",
)
@click.option("--dry-run", is_flag=True, help="Only tell what would be removed.")
@JSON
def prune_command(*, remote: str, gone: bool, dry_run: bool, as_json: bool, **given: Any) -> None:  # noqa: ANN401  # click's options
    """Remove scopes by age, or those whose branch no longer exists in git.

    Only what bxcache has written is looked at; every other tag stays.
    """
    from bxcache.console.registry import describe_pruned, render_pruned  # noqa: PLC0415
    from bxcache.console.tables import render_document  # noqa: PLC0415
    from bxcache.place.remote import list_remote  # noqa: PLC0415

    if given["max_age"] is None and not gone:
        raise click.UsageError("say what is to go: `--max-age 30d`, `--gone`, or both")
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
