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
    """Show what each scope takes, alone and together with others."""


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
@click.option("--dry-run", is_flag=True, help="Only tell what would be dropped.")
@JSON
@deferred("store:collect")
def collect_command() -> None:
    """Drop what no scope needs, what is unused for too long, and what is over the budget."""


@click.command("verify")
@_with_store
@click.option("--full", is_flag=True, help="Read every blob and compare its digest.")
@JSON
@deferred("store:verify")
def verify_command() -> None:
    """Look for what is broken; nothing is changed. Exit status 74 where something is."""


@click.command("repair")
@_with_store
@click.option("--full", is_flag=True, help="Read every blob and compare its digest.")
@deferred("store:repair")
def repair_command() -> None:
    """Cut out what is broken, so that builds miss there instead of failing."""


@click.command("rm")
@_with_store
@click.argument("scopes", nargs=-1, required=True, metavar="SCOPE…", shell_complete=complete_scopes)
@deferred("store:remove")
def rm_command() -> None:
    """Remove scopes; what no other scope needs goes with them."""


@click.command("pack")
@_with_store
@click.argument("file", metavar="FILE.tar.zst")
@click.option("--scope", "scopes", multiple=True, metavar="SCOPE", help="Only this one.")
@deferred("store:pack")
def pack_command() -> None:
    """Write the store as one file; `-` is stdout. The same content gives the same bytes."""


@click.command("unpack")
@_with_store
@click.argument("file", metavar="FILE.tar.zst")
@deferred("store:unpack")
def unpack_command() -> None:
    """Take the scopes of such a file into the store; `-` is stdin."""


@click.command("adopt")
@click.argument("folder", metavar="DIR")
@deferred("store:adopt")
def adopt_command() -> None:
    """Make a store of a directory that plain buildx exported a cache to, in place."""
