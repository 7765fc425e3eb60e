"""CI providers on self-hosted machines: Buildkite, Drone, Woodpecker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bxcache.place.statement import (
    MAYBE_FORK,
    PUSH,
    SAME,
    STARTED,
    Found,
    Statement,
    Verdict,
    compare,
    name_repository,
    split_ref,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bxcache.place.variables import Variables

_ANY_EVENT = Verdict(trusted=False, reason="the event does not show whose code is built")
_TRIGGERED = "BUILDKITE_TRIGGERED_FROM_BUILD_ID"


def read_buildkite(variables: Variables) -> Statement:
    """Read Buildkite's variables.

    Trust depends on the repositories in `BUILDKITE_PULL_REQUEST_REPO` and `BUILDKITE_REPO`; a
    branch such as `owner:main` is a fork's too. A build triggered by another build's step has the
    branch that the step names, whatever code the other build has.

    https://buildkite.com/docs/pipelines/configure/environment-variables
    """
    number, base = "BUILDKITE_PULL_REQUEST", "BUILDKITE_PULL_REQUEST_BASE_BRANCH"
    repositories = ("BUILDKITE_PULL_REQUEST_REPO", "BUILDKITE_REPO")
    default = variables.find("BUILDKITE_PIPELINE_DEFAULT_BRANCH")
    branch, tag = variables.find("BUILDKITE_BRANCH"), variables.find("BUILDKITE_TAG")
    foreign = branch is not None and ":" in branch.value
    if variables.get(number) not in ("", "false"):
        verdict = compare(*(name_repository(variables.get(name)) for name in repositories))
        doubts = [*variables.find_missing("BUILDKITE_BRANCH", base, *repositories)]
        if foreign and verdict is SAME:
            doubts.append("BUILDKITE_BRANCH is a fork's, but BUILDKITE_PULL_REQUEST_REPO is not")
        return Statement(
            verdict,
            branch=branch,
            tag=tag,
            base=variables.find(base),
            default=default,
            pull_request=variables.find(number),
            doubts=tuple(doubts),
        )
    doubts = [*variables.find_missing(number), *variables.find_stray(base, repositories[0])]
    if foreign:
        doubts.append("BUILDKITE_BRANCH is a fork's, but BUILDKITE_PULL_REQUEST is not set")
    # For a tag, both hold the tag.
    if branch and tag and branch.value == tag.value:
        branch = None
    queue = variables.find("BUILDKITE_MERGE_QUEUE_BASE_BRANCH")
    triggered = variables.get("BUILDKITE_SOURCE") == "trigger_job"
    verdict = STARTED if triggered or variables.get(_TRIGGERED) else PUSH
    return Statement(
        verdict, branch=branch, tag=tag, base=queue, default=default, doubts=tuple(doubts)
    )


@dataclass(frozen=True, slots=True)
class _Names:
    """The variable names of Drone or Woodpecker, its descendant."""

    event: tuple[str, ...]
    ref: str
    branch: str
    source: str
    target: str
    tag: str
    number: tuple[str, ...]
    default: str


_DRONE = _Names(
    ("DRONE_BUILD_EVENT",),
    "DRONE_COMMIT_REF",
    "DRONE_BRANCH",
    "DRONE_SOURCE_BRANCH",
    "DRONE_TARGET_BRANCH",
    "DRONE_TAG",
    ("DRONE_PULL_REQUEST",),
    "DRONE_REPO_BRANCH",
)
_WOODPECKER = _Names(
    # The second is from releases before 1.0.
    ("CI_PIPELINE_EVENT", "CI_BUILD_EVENT"),
    "CI_COMMIT_REF",
    "CI_COMMIT_BRANCH",
    "CI_COMMIT_SOURCE_BRANCH",
    "CI_COMMIT_TARGET_BRANCH",
    "CI_COMMIT_TAG",
    ("CI_COMMIT_PULL_REQUEST",),
    "CI_REPO_DEFAULT_BRANCH",
)
_OWN = frozenset(
    {"push", "tag", "release", "cron", "manual", "custom", "promote", "rollback", "deployment"}
)


def read_drone(variables: Variables) -> Statement:
    """Read Drone's variables. None marks a fork, so pull requests are not trusted.

    https://docs.drone.io/pipeline/environment/reference/
    """
    return _read(variables, _DRONE)


def read_woodpecker(variables: Variables) -> Statement:
    """Read Woodpecker's variables. None marks a fork, so pull requests are not trusted.

    https://woodpecker-ci.org/docs/usage/environment
    """
    return _read(variables, _WOODPECKER)


def _read(variables: Variables, names: _Names) -> Statement:
    event = variables.find(*names.event)
    if event and event.value.startswith("pull_request"):
        return _read_pull_request(variables, names)
    branch, tag = split_ref(variables.find(names.ref))
    if not variables.get(names.ref):
        tag = variables.find(names.tag)
        branch = None if tag else variables.find(names.branch)
    known = event is not None and event.value in _OWN
    doubts = [*_doubt(variables, names, branch, tag)]
    if not known:
        doubts.append(f"{names.event[0]} is not a known event")
    return Statement(
        PUSH if known else _ANY_EVENT,
        branch=branch,
        tag=tag,
        default=variables.find(names.default),
        doubts=tuple(doubts),
    )


def _doubt(
    variables: Variables, names: _Names, branch: Found | None, tag: Found | None
) -> Iterator[str]:
    yield from variables.find_stray(*names.number)
    if tag and variables.get(names.tag) not in ("", tag.value):
        yield f"{names.ref} and {names.tag} contradict each other"
    if branch and variables.get(names.tag):
        yield f"{names.ref} is a branch, but {names.tag} is set"
    if branch and variables.get(names.branch) not in ("", branch.value):
        yield f"{names.ref} and {names.branch} contradict each other"


def _read_pull_request(variables: Variables, names: _Names) -> Statement:
    return Statement(
        MAYBE_FORK,
        branch=variables.find(names.source),
        # For a pull request, both set the branch to the base branch.
        base=variables.find(names.target, names.branch),
        default=variables.find(names.default),
        pull_request=variables.find(*names.number),
        doubts=tuple(variables.find_missing(*names.number)),
    )
