"""`bxcache doctor`: examine what builds here depend on."""

from __future__ import annotations

import click

from bxcache.cli import options
from bxcache.cli.commands import command
from bxcache.cli.completion import complete_scopes
from bxcache.cli.history import FROM_RECORDS


@command("doctor:examine")
@click.argument("name", required=False, shell_complete=complete_scopes)
@options.flag("--fix", help="Mend what is safe to mend, and show the state after it.")
@options.flag(
    "--cache",
    "tunes",
    help="Show instead for each stage whether caching it was worth it, and what to set.",
)
@FROM_RECORDS
@options.CONFIG
@options.JSON
def doctor_command() -> None:
    """Examine docker, the builder, the caches, the configuration and the place of builds here.

    Each problem comes with why it matters and what mends it. --fix creates a builder if the current
    one cannot save caches, adopts or repairs the local store, and removes what killed builds left;
    it never removes a good cache, and never changes a registry. The exit status is 79 if there is
    an error.

    --cache compares, in the recorded builds of a scope, the time that each stage's reuse saved with
    the time that fetching took. NAME is an image or a scope, by default that of the last build in
    this directory.
    """
