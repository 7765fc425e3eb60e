"""The table of backends, and the backends that a configuration declares."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bxcache.backends.inline import InlineBackend
from bxcache.backends.local import LocalBackend
from bxcache.backends.registry import RegistryBackend
from bxcache.config.models import add_settings

if TYPE_CHECKING:
    from bxcache.backends.base import Backend
    from bxcache.backends.holders import Holder
    from bxcache.config.backends import Declaration
    from bxcache.config.loading import Setup

BACKENDS: dict[str, type[Backend]] = {
    each.kind: each for each in (LocalBackend, RegistryBackend, InlineBackend)
}
"""Every backend by its declared type; `config.backends.SETTINGS` has their settings."""


def register(settings: type[Declaration], backend: type[Backend]) -> None:
    """Register an external backend, before a configuration is loaded, with its settings class."""
    add_settings(backend.kind, settings)
    BACKENDS[backend.kind] = backend


def is_remote(kind: str) -> bool:
    """Whether a backend type needs a network; true for an unknown type."""
    return kind not in BACKENDS or BACKENDS[kind].is_remote


def list_backends(setup: Setup) -> tuple[Backend, ...]:
    """The backends that a configuration declares, in its order, for one build."""
    return tuple(BACKENDS[each.type](each, setup) for each in setup.config.cache.backends)


def list_holders(setup: Setup) -> list[Holder]:
    """List the holders of the declared backends, which read their scopes and records."""
    found = (each.open_holder() for each in list_backends(setup))
    return [each for each in found if each is not None]
