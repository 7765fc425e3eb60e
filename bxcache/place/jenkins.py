"""Jenkins, whose variables come from the plugins that a job uses.

https://www.jenkins.io/doc/book/pipeline/jenkinsfile/#using-environment-variables
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from bxcache.place.statement import (
    FORK,
    MAYBE_FORK,
    PUSH,
    REQUEST_REF,
    SAME,
    STARTED,
    Found,
    Statement,
    Verdict,
    compare_urls,
    drop_tag_from_branch,
    is_request_ref,
    strip_prefixes,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bxcache.place.variables import Variables

# Branch sources name the projects of change requests like this: `PR-12`, `MR-12-merge`.
_CHANGE = re.compile(r"(?:PR|MR)-[0-9]+(?:-(?:head|merge))?")
# Set by a plugin in a job that another job starts; Jenkins itself sets nothing:
# https://plugins.jenkins.io/envinject/
_UPSTREAM = "BUILD_CAUSE_UPSTREAMTRIGGER"
# Plugins that build pull requests without marking forks: the number, the head, the base.
# https://plugins.jenkins.io/gitlab-plugin/ and https://plugins.jenkins.io/gerrit-trigger/
_UNMARKED = (
    ("gitlabMergeRequestIid", "gitlabSourceBranch", "gitlabTargetBranch"),
    ("GERRIT_CHANGE_NUMBER", "GERRIT_TOPIC", "GERRIT_BRANCH"),
)


def read_jenkins(variables: Variables) -> Statement:
    """Read the variables of Jenkins and its plugins.

    Trust depends on `CHANGE_FORK` in a multibranch project, and on the author's repository with the
    GitHub pull request builder.
    """
    if variables.find("CHANGE_ID", "CHANGE_BRANCH", "CHANGE_TARGET", "CHANGE_FORK"):
        return _read_change(variables)
    if variables.get("ghprbPullId"):
        return _read_ghprb(variables)
    for number, head, base in _UNMARKED:
        if variables.get(number):
            return variables.state(MAYBE_FORK, branch=head, base=base, pull_request=number)
    return _read_branch(variables)


def _read_change(variables: Variables) -> Statement:
    """Read a change request of a multibranch project.

    Plugins that set `CHANGE_BRANCH` set `CHANGE_FORK` for changes from forks, and for no others.
    Older plugins set neither.

    https://github.com/jenkinsci/branch-api-plugin
    """
    names = {"branch": "CHANGE_BRANCH", "base": "CHANGE_TARGET", "pull_request": "CHANGE_ID"}
    missing = variables.find_missing("CHANGE_ID", "CHANGE_BRANCH", "CHANGE_TARGET")
    return variables.state(
        FORK if variables.get("CHANGE_FORK") else SAME,
        (*missing, *variables.find_blank("CHANGE_FORK")),
        **names,
        tag="TAG_NAME",
    )


def _read_ghprb(variables: Variables) -> Statement:
    """Read the GitHub pull request builder: https://plugins.jenkins.io/ghprb/."""
    names = ("ghprbSourceBranch", "ghprbTargetBranch", "ghprbAuthorRepoGitUrl", "ghprbGhRepository")
    branch, base, head, own = names
    fields = {"branch": branch, "base": base, "pull_request": "ghprbPullId"}
    verdict = compare_urls(variables.get(head), variables.get(own))
    return variables.state(verdict, variables.find_missing(*names), **fields)


def _read_branch(variables: Variables) -> Statement:
    branch, tag = _find_branch(variables), variables.find("TAG_NAME")
    default = variables.get("BRANCH_NAME") if variables.is_on("BRANCH_IS_PRIMARY") else None
    if branch and branch.value.startswith("refs/tags/"):
        tag, branch = tag or strip_prefixes(branch, "refs/tags/"), None
    statement = Statement(
        PUSH,
        branch=branch,
        tag=tag,
        default=Found(default, "BRANCH_NAME with BRANCH_IS_PRIMARY") if default else None,
        doubts=tuple(_doubt(variables)),
    )
    statement = drop_tag_from_branch(statement)
    return replace(statement, verdict=_judge_branch(variables, statement.branch))


def _judge_branch(variables: Variables, branch: Found | None) -> Verdict:
    if branch and is_request_ref(branch.value):
        return REQUEST_REF
    return STARTED if variables.is_on(_UPSTREAM) else PUSH


def _find_branch(variables: Variables) -> Found | None:
    """Find the branch, from a multibranch project or else from the git plugin.

    `GIT_BRANCH` starts with the remote's name, and is `detached` without a branch.

    https://plugins.jenkins.io/git/#plugin-content-environment-variables
    """
    found = variables.find("BRANCH_NAME", "GIT_LOCAL_BRANCH", "GIT_BRANCH")
    if found is None or found.source == "BRANCH_NAME":
        return found
    if found.value == "detached":
        return None
    if found.source == "GIT_BRANCH":
        return strip_prefixes(found, "refs/remotes/origin/", "refs/heads/", "origin/")
    return found


def _doubt(variables: Variables) -> Iterator[str]:
    yield from variables.find_blank("CHANGE_ID", "CHANGE_FORK", "ghprbPullId")
    yield from variables.find_stray("ghprbSourceBranch", "gitlabMergeRequestId")
    if _CHANGE.fullmatch(variables.get("BRANCH_NAME") or ""):
        yield "BRANCH_NAME is a change request's, but CHANGE_ID is not set"
