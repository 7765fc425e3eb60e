"""Which scopes of a registry go. Pure: what exists is told by the caller."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from bxcache.config.quantities import format_age
from bxcache.place.scope import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bxcache.place.scope import Owner
    from bxcache.registry.scopes import RemoteScope


@dataclass(frozen=True, slots=True)
class Retention:
    """What stays.

    Attributes:
        max_age: how long an unused scope stays, in seconds; None is for ever.
        branches: the branches that exist, or None when a scope stays without its branch.
        tags: the git tags that exist, or None when a scope stays without its tag.
        keep: patterns of branches and tags in the registry that stay in any case, as in a shell.
    """

    max_age: int | None = None
    branches: frozenset[str] | None = None
    tags: frozenset[str] | None = None
    keep: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Removal:
    """A scope that goes, and why."""

    scope: RemoteScope
    reason: str


def choose_removed(
    scopes: Iterable[RemoteScope], retention: Retention, now: float
) -> list[Removal]:
    """The scopes that go, in their order.

    Args:
        scopes: all that bxcache has written there.
        retention: what stays.
        now: the time, in seconds since 1970.
    """
    judged = ((scope, _judge(scope, retention, now)) for scope in scopes)
    return [Removal(scope, reason) for scope, reason in judged if reason]


def _judge(scope: RemoteScope, retention: Retention, now: float) -> str:
    """Why a scope goes, or an empty string."""
    owner = scope.label.scope.owner
    names = (str(owner), scope.tag)
    if scope.changed or any(
        fnmatchcase(name, pattern) for pattern in retention.keep for name in names
    ):
        return ""
    if scope.lost:
        return "its cache is gone already"
    gone = _find_gone(owner, retention)
    if gone:
        return gone
    unused = now - scope.label.used
    if retention.max_age is not None and unused > retention.max_age:
        return f"unused for {format_age(int(unused))}"
    return ""


def _find_gone(owner: Owner, retention: Retention) -> str:
    """What no longer exists of what a scope was made for."""
    known = {Kind.BRANCH: retention.branches, Kind.TAG: retention.tags}.get(owner.kind)
    if known is None or owner.text in known:
        return ""
    return f"the {owner.kind} `{owner.text}` no longer exists"
