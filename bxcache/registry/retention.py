"""Which scopes of a registry to remove. Pure: the caller lists what exists."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import product
from typing import TYPE_CHECKING

from bxcache.config.quantities import format_age
from bxcache.place.scope import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bxcache.registry.scopes import RemoteScope


@dataclass(frozen=True, slots=True)
class Retention:
    """Which scopes to keep, as `RegistryCache.prune` takes it."""

    max_age: int | None = None
    branches: frozenset[str] | None = None
    tags: frozenset[str] | None = None
    keep: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Removal:
    """A scope to remove, and why."""

    scope: RemoteScope
    reason: str


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
