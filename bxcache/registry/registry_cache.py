"""Maintenance of the scopes in a registry's repository."""

from __future__ import annotations

import os
import secrets
import time
from fnmatch import fnmatchcase
from itertools import product
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from bxcache.config.json_documents import make_part, pick
from bxcache.config.quantities import format_age
from bxcache.config.reference import Reference
from bxcache.errors import RecordError, RegistryError, Trouble
from bxcache.oci.documents import compute_digest
from bxcache.place.scope import Kind
from bxcache.registry.labels import EMPTY, MANIFEST_TYPE, name_label, render_artifact
from bxcache.registry.repository import open_repository
from bxcache.registry.scopes import (
    describe_scopes,
    find_own,
    list_scopes,
    read_digests,
    remove_scope,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bxcache.registry.scopes import RemoteScope

_NO_DELETING = (
    "set `REGISTRY_STORAGE_DELETE_ENABLED=true` in docker's own registry; a hosted one needs a "
    "permission to delete, or has its own retention rules"
)


class Retention(Struct, frozen=True):
    """The scopes to keep, for `RegistryCache.prune`."""

    max_age: int | None = None
    branches: frozenset[str] | None = None
    tags: frozenset[str] | None = None
    keep: tuple[str, ...] = ()


class Removal(Struct, frozen=True):
    """A scope to remove.

    Attributes:
        scope: what is removed, with those images of its stages that bxcache wrote.
        reason: why it is not needed, for people.
    """

    scope: RemoteScope
    reason: str


class Pruned(Struct, frozen=True):
    """The result of pruning or removing.

    Attributes:
        registry: the repository's name, with its host.
        removed: the scopes that were removed, and why.
        kept: all other scopes that bxcache has written.
        freed_bytes: the size of the layers that only removed scopes had; the registry's next
            garbage collection frees the space.
        dry_run: whether nothing was removed, but would be.
    """

    registry: str
    removed: tuple[Removal, ...]
    kept: tuple[RemoteScope, ...]
    freed_bytes: int
    dry_run: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return the registry's part of the document that `registry prune --json` prints."""
        gone = [each.scope for each in self.removed]
        described = describe_scopes([*gone, *self.kept])
        removed = [
            {**scope, "reason": each.reason}
            for scope, each in zip(described, self.removed, strict=False)
        ]
        kept = described[len(gone) :]
        known = pick(self, "registry", "dry_run", "freed_bytes")
        return make_part({**known, "removed": removed, "kept": kept})


class RegistryCache:
    """The scopes that bxcache keeps in a repository of a registry.

    Example:
        >>> cache = RegistryCache("registry.example.com/team/app-cache")
        >>> cache.name
        'registry.example.com/team/app-cache'
    """

    def __init__(self, ref: str, *, insecure: bool = False) -> None:
        """Create the cache of a reference, whose tag is ignored, without a request.

        An insecure one allows plain HTTP and unverified TLS.

        Raises:
            ValueError: it is not a reference.
        """
        reference = Reference.parse(ref)
        self.name = reference.name
        self._repository = open_repository(reference, os.environ, insecure=insecure)

    def list_scopes(self) -> list[RemoteScope]:
        """Every scope that bxcache has written, by tag; RegistryError if a request fails."""
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
        """Remove scopes that are no longer needed; other tags are never touched.

        Args:
            max_age: how long to keep an unused scope, in seconds; None means forever.
            branches: the existing branches; scopes of other branches are removed.
            tags: the existing git tags; scopes of other tags are removed.
            keep: patterns of branches, and of tags in the registry, that are always kept.
            dry_run: only report what would be removed.

        Raises:
            RegistryError: a request failed, or the registry does not allow deletion.
        """
        retention = Retention(
            max_age,
            frozenset(branches) if branches is not None else None,
            frozenset(tags) if tags is not None else None,
            tuple(keep),
        )
        scopes = self.list_scopes()
        chosen = choose_removed(scopes, retention, time.time())
        return self._drop(chosen, scopes, dry_run=dry_run)

    def remove(self, *tags: str, dry_run: bool = False) -> Pruned:
        """Remove the scopes with these tags, except those that another client has overwritten.

        Tags that are no scopes are ignored.

        Args:
            dry_run: only report what would be removed.

        Raises:
            RegistryError: a request failed, or the registry does not allow deletion.
        """
        scopes = self.list_scopes()
        chosen = [each for each in scopes if each.tag in tags and not each.changed]
        removals = [Removal(each, "as asked") for each in chosen]
        return self._drop(removals, scopes, dry_run=dry_run)

    def _drop(self, chosen: list[Removal], scopes: list[RemoteScope], *, dry_run: bool) -> Pruned:
        removals = [replace(each, scope=find_own(self._repository, each.scope)) for each in chosen]
        going = {removal.scope.tag for removal in removals}
        kept = tuple(scope for scope in scopes if scope.tag not in going)
        if removals and not dry_run:
            self._check_deleting()
            self._remove([removal.scope for removal in removals])
        stays = {digest for scope in kept for digest in scope.layers}
        goes = {d: size for each in removals for d, size in each.scope.layers.items()}
        freed = sum(size for digest, size in goes.items() if digest not in stays)
        return Pruned(self.name, tuple(removals), kept, freed, dry_run)

    def _check_deleting(self) -> None:
        """Check, with a throwaway manifest, that the registry allows deletion."""
        body = render_artifact({"io.bxcache.probe": secrets.token_hex(16)})
        digest = compute_digest(body)
        try:
            self._repository.write_blob(EMPTY)
            self._repository.write_manifest(digest, body, MANIFEST_TYPE)
            self._repository.delete_manifest(digest)
        except RegistryError as error:
            if error.trouble is not Trouble.REFUSED:
                raise
            cause = f"it does not allow deletion ({error.cause}); nothing was removed"
            raise RegistryError(
                error.registry, error.operation, cause, trouble=error.trouble, hint=_NO_DELETING
            ) from error

    def _remove(self, scopes: list[RemoteScope]) -> None:
        going = {
            name for scope in scopes for name in (scope.tag, name_label(scope.tag), *scope.stages)
        }
        staying = [tag for tag in self._repository.list_tags() if tag not in going]
        shared = read_digests(self._repository, staying)
        for scope in scopes:
            remove_scope(self._repository, scope, shared)


def check_removable(found: Mapping[str, Iterable[RemoteScope]], tags: Iterable[str]) -> None:
    """Raise a RecordError if a tag is no scope that bxcache may remove, in any repository."""
    scopes = [scope for each in found.values() for scope in each]
    own = {scope.tag for scope in scopes if not scope.changed}
    for tag in tags:
        if tag in own:
            continue
        where = ", ".join(f"`{name}`" for name in found)
        if tag in {scope.tag for scope in scopes}:
            why = f"another client has overwritten the scope `{tag}` in {where}"
            raise RecordError(why, hint="remove the tag with a tool of the registry")
        names = ", ".join(f"`{name}`" for name in sorted(own)) or "no scopes"
        raise RecordError(f"there is no scope `{tag}` in {where}", hint=f"there are {names}")


def choose_removed(
    scopes: Iterable[RemoteScope], retention: Retention, now: float
) -> list[Removal]:
    """The scopes to remove of all that bxcache has written, at a time in seconds since 1970."""
    judged = ((scope, _judge(scope, retention, now)) for scope in scopes)
    return [Removal(scope, reason) for scope, reason in judged if reason]


def _judge(scope: RemoteScope, retention: Retention, now: float) -> str | None:
    """Why to remove a scope, or None."""
    owner, unused = scope.label.scope.owner, now - scope.label.used
    names = (str(owner), scope.tag)
    if scope.changed or any(fnmatchcase(*each) for each in product(names, retention.keep)):
        return None
    if scope.lost:
        return "its cache no longer exists"
    known = {Kind.BRANCH: retention.branches, Kind.TAG: retention.tags}.get(owner.kind)
    if known is not None and owner.text not in known:
        return f"the {owner.kind} `{owner.text}` no longer exists"
    if retention.max_age is not None and unused > retention.max_age:
        return f"unused for {format_age(int(unused))}"
    return None
