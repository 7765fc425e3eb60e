"""The caches that a build may start from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bxcache.config.backends import LocalBackend
from bxcache.config.reference import Reference
from bxcache.plan.plan import Candidate

if TYPE_CHECKING:
    from pathlib import Path

    from bxcache.config.backends import Backend, InlineBackend, RegistryBackend
    from bxcache.config.models import Config
    from bxcache.placement import Placement
    from bxcache.scope import Scope

PLAIN_TAG = "latest"
"""The tag of a local cache that is exported without one."""


def list_candidates(
    config: Config, scope: Scope, placement: Placement, store: Path | None, donor: str = ""
) -> tuple[Candidate, ...]:
    """The caches that a build may start from, best first.

    A target without a cache of its own starts from the whole image's, which has all its stages. A
    store that plain buildx exported to has another one to start from.

    Args:
        config: the configuration.
        scope: whose cache the build saves.
        placement: whose caches it may read.
        store: the local store's directory, if there is one.
        donor: the one scope that is meant, whatever else would be.
    """
    if donor:
        what = "the scope that is named"
        return tuple(
            Candidate(each, _name_place(each, donor, store), donor, what)
            for each in config.cache.backends
        )
    found: dict[tuple[str, str], Candidate] = {}
    for owner, what in placement.list_owners(config.cache.read):
        own = scope.of_owner(owner)
        for backend in config.cache.backends:
            for each in dict.fromkeys((own, own.whole)):
                place = _name_place(backend, each.name, store)
                # Whoever names a tag keeps one cache for all.
                key = each.name if isinstance(backend, LocalBackend) else ""
                found.setdefault((place, key), Candidate(backend, place, each.name, what))
    for backend in config.cache.backends:
        if isinstance(backend, LocalBackend):
            what = "what plain buildx left there"
            found[str(store), PLAIN_TAG] = Candidate(backend, str(store), PLAIN_TAG, what)
    return tuple(found.values())


def _name_place(backend: Backend, scope: str, store: Path | None) -> str:
    return str(store) if isinstance(backend, LocalBackend) else find_ref(backend, scope)


def find_ref(backend: RegistryBackend | InlineBackend, scope: str) -> str:
    """The ref of a scope's cache in a registry: the scope is the tag, unless one is declared."""
    reference = Reference.parse(backend.ref)
    if not backend.keeps_all:
        return str(reference if reference.tag else Reference(reference.name, "latest"))
    return str(reference if reference.tag else Reference(reference.name, scope))
