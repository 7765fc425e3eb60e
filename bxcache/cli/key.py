"""`bxcache key`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from bxcache.cli.job_log import find_job_log, say
from bxcache.cli.options import CONFIG, IMAGE

_STYLES = ("plain", "github", "circleci", "gitlab")


@click.command("key", short_help="Print a key for CI systems that keep the store as files.")
@click.option("--style", type=click.Choice(_STYLES), default="plain", show_default=True)
@click.option("--branch", metavar="NAME", help="The branch, if it is not what CI or git say.")
@IMAGE
@click.option("--dir", "folder", metavar="DIR", help="The store.")
@CONFIG
def key_command(
    *,
    style: str,
    branch: str | None,
    image: str | None,
    folder: str | None,
    config_file: str | None,
) -> None:
    """Print a key for what the store holds, and below it the prefixes to fall back to.

    `github` prints lines for $GITHUB_OUTPUT; `circleci` and `gitlab` print YAML for their files.
    """
    from bxcache.backends.cache_key import make_cache_key  # noqa: PLC0415
    from bxcache.backends.location import require_location  # noqa: PLC0415
    from bxcache.console.cache_key import STYLES  # noqa: PLC0415
    from bxcache.place.scope import Owner  # noqa: PLC0415
    from bxcache.place.trust import load_guarded, open_setup  # noqa: PLC0415
    from bxcache.store.store import Store  # noqa: PLC0415

    here, file = Path.cwd(), Path(config_file) if config_file else None
    setup = load_guarded(here, os.environ, file=file, image=image)
    store = Store(here / folder) if folder else require_location(setup).store
    owner = Owner.of_branch(branch or None)
    if branch is None:
        owner = open_setup(here, os.environ, file=file, image=image)[1].owner
    key = make_cache_key(setup, here, store.read_scopes(), owner)
    path = store.path.relative_to(here) if store.path.is_relative_to(here) else store.path
    say(STYLES[style](key, path), find_job_log(), err=False)
