"""Where a build runs, read once."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from bxcache.place.providers import UNREAD, read_provider
from bxcache.place.repository import Ask, Repository, ask_git
from bxcache.place.variables import Variables

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from bxcache.place.statement import Found, Statement

_NO_PROVIDER = ("git", "none")
_FIELDS = ("branch", "tag", "base", "default", "pull_request")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a build runs.

    Names of branches and tags are as their authors chose them, and fit for nothing yet.

    Attributes:
        provider: the CI provider, such as `github`; `git` where there is a checkout and no
            provider is known, `none` where there is neither.
        branch: the branch that is built, for a pull request its head branch; None when it is not
            known or there is none, as for a tag.
        tag: the git tag that is built.
        base: the base branch of a pull request or a merge queue.
        default: the repository's default branch.
        pull_request: a pull request's number.
        trusted: whether the code is that of people who may write to the repository; False
            whenever that cannot be told.
        reason: why it is trusted or not, in a short phrase.
        sources: for each of the fields above that is known, where its value is from: a variable,
            a path in a file that a variable names, or a ref.
        notes: what was missing, contradictory or unreadable on the way.
        consulted: the variables that all of this rests on.
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
    consulted: tuple[str, ...] = field(default=(), compare=False)

    @property
    def is_ci(self) -> bool:
        """Whether a CI system runs the build, one that is read or another."""
        return self.provider not in _NO_PROVIDER or not {*UNREAD}.isdisjoint(self.consulted)


def read_place(environment: Mapping[str, str], directory: Path, *, ask_git: Ask = ask_git) -> Place:
    """Where a build runs, from an environment and, for what that leaves open, from git.

    It never fails: what cannot be read is None, and a note tells of it where it is a surprise.

    Args:
        environment: the variables.
        directory: a directory of the checkout; it need not be one.
        ask_git: what runs git.
    """
    variables = Variables(environment)
    provider, statement = read_provider(variables)
    repository = Repository(directory, ask_git)
    told = _complete(statement, repository, is_ci=bool(provider))
    checkout, nothing = _NO_PROVIDER
    fallback = checkout if repository.is_there else nothing
    found = {name: value for name in _FIELDS if (value := _get(told, name)) is not None}
    values = {name: found[name].value if name in found else None for name in _FIELDS}
    return Place(
        provider=provider or fallback,
        **values,
        trusted=told.verdict.trusted,
        reason=told.verdict.reason,
        sources={name: value.source for name, value in found.items()},
        notes=(*told.doubts, *told.remarks, *repository.notes),
        consulted=tuple(sorted(variables.consulted)),
    )


def read_trust(environment: Mapping[str, str]) -> bool:
    """Whether a build is trusted, which git has no part in."""
    return read_provider(Variables(environment))[1].verdict.trusted


def _get(statement: Statement, name: str) -> Found | None:
    found: Found | None = getattr(statement, name)
    return found


def _complete(statement: Statement, repository: Repository, *, is_ci: bool) -> Statement:
    """Ask git for what a provider does not say; its word is never put above a provider's."""
    branch, tag, default = statement.branch, statement.tag, statement.default
    # A pull request's HEAD says nothing of its head branch: it is a merge, or has a made-up name.
    if branch is None and tag is None and statement.pull_request is None:
        branch = repository.find_branch()
        # A CI checkout is detached at any commit; only its provider knows whether that is a tag.
        if branch is None and not is_ci:
            tag = repository.find_tag()
    if default is None:
        default = repository.find_default()
    return replace(statement, branch=branch, tag=tag, default=default)
