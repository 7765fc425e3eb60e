"""The locations of a project's caches: the local store with its limits, and the registries."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from bxcache.backends.base import DECLARED
from bxcache.config.backends import InlineSettings, LocalSettings, RegistrySettings
from bxcache.config.loading import default_store
from bxcache.config.problems import dotted
from bxcache.errors import ConfigError, Problem
from bxcache.place.trust import load_guarded
from bxcache.store.collection import Limits
from bxcache.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bxcache.config.loading import Setup
    from bxcache.registry.registry_cache import RegistryCache


_ADVICE = "name one with `--from`, or see `bxcache registry ls` for what is in a registry"


class Location(Struct, frozen=True):
    store: Store
    limits: Limits


class RegistryLocation(Struct, frozen=True):
    """A registry with how long it keeps an unused scope, in seconds; None means forever."""

    cache: RegistryCache
    max_age: int | None = None


def find_location(setup: Setup) -> Location | None:
    """Find the local store that a configuration declares, or None."""
    declared = setup.config.cache.backends
    found = (each for each in declared if isinstance(each, LocalSettings))
    return next((locate_store(setup, each) for each in found), None)


def locate_store(setup: Setup, settings: LocalSettings) -> Location:
    path = Path(settings.dir) if settings.dir else default_store(setup.root)
    if setup.directory != Path.cwd():
        # Docker runs in that directory; elsewhere, messages name the path as it was given.
        path = setup.directory / path
    # An untrusted build does not know the limits that trusted builds use.
    limits = Limits(settings.max_size, settings.max_age)
    return Location(Store(path), limits if setup.is_callers(DECLARED) else Limits())


def choose_location(
    directory: Path,
    environment: Mapping[str, str],
    *,
    chosen: Path | None = None,
    file: Path | None = None,
) -> Location:
    """Choose the store that a command works on: the `chosen` directory, without limits, if any.

    Raises:
        ConfigError: the configuration is wrong, or declares no local store.
    """
    if chosen is not None:
        return Location(Store(directory / chosen), Limits())
    return require_location(load_guarded(directory, environment, file=file))


def require_location(setup: Setup, advice: str = _ADVICE) -> Location:
    """Find the local store that a configuration declares; ConfigError if it declares none."""
    found = find_location(setup)
    if found is None:
        raise _refuse(setup, f"no local store is declared; {advice}")
    return found


def choose_registries(  # noqa: PLR0913  # each is an option of the command
    directory: Path,
    environment: Mapping[str, str],
    *,
    chosen: str | None = None,
    insecure: bool = False,
    writes: bool = False,
    file: Path | None = None,
) -> list[RegistryLocation]:
    """Choose the registries that a command works on, or changes if it `writes`.

    Args:
        chosen: the repository, if the caller names one, whose registry may be `insecure`. It has no
            limits.
        file: the config file to read instead of looking for one.

    Raises:
        ConfigError: the configuration is wrong, or declares no suitable registry.
    """
    from bxcache.registry.registry_cache import RegistryCache  # noqa: PLC0415  # loads HTTP

    if chosen is not None:
        try:
            return [RegistryLocation(RegistryCache(chosen, insecure=insecure))]
        except ValueError as error:
            raise ConfigError([Problem("--from", "", str(error))]) from error
    setup = load_guarded(directory, environment, file=file)
    # Two backends can be two tags of one repository.
    found = {
        cache.name: RegistryLocation(cache, each.max_age)
        for each in setup.config.cache.backends
        if isinstance(each, RegistrySettings | InlineSettings) and each.keeps_all
        for cache in [RegistryCache(each.ref, insecure=each.insecure)]
    }
    if not found:
        raise _refuse(setup, "no registry is declared; name one with `--from`")
    if writes and not setup.is_callers(DECLARED):
        why = "a file whose author is not trusted does not say what is removed; give `--from`"
        raise _refuse(setup, why)
    return list(found.values())


def _refuse(setup: Setup, why: str) -> ConfigError:
    return ConfigError([Problem(str(setup.source_of(DECLARED)), dotted(DECLARED), why)])
