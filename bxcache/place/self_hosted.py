"""CI providers on self-hosted machines: Buildkite, Drone, Woodpecker."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from bxcache.place.statement import (
    ANY_EVENT,
    MAYBE_FORK,
    PUSH,
    SAME,
    STARTED,
    compare_urls,
    drop_tag_from_branch,
    split_ref,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bxcache.place.statement import Found, Statement
    from bxcache.place.variables import Variables

_TRIGGERED = "BUILDKITE_TRIGGERED_FROM_BUILD_ID"


def read_buildkite(variables: Variables) -> Statement:
    """Read Buildkite's variables.

    Trust depends on the repositories in `BUILDKITE_PULL_REQUEST_REPO` and `BUILDKITE_REPO`; a
    branch such as `owner:main` is a fork's too. A build triggered by another build's step has the
    branch that the step names, whatever code the other build has.

    https://buildkite.com/docs/pipelines/configure/environment-variables
    """
    number, base = "BUILDKITE_PULL_REQUEST", "BUILDKITE_PULL_REQUEST_BASE_BRANCH"
    head, own = "BUILDKITE_PULL_REQUEST_REPO", "BUILDKITE_REPO"
    branch = "BUILDKITE_BRANCH"
    names = {"tag": "BUILDKITE_TAG", "default": "BUILDKITE_PIPELINE_DEFAULT_BRANCH"}
    foreign = ":" in (variables.get(branch) or "")
    if variables.differs(number, "false"):
        verdict = compare_urls(variables.get(head), variables.get(own))
        doubts = [*variables.find_missing(branch, base, head, own)]
        if foreign and verdict is SAME:
            doubts.append(f"{branch} is a fork's, but {head} is not")
        return variables.state(
            verdict, doubts, **names, branch=branch, base=base, pull_request=number
        )
    doubts = [*variables.find_missing(number), *variables.find_stray(base, head)]
    if foreign:
        doubts.append(f"{branch} is a fork's, but {number} is not set")
    triggered = variables.get("BUILDKITE_SOURCE") == "trigger_job"
    verdict = STARTED if triggered or variables.get(_TRIGGERED) else PUSH
    queue = "BUILDKITE_MERGE_QUEUE_BASE_BRANCH"
    statement = variables.state(verdict, doubts, **names, branch=branch, base=queue)
    return drop_tag_from_branch(statement)


@dataclass(frozen=True, slots=True)
class _Names:
    """The variable names of Drone or Woodpecker, its descendant."""

    events: tuple[str, ...]
    ref: str
    branch: str
    source: str
    target: str
    tag: str
    number: str
    default: str


# https://docs.drone.io/pipeline/environment/reference/
_DRONE = _Names(
    ("DRONE_BUILD_EVENT",),
    "DRONE_COMMIT_REF",
    "DRONE_BRANCH",
    "DRONE_SOURCE_BRANCH",
    "DRONE_TARGET_BRANCH",
    "DRONE_TAG",
    "DRONE_PULL_REQUEST",
    "DRONE_REPO_BRANCH",
)
# https://woodpecker-ci.org/docs/usage/environment
_WOODPECKER = _Names(
    # The second is from releases before 1.0.
    ("CI_PIPELINE_EVENT", "CI_BUILD_EVENT"),
    "CI_COMMIT_REF",
    "CI_COMMIT_BRANCH",
    "CI_COMMIT_SOURCE_BRANCH",
    "CI_COMMIT_TARGET_BRANCH",
    "CI_COMMIT_TAG",
    "CI_COMMIT_PULL_REQUEST",
    "CI_REPO_DEFAULT_BRANCH",
)
_OWN = frozenset(
    {"push", "tag", "release", "cron", "manual", "custom", "promote", "rollback", "deployment"}
)


def _read(variables: Variables, names: _Names) -> Statement:
    """Read the variables of either. None marks a fork, so pull requests are not trusted."""
    event = variables.find(*names.events)
    if event and event.value.startswith("pull_request"):
        return variables.state(
            MAYBE_FORK,
            variables.find_missing(names.number),
            branch=names.source,
            # For a pull request, both set the branch to the base branch.
            base=(names.target, names.branch),
            default=names.default,
            pull_request=names.number,
        )
    branch, tag = split_ref(variables.find(names.ref))
    if not variables.get(names.ref):
        tag = variables.find(names.tag)
        branch = None if tag else variables.find(names.branch)
    known = event is not None and event.value in _OWN
    doubts = [*_doubt(variables, names, branch, tag)]
    if not known:
        doubts.append(f"{names.events[0]} is not a known event")
    statement = variables.state(PUSH if known else ANY_EVENT, doubts, default=names.default)
    return replace(statement, branch=branch, tag=tag)


def _doubt(
    variables: Variables, names: _Names, branch: Found | None, tag: Found | None
) -> Iterator[str]:
    yield from variables.find_stray(names.number)
    if tag and variables.differs(names.tag, tag.value):
        yield f"{names.ref} and {names.tag} contradict each other"
    if branch and variables.get(names.tag):
        yield f"{names.ref} is a branch, but {names.tag} is set"
    if branch and variables.differs(names.branch, branch.value):
        yield f"{names.ref} and {names.branch} contradict each other"


read_drone = partial(_read, names=_DRONE)
read_woodpecker = partial(_read, names=_WOODPECKER)
