"""`bxcache store`: ls, du, prune, verify, repair, pack, unpack, adopt, rm; and `bxcache key`."""

from __future__ import annotations

import click

from bxcache.cli import options
from bxcache.cli.commands import command
from bxcache.cli.completion import complete_kept_scopes
from bxcache.console.cache_key import STYLES

_STORE = options.together(
    click.option(
        "--from",
        "folder",
        type=options.to_path,
        metavar="DIR",
        help="The store. Default: that of the configuration.",
    ),
    options.CONFIG,
)
_FULL = options.flag("--full", help="Read every blob and compare its digest.")


@command("store:list_scopes")
@_STORE
@options.JSON
def ls_command() -> None:
    """List the scopes: size, age, last use, steps."""


@command("store:show_sizes")
@_STORE
@options.JSON
def du_command() -> None:
    """Show the size of each scope, alone and shared with others."""


@command("store:prune")
@_STORE
@click.option("--max-size", type=options.SIZE, metavar="SIZE", help="The most it may hold.")
@click.option("--max-age", type=options.AGE, metavar="AGE", help="How long to keep unused scopes.")
@options.PREVIEW
@options.JSON
def prune_command() -> None:
    """Remove blobs that no scope needs, scopes unused for too long, and what exceeds the budget.

    A limit that is not given is that of the configuration; with --from there is none.
    """


@command("store:verify")
@_STORE
@_FULL
@options.JSON
def verify_command() -> None:
    """Check the store for damage and change nothing. The exit status is 74 if there is any."""


@command("store:repair")
@_STORE
@_FULL
@options.PREVIEW
@options.JSON
def repair_command() -> None:
    """Remove damaged blobs, so that builds miss there instead of failing."""


@command("store:remove")
@_STORE
@click.argument(
    "scopes", nargs=-1, required=True, metavar="SCOPE…", shell_complete=complete_kept_scopes
)
@options.PREVIEW
@options.JSON
def rm_command() -> None:
    """Remove scopes, and the blobs that no other scope needs."""


@command("store:pack")
@_STORE
@click.argument("file", metavar="FILE.tar.zst")
@options.repeated(
    "--scope",
    "scopes",
    metavar="SCOPE",
    shell_complete=complete_kept_scopes,
    help="Pack only this scope.",
)
def pack_command() -> None:
    """Write the store as one file; `-` is stdout. The same content gives the same bytes."""


@command("store:unpack")
@_STORE
@click.argument("file", metavar="FILE.tar.zst")
@options.JSON
def unpack_command() -> None:
    """Add the scopes of a packed file to the store; `-` is stdin."""


@command("store:adopt")
@click.argument("folder", metavar="DIR")
@options.JSON
def adopt_command() -> None:
    """Turn a directory with a cache that plain buildx exported into a store, in place."""


@command("store:print_key")
@click.option("--style", type=options.Choice(STYLES), default="plain", show_default=True)
@options.BRANCH
@options.IMAGE
@click.option("--from", "folder", type=options.to_path, metavar="DIR", help="The store.")
@options.CONFIG
def key_command() -> None:
    """Print a key for the content of the store, and the prefixes to fall back to.

    With --image it is the key of a job that builds one of the config file's [images], without that
    of a job that builds all of them.

    `github`, `circleci` and `gitlab` print YAML for their files; `github-output` prints lines for
    $GITHUB_OUTPUT.
    """
