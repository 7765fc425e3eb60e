"""The place where a build runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from bxcache.place.providers import UNREAD, read_provider
from bxcache.place.repository import Ask, Repository, ask_git
from bxcache.place.statement import Variables

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from bxcache.place.statement import Found

CHECKOUT = "git"
"""The provider of a checkout that no known CI system builds."""
_NO_PROVIDER = (CHECKOUT, "none")
FIELDS = ("branch", "tag", "base", "default", "pull_request")


class Place(Struct, frozen=True):
    """Where a build runs.

    Names of branches and tags are as their authors chose them; they are not sanitized.

    Attributes:
        provider: the CI provider, such as `github`; `git` in a checkout without a known provider,
            `none` without either.
        branch: the branch being built; for a pull request, its head branch. None if unknown, or
            if there is none, as for a tag.
        base: the base branch of a pull request or a merge queue.
        pull_request: a pull request's number.
        trusted: whether the code is from people who may write to the repository; False if unknown.
        reason: why it is trusted or not, in a short phrase.
        sources: where the value of each known field is from: a variable, a path in a file that a
            variable names, or a ref.
        notes: what was missing, contradictory or unreadable.
        consulted: the variables that were read.
        is_fork: whether the code is known to be a fork's; False if it only may be.
    """

    provider: str
    branch: str | None
    tag: str | None
    base: str | None
    default: str | None
    pull_request: str | None
    trusted: bool
    reason: str
    sources: Mapping[str, str]
    notes: tuple[str, ...]
    consulted: tuple[str, ...] = ()
    is_fork: bool = False

    @property
    def is_ci(self) -> bool:
        """Whether a CI system runs the build, known to bxcache or not."""
        return self.provider not in _NO_PROVIDER or not {*UNREAD}.isdisjoint(self.consulted)


def read_place(environment: Mapping[str, str], directory: Path, *, ask_git: Ask = ask_git) -> Place:
    """Read where a build runs from the environment, and from git what that leaves open.

    It never fails: what cannot be read is None, with a note if that is unexpected.
    """
    variables = Variables(environment)
    provider, statement = read_provider(variables)
    repository = Repository(directory, ask_git)
    fields: dict[str, Found | None] = {name: getattr(statement, name) for name in FIELDS}
    # Git never overrides a provider. A pull request's HEAD does not show its head branch: it is a
    # merge, or has a made-up name.
    if not any(fields[name] for name in ("branch", "tag", "pull_request")):
        fields["branch"] = repository.find_branch()
        # A CI checkout is detached at any commit; only the provider knows whether that is a tag.
        if fields["branch"] is None and provider is None:
            fields["tag"] = repository.find_tag()
    fields["default"] = fields["default"] or repository.find_default()
    return Place(
        provider=provider or (CHECKOUT if repository.is_there else "none"),
        **{name: found.value if found else None for name, found in fields.items()},
        trusted=statement.verdict.trusted,
        reason=statement.verdict.reason,
        sources={name: found.source for name, found in fields.items() if found},
        notes=(*statement.doubts, *statement.remarks, *repository.notes),
        consulted=tuple(sorted(variables.consulted)),
        is_fork=statement.verdict.is_fork,
    )
