"""The table of backends, and the backends that a configuration declares."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from bxcache.config.models import add_settings

if TYPE_CHECKING:
    from bxcache.backends.base import Backend
    from bxcache.backends.holders import Holder
    from bxcache.config.declaration import Declaration
    from bxcache.config.loading import Setup

_HOMES = {
    "local": "LocalBackend",
    "registry": "RegistryBackend",
    "inline": "InlineBackend",
    "gha": "GhaBackend",
    "s3": "S3Backend",
    "azblob": "AzblobBackend",
}
"""The class of every backend, by its declared type, which is also the name of its module;
`config.backends.SETTINGS` has their settings."""
_EXTERNAL: dict[str, type[Backend]] = {}


def register(settings: type[Declaration], backend: type[Backend]) -> None:
    """Register an external backend, before a configuration is loaded, with its settings class."""
    add_settings(backend.kind, settings)
    _EXTERNAL[backend.kind] = backend


def load_backend(kind: str) -> type[Backend]:
    """Return the backend of a declared type; a build loads only those that it uses."""
    if kind in _EXTERNAL:
        return _EXTERNAL[kind]
    found: type[Backend] = getattr(import_module(f"bxcache.backends.{kind}"), _HOMES[kind])
    return found


def is_remote(kind: str) -> bool:
    """Whether a backend type needs a network; true for an unknown type."""
    return kind not in {*_HOMES, *_EXTERNAL} or load_backend(kind).is_remote


def list_backends(setup: Setup) -> tuple[Backend, ...]:
    """The backends that a configuration declares, in its order, for one build."""
    return tuple(load_backend(each.type)(each, setup) for each in setup.config.cache.backends)


def list_holders(setup: Setup) -> list[Holder]:
    """List the holders of the declared backends, which read their scopes and records."""
    found = (each.open_holder() for each in list_backends(setup))
    return [each for each in found if each is not None]
