"""Where the local store of a project is, and what bounds it has."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bxcache.config.backends import LocalBackend
from bxcache.config.loading import default_store, load_setup
from bxcache.errors import ConfigError, Problem
from bxcache.store.collection import Limits
from bxcache.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bxcache.config.loading import Setup


@dataclass(frozen=True, slots=True)
class Location:
    """A store with its bounds."""

    store: Store
    limits: Limits


def find_location(setup: Setup) -> Location | None:
    """The local store that a configuration declares, or None."""
    for backend in setup.config.cache.backends:
        if isinstance(backend, LocalBackend):
            path = Path(backend.dir) if backend.dir else default_store(setup.root)
            return Location(Store(path), Limits(backend.max_size, backend.max_age))
    return None


def choose_location(
    directory: Path,
    environment: Mapping[str, str],
    *,
    chosen: Path | None = None,
    file: Path | None = None,
) -> Location:
    """The store that a command is about.

    Args:
        directory: the working directory.
        environment: the process's variables.
        chosen: the store's directory, where the caller names one. It has no bounds of its own.
        file: the config file to read instead of looking for one.

    Raises:
        ConfigError: the configuration is wrong, or declares no local store.
    """
    if chosen is not None:
        return Location(Store(directory / chosen), Limits())
    return require_location(load_setup(directory, environment, file=file))


def require_location(setup: Setup) -> Location:
    """The local store that a configuration declares.

    Raises:
        ConfigError: it declares none.
    """
    found = find_location(setup)
    if found is None:
        problem = Problem(
            str(setup.source_of(("cache", "backends"))),
            "cache.backends",
            "no local store is declared; name one with `--dir`",
        )
        raise ConfigError([problem])
    return found
