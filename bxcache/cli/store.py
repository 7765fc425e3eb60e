"""`bxcache store`: ls, du, collect, verify, repair, pack, unpack, adopt, rm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from bxcache.cli.commands import deferred
from bxcache.cli.completion import complete_scopes
from bxcache.cli.options import CONFIG, JSON, read_with

if TYPE_CHECKING:
    from collections.abc import Callable


_DIR = click.option(
    "--dir", "folder", metavar="DIR", help="The store. Default: that of the configuration."
)


def _with_store(function: Callable[..., Any]) -> Callable[..., Any]:
    return _DIR(CONFIG(function))


@click.command("ls")
@_with_store
@JSON
@deferred("store:list_scopes")
def ls_command() -> None:
    """List the scopes: size, age, last use, steps."""


@click.command("du")
@_with_store
@JSON
@deferred("store:show_sizes")
def du_command() -> None:
    """Show the size of each scope, alone and shared with others."""


@click.command("collect")
@_with_store
@click.option(
    "--max-size", callback=read_with("parse_size"), metavar="SIZE", help="The most it may hold."
)
@click.option(
    "--max-age",
    callback=read_with("parse_age"),
    metavar="AGE",
    help="How long to keep unused scopes.",
)
@click.option("--dry-run", is_flag=True, help="Only show what would be removed.")
@JSON
@deferred("store:collect")
def collect_command() -> None:
    """Remove blobs that no scope needs, scopes unused for too long, and what exceeds the budget."""


@click.command("verify")
@_with_store
@click.option("--full", is_flag=True, help="Read every blob and compare its digest.")
@JSON
@deferred("store:verify")
def verify_command() -> None:
    """Check the store for damage and change nothing. The exit status is 74 if there is any."""


@click.command("repair")
@_with_store
@click.option("--full", is_flag=True, help="Read every blob and compare its digest.")
@deferred("store:repair")
def repair_command() -> None:
    """Remove damaged blobs, so that builds miss there instead of failing."""


@click.command("rm")
@_with_store
@click.argument("scopes", nargs=-1, required=True, metavar="SCOPE…", shell_complete=complete_scopes)
@deferred("store:remove")
def rm_command() -> None:
    """Remove scopes, and the blobs that no other scope needs."""


@click.command("pack")
@_with_store
@click.argument("file", metavar="FILE.tar.zst")
@click.option("--scope", "scopes", multiple=True, metavar="SCOPE", help="Pack only this scope.")
@deferred("store:pack")
def pack_command() -> None:
    """Write the store as one file; `-` is stdout. The same content gives the same bytes."""


@click.command("unpack")
@_with_store
@click.argument("file", metavar="FILE.tar.zst")
@deferred("store:unpack")
def unpack_command() -> None:
    """Add the scopes of a packed file to the store; `-` is stdin."""


@click.command("adopt")
@click.argument("folder", metavar="DIR")
@deferred("store:adopt")
def adopt_command() -> None:
    """Turn a directory with a cache that plain buildx exported into a store, in place."""
