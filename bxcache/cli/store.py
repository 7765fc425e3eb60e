"""`bxcache store`: ls, du, collect, verify, repair, pack, unpack, adopt, rm; and `bxcache key`."""

from __future__ import annotations

import click

from bxcache.cli import options
from bxcache.cli.commands import deferred
from bxcache.cli.completion import complete_scopes

_STYLES = ("plain", "github", "circleci", "gitlab")
_STORE = options.together(
    click.option(
        "--dir",
        "folder",
        type=options.to_path,
        metavar="DIR",
        help="The store. Default: that of the configuration.",
    ),
    options.CONFIG,
)


@click.command("ls")
@_STORE
@options.JSON
@deferred("store:list_scopes")
def ls_command() -> None:
    """List the scopes: size, age, last use, steps."""


@click.command("du")
@_STORE
@options.JSON
@deferred("store:show_sizes")
def du_command() -> None:
    """Show the size of each scope, alone and shared with others."""


@click.command("collect")
@_STORE
@click.option("--max-size", type=options.SIZE, metavar="SIZE", help="The most it may hold.")
@click.option("--max-age", type=options.AGE, metavar="AGE", help="How long to keep unused scopes.")
@options.PREVIEW
@options.JSON
@deferred("store:collect")
def collect_command() -> None:
    """Remove blobs that no scope needs, scopes unused for too long, and what exceeds the budget."""


@click.command("verify")
@_STORE
@options.FULL
@options.JSON
@deferred("store:verify")
def verify_command() -> None:
    """Check the store for damage and change nothing. The exit status is 74 if there is any."""


@click.command("repair")
@_STORE
@options.FULL
@deferred("store:repair")
def repair_command() -> None:
    """Remove damaged blobs, so that builds miss there instead of failing."""


@click.command("rm")
@_STORE
@click.argument("scopes", nargs=-1, required=True, metavar="SCOPE…", shell_complete=complete_scopes)
@deferred("store:remove")
def rm_command() -> None:
    """Remove scopes, and the blobs that no other scope needs."""


@click.command("pack")
@_STORE
@click.argument("file", metavar="FILE.tar.zst")
@options.repeated("--scope", "scopes", metavar="SCOPE", help="Pack only this scope.")
@deferred("store:pack")
def pack_command() -> None:
    """Write the store as one file; `-` is stdout. The same content gives the same bytes."""


@click.command("unpack")
@_STORE
@click.argument("file", metavar="FILE.tar.zst")
@deferred("store:unpack")
def unpack_command() -> None:
    """Add the scopes of a packed file to the store; `-` is stdin."""


@click.command("adopt")
@click.argument("folder", metavar="DIR")
@deferred("store:adopt")
def adopt_command() -> None:
    """Turn a directory with a cache that plain buildx exported into a store, in place."""


@click.command("key")
@click.option("--style", type=click.Choice(_STYLES), default="plain", show_default=True)
@options.BRANCH
@options.IMAGE
@click.option("--dir", "folder", type=options.to_path, metavar="DIR", help="The store.")
@options.CONFIG
@deferred("key:print_key")
def key_command() -> None:
    """Print a key for the content of the store, and the prefixes to fall back to.

    `github` prints lines for $GITHUB_OUTPUT; `circleci` and `gitlab` print YAML for their files.
    """
