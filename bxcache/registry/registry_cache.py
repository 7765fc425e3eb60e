"""A registry's repository of scopes, for whoever looks after it."""

from __future__ import annotations

import os
import secrets
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bxcache.config.reference import Reference
from bxcache.errors import RegistryError, Trouble
from bxcache.oci.documents import compute_digest
from bxcache.registry.labels import EMPTY, MANIFEST_TYPE, name_label, render_artifact
from bxcache.registry.probing import open_repository
from bxcache.registry.retention import Removal, Retention, choose_removed
from bxcache.registry.scopes import (
    RemoteScope,
    find_own,
    list_scopes,
    read_digests,
    remove_scope,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

_NO_DELETING = (
    "docker's own registry deletes with `REGISTRY_STORAGE_DELETE_ENABLED=true`; hosted ones have "
    "retention rules of their own, or a permission to delete"
)


@dataclass(frozen=True, slots=True)
class Pruned:
    """What pruning did.

    Attributes:
        removed: the scopes that went, and why.
        kept: the scopes that stayed.
        freed_bytes: the size of the layers that only removed scopes had. The registry gives the
            room free when it next collects its garbage.
    """

    removed: tuple[Removal, ...]
    kept: tuple[RemoteScope, ...]
    freed_bytes: int


class RegistryCache:
    """The scopes that bxcache keeps in a repository of a registry.

    Example:
        >>> cache = RegistryCache("registry.example.com/team/app-cache")
        >>> cache.name
        'registry.example.com/team/app-cache'
    """

    def __init__(self, ref: str, *, insecure: bool = False) -> None:
        """Nothing is asked yet.

        Args:
            ref: the repository; a tag in it does not count.
            insecure: plain HTTP and unverified TLS are allowed.

        Raises:
            ValueError: it is no reference.
        """
        self.name = Reference.parse(ref).name
        self._repository = open_repository(Reference(self.name), os.environ, insecure=insecure)

    def list_scopes(self) -> list[RemoteScope]:
        """Every scope that bxcache has written, in the order of the tags.

        Raises:
            RegistryError: the registry does not tell.
        """
        return list_scopes(self._repository)

    def prune(
        self,
        *,
        max_age: int | None = None,
        branches: Iterable[str] | None = None,
        tags: Iterable[str] | None = None,
        keep: Iterable[str] = (),
        dry_run: bool = False,
    ) -> Pruned:
        """Remove scopes that are not needed any more; other tags are never touched.

        Args:
            max_age: how long an unused scope stays, in seconds; None is for ever.
            branches: the branches that exist, where those of others are to go.
            tags: the git tags that exist, where those of others are to go.
            keep: patterns of branches and tags in the registry that stay in any case.
            dry_run: only tell.

        Raises:
            RegistryError: the registry does not tell, or does not let scopes be deleted.
        """
        retention = Retention(
            max_age,
            frozenset(branches) if branches is not None else None,
            frozenset(tags) if tags is not None else None,
            tuple(keep),
        )
        scopes = self.list_scopes()
        removals = [
            replace(each, scope=find_own(self._repository, each.scope))
            for each in choose_removed(scopes, retention, time.time())
        ]
        going = {removal.scope.tag for removal in removals}
        kept = tuple(scope for scope in scopes if scope.tag not in going)
        if removals and not dry_run:
            self._check_deleting()
            self._remove([removal.scope for removal in removals])
        return Pruned(tuple(removals), kept, _measure_freed(removals, kept))

    def _check_deleting(self) -> None:
        """Find out whether the registry deletes, on something that nobody needs."""
        body = render_artifact({"io.bxcache.probe": secrets.token_hex(16)})
        digest = compute_digest(body)
        try:
            self._repository.write_blob(EMPTY)
            self._repository.write_manifest(digest, body, MANIFEST_TYPE)
            self._repository.delete_manifest(digest)
        except RegistryError as error:
            if error.trouble is not Trouble.REFUSED:
                raise
            raise RegistryError(
                error.registry,
                error.operation,
                f"it does not let anything be deleted ({error.cause}); nothing was removed",
                trouble=error.trouble,
                hint=_NO_DELETING,
            ) from error

    def _remove(self, scopes: list[RemoteScope]) -> None:
        going = {
            name for scope in scopes for name in (scope.tag, name_label(scope.tag), *scope.stages)
        }
        staying = [tag for tag in self._repository.list_tags() if tag not in going]
        shared = read_digests(self._repository, staying)
        for scope in scopes:
            remove_scope(self._repository, scope, shared)


def _measure_freed(removals: list[Removal], kept: tuple[RemoteScope, ...]) -> int:
    stays = {digest for scope in kept for digest in scope.layers}
    goes = {d: size for removal in removals for d, size in removal.scope.layers.items()}
    return sum(size for digest, size in goes.items() if digest not in stays)
