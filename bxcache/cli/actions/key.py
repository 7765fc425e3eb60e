"""`bxcache key`."""

from __future__ import annotations

import os
from pathlib import Path

from bxcache.backends.cache_key import make_cache_key
from bxcache.backends.location import require_location
from bxcache.cli.job_log import find_job_log, say
from bxcache.console.cache_key import render_key
from bxcache.place.scope import Owner
from bxcache.place.trust import load_guarded, open_setup
from bxcache.store.store import Store


def print_key(
    *,
    style: str,
    branch: str | None,
    image: str | None,
    folder: str | None,
    config_file: str | None,
) -> None:
    """Print a key for the content of the store, and the prefixes to fall back to."""
    here, file = Path.cwd(), Path(config_file) if config_file else None
    setup = load_guarded(here, os.environ, file=file, image=image)
    store = Store(here / folder) if folder else require_location(setup).store
    owner = Owner.of_branch(branch or None)
    if branch is None:
        owner = open_setup(here, os.environ, file=file, image=image)[1].owner
    key = make_cache_key(setup, here, store.read_scopes(), owner)
    path = store.path.relative_to(here) if store.path.is_relative_to(here) else store.path
    say(render_key(key, path, style), find_job_log(), err=False)
