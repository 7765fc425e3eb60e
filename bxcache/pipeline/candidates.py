"""The caches that a build may start from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bxcache.backends.base import Candidate
from bxcache.config.backends import LocalBackend
from bxcache.config.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from pathlib import Path

    from bxcache.config.backends import Backend, InlineBackend, RegistryBackend
    from bxcache.config.models import Config
    from bxcache.place.scope import Owner, Scope
    from bxcache.place.trust import Trust

PLAIN_TAG = "latest"
"""The tag of a local cache that is exported without one."""


def list_candidates(  # noqa: PLR0913  # each says another thing of where a cache may be
    config: Config,
    scope: Scope,
    trust: Trust,
    store: Path | None,
    donor: str = "",
    *,
    stored: Collection[str] = (),
) -> tuple[Candidate, ...]:
    """The caches that a build may start from, best first.

    A target without a cache of its own starts from the whole image's, which has all its stages. A
    store can have scopes for other platforms, some of which are those of the build; and one that
    plain buildx exported to has another one to start from.

    Args:
        config: the configuration.
        scope: whose cache the build saves.
        trust: whose caches it may read.
        store: the local store's directory, if there is one.
        donor: the one scope that is meant, whatever else would be.
        stored: the scopes that the store has.
    """
    if donor:
        what = "the scope that is named"
        return tuple(
            Candidate(each, _name_place(each, donor, store), donor, what)
            for each in config.cache.backends
        )
    found: dict[tuple[str, str], Candidate] = {}
    owners = tuple(trust.list_owners(config.cache.read))
    for owner, what in owners:
        own = scope.of_owner(owner)
        for backend in config.cache.backends:
            for each in dict.fromkeys((own, own.whole)):
                place = _name_place(backend, each.name, store)
                # Whoever names a tag keeps one cache for all.
                key = each.name if isinstance(backend, LocalBackend) else ""
                found.setdefault((place, key), Candidate(backend, place, each.name, what))
    for backend in config.cache.backends:
        if isinstance(backend, LocalBackend):
            # Where all are imported, one more would make BuildKit miss what the others have.
            known = () if config.cache.read_all else stored
            for other in list_overlapping(scope, owners, backend, known, store):
                found.setdefault((other.place, other.scope), other)
            what = "what plain buildx left there"
            found[str(store), PLAIN_TAG] = Candidate(backend, str(store), PLAIN_TAG, what)
    return tuple(found.values())


def list_overlapping(
    scope: Scope,
    owners: Iterable[tuple[Owner, str]],
    backend: Backend,
    known: Collection[str],
    store: Path | None = None,
) -> Iterator[Candidate]:
    """The caches for other platforms, some of which are those of the build, best first.

    Args:
        scope: whose cache the build saves.
        owners: whose caches it may read, each with what it is to the build.
        backend: where they are kept.
        known: the scopes that are kept there, among other tags.
        store: the local store's directory, if that is where.
    """
    for owner, what in owners:
        own = scope.of_owner(owner)
        for each in dict.fromkeys((own, own.whole)):
            for name, platforms in each.list_overlapping(known):
                place = _name_place(backend, name, store)
                yield Candidate(backend, place, name, f"{what}, for {', '.join(platforms)}")


def _name_place(backend: Backend, scope: str, store: Path | None) -> str:
    return str(store) if isinstance(backend, LocalBackend) else find_ref(backend, scope)


def find_ref(backend: RegistryBackend | InlineBackend, scope: str) -> str:
    """The ref of a scope's cache in a registry: the scope is the tag, unless one is declared."""
    reference = Reference.parse(backend.ref)
    if not backend.keeps_all:
        return str(reference if reference.tag else Reference(reference.name, "latest"))
    return str(reference if reference.tag else Reference(reference.name, scope))
