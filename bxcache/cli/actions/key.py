"""`bxcache key`."""

from __future__ import annotations

import os
from pathlib import Path

from bxcache.backends.cache_key import make_cache_key
from bxcache.backends.location import require_location
from bxcache.cli.job_log import say
from bxcache.console.cache_key import STYLES
from bxcache.place.scope import Owner
from bxcache.place.trust import load_guarded, open_setup
from bxcache.store.store import Store


def print_key(
    *,
    style: str,
    branch: str | None,
    image: str | None,
    folder: Path | None,
    config_file: Path | None,
) -> None:
    """Print a key for the content of the store, and the prefixes to fall back to."""
    here = Path.cwd()
    setup = load_guarded(here, os.environ, file=config_file, image=image)
    store = Store(here / folder) if folder else require_location(setup).store
    owner = Owner.of_branch(branch or None)
    if branch is None:
        owner = open_setup(here, os.environ, file=config_file, image=image)[1].owner
    key = make_cache_key(setup, here, store.read_scopes(), owner)
    path = store.path.relative_to(here) if store.path.is_relative_to(here) else store.path
    say(STYLES[style](key, path), err=False)
