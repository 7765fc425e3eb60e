"""`bxcache doctor`: examine what builds here depend on."""

from __future__ import annotations

from bxcache.cli import options
from bxcache.cli.commands import command


@command("doctor:examine")
@options.flag("--fix", help="Mend what is safe to mend, and show the state after it.")
@options.CONFIG
@options.JSON
def doctor_command() -> None:
    """Examine docker, the builder, the caches, the configuration and the place of builds here.

    Each problem comes with why it matters and what mends it. --fix creates a builder if the current
    one cannot save caches, adopts or repairs the local store, and removes what killed builds left;
    it never removes a good cache, and never changes a registry. The exit status is 79 if there is
    an error.
    """
