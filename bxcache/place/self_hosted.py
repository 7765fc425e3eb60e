"""CI providers on self-hosted machines: Buildkite, Drone, Woodpecker, Jenkins, TeamCity."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from bxcache.place.statement import (
    ANY_EVENT,
    FORK,
    MAYBE_FORK,
    PUSH,
    REQUEST_REF,
    SAME,
    STARTED,
    Found,
    Statement,
    compare_urls,
    drop_tag_from_branch,
    is_request_ref,
    read_file,
    split_ref,
    strip_prefixes,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bxcache.place.statement import Variables


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
    verdict = STARTED if triggered or variables.get("BUILDKITE_TRIGGERED_FROM_BUILD_ID") else PUSH
    queue = "BUILDKITE_MERGE_QUEUE_BASE_BRANCH"
    statement = variables.state(verdict, doubts, **names, branch=branch, base=queue)
    return drop_tag_from_branch(statement)


class _Names(Struct, frozen=True):
    """The variable names of Drone, or of Woodpecker, its descendant.

    https://docs.drone.io/pipeline/environment/reference/
    """

    events: tuple[str, ...] = ("DRONE_BUILD_EVENT",)
    ref: str = "DRONE_COMMIT_REF"
    branch: str = "DRONE_BRANCH"
    source: str = "DRONE_SOURCE_BRANCH"
    target: str = "DRONE_TARGET_BRANCH"
    tag: str = "DRONE_TAG"
    number: str = "DRONE_PULL_REQUEST"
    default: str = "DRONE_REPO_BRANCH"


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


def _read_drone(variables: Variables, names: _Names) -> Statement:
    """Read the variables of Drone or Woodpecker.

    No variable marks a fork, so pull requests are not trusted.
    """
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
    doubts = [*_doubt_drone(variables, names, branch, tag)]
    if not known:
        doubts.append(f"{names.events[0]} is not a known event")
    statement = variables.state(PUSH if known else ANY_EVENT, doubts, default=names.default)
    return replace(statement, branch=branch, tag=tag)


def _doubt_drone(
    variables: Variables, names: _Names, branch: Found | None, tag: Found | None
) -> Iterator[str]:
    yield from variables.find_stray(names.number)
    if tag and variables.differs(names.tag, tag.value):
        yield f"{names.ref} and {names.tag} contradict each other"
    if branch and variables.get(names.tag):
        yield f"{names.ref} is a branch, but {names.tag} is set"
    if branch and variables.differs(names.branch, branch.value):
        yield f"{names.ref} and {names.branch} contradict each other"


read_drone = partial(_read_drone, names=_Names())
read_woodpecker = partial(_read_drone, names=_WOODPECKER)


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
    """Read the variables of Jenkins, which come from the plugins that a job uses.

    Trust depends on `CHANGE_FORK` in a multibranch project, and on the author's repository with the
    GitHub pull request builder.

    https://www.jenkins.io/doc/book/pipeline/jenkinsfile/#using-environment-variables
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
    # Plugins that set `CHANGE_BRANCH` set `CHANGE_FORK` for changes from forks, and for no others.
    # Older plugins set neither: https://github.com/jenkinsci/branch-api-plugin
    names = {"pull_request": "CHANGE_ID", "branch": "CHANGE_BRANCH", "base": "CHANGE_TARGET"}
    doubts = (*variables.find_missing(*names.values()), *variables.find_blank("CHANGE_FORK"))
    verdict = FORK if variables.get("CHANGE_FORK") else SAME
    return variables.state(verdict, doubts, **names, tag="TAG_NAME")


def _read_ghprb(variables: Variables) -> Statement:
    # The GitHub pull request builder: https://plugins.jenkins.io/ghprb/
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
        STARTED if variables.is_on(_UPSTREAM) else PUSH,
        branch=branch,
        tag=tag,
        default=Found(default, "BRANCH_NAME with BRANCH_IS_PRIMARY") if default else None,
        doubts=tuple(_doubt_jenkins(variables)),
    )
    statement = drop_tag_from_branch(statement)
    if statement.branch and is_request_ref(statement.branch.value):
        return replace(statement, verdict=REQUEST_REF)
    return statement


def _find_branch(variables: Variables) -> Found | None:
    """Find the branch, from a multibranch project or else from the git plugin."""
    # `GIT_BRANCH` starts with the remote's name, and is `detached` without a branch:
    # https://plugins.jenkins.io/git/#plugin-content-environment-variables
    found = variables.find("BRANCH_NAME", "GIT_LOCAL_BRANCH", "GIT_BRANCH")
    if found and found.value == "detached" and found.source != "BRANCH_NAME":
        return None
    if found and found.source == "GIT_BRANCH":
        return strip_prefixes(found, "refs/remotes/origin/", "refs/heads/", "origin/")
    return found


def _doubt_jenkins(variables: Variables) -> Iterator[str]:
    yield from variables.find_blank("CHANGE_ID", "CHANGE_FORK", "ghprbPullId")
    yield from variables.find_stray("ghprbSourceBranch", "gitlabMergeRequestId")
    if _CHANGE.fullmatch(variables.get("BRANCH_NAME") or ""):
        yield "BRANCH_NAME is a change request's, but CHANGE_ID is not set"


_PROPERTIES = "TEAMCITY_BUILD_PROPERTIES_FILE"
_SECOND_FILE = "teamcity.configuration.properties.file"
_BRANCH = "teamcity.build.branch"
_VCS_BRANCH = "teamcity.build.vcs.branch."
_LINE = re.compile(r"\s*(?P<key>(?:\\.|[^\\\s=:])+)\s*[=:]?\s*(?P<value>.*)", re.DOTALL)
_ESCAPE = re.compile(r"\\(?:u(?P<code>[0-9A-Fa-f]{4})|(?P<letter>.))", re.DOTALL)
_LETTERS = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}


def read_teamcity(variables: Variables) -> Statement:
    """Read TeamCity's properties files. No property marks a fork: pull requests are not trusted.

    https://www.jetbrains.com/help/teamcity/predefined-build-parameters.html
    https://www.jetbrains.com/help/teamcity/pull-requests.html
    """
    properties, troubles = _read_properties(variables)

    def find(key: str) -> Found | None:
        return Found(properties[key], f"{key} in {_PROPERTIES}") if properties.get(key) else None

    number = find("teamcity.pullRequest.number")
    if number or find("teamcity.pullRequest.source.branch"):
        missing = () if number else ("teamcity.pullRequest.number is not set",)
        return Statement(
            MAYBE_FORK,
            branch=strip_prefixes(find("teamcity.pullRequest.source.branch"), "refs/heads/"),
            base=strip_prefixes(find("teamcity.pullRequest.target.branch"), "refs/heads/"),
            pull_request=number,
            doubts=(*troubles, *missing),
        )
    refs = {key: ref for key, ref in properties.items() if ref and key.startswith(_VCS_BRANCH)}
    shown = properties.get(_BRANCH, "")
    if len({*refs.values()}) == 1:
        # A single VCS root has the branch's full name.
        found = find(next(iter(refs)))
    else:
        found = find(_BRANCH) if shown != "<default>" else None
    branch = strip_prefixes(found, "refs/heads/")
    # TeamCity shows what a branch specification leaves of a ref.
    is_request = any(is_request_ref(ref) or ref.isdecimal() for ref in (*refs.values(), shown))
    is_default = properties.get("teamcity.build.branch.is_default") == "true"
    return Statement(
        REQUEST_REF if is_request else PUSH,
        branch=branch,
        default=branch if is_default else None,
        doubts=tuple(troubles),
    )


def _read_properties(variables: Variables) -> tuple[dict[str, str], list[str]]:
    """Read the build's properties, and the configuration parameters that they refer to."""
    path = variables.get(_PROPERTIES)
    if path is None:
        return {}, [f"{_PROPERTIES} is not set"]
    try:
        properties = parse_properties(read_file(path))
    except (OSError, ValueError):
        return {}, [f"the file of {_PROPERTIES} cannot be read"]
    second = properties.get(_SECOND_FILE, "")
    try:
        return properties | (parse_properties(read_file(second)) if second else {}), []
    except (OSError, ValueError):
        return properties, [f"the file of {_SECOND_FILE} in {_PROPERTIES} cannot be read"]


def parse_properties(data: bytes) -> dict[str, str]:
    r"""Parse a Java properties file; ignore malformed lines.

    https://docs.oracle.com/en/java/javase/21/docs/api/java.base/java/util/Properties.html#load(java.io.Reader)

    >>> parse_properties(b"#x\na.b=refs\\:heads\\=1\nc : d \\\n  e\n")
    {'a.b': 'refs:heads=1', 'c': 'd e'}
    """
    matches = filter(None, map(_LINE.fullmatch, _join_lines(data.decode("latin-1"))))
    return {_unescape(match["key"]): _unescape(match["value"]) for match in matches}


def _join_lines(text: str) -> Iterator[str]:
    """Join lines continued by a backslash, and skip comments."""
    joined: list[str] = []
    for line in re.split(r"\r\n|\r|\n", text):
        part = line.lstrip(" \t\f")
        if not joined and part[:1] in ("", "#", "!"):
            continue
        if (len(part) - len(part.rstrip("\\"))) % 2:
            joined.append(part[:-1])
            continue
        yield "".join((*joined, part))
        joined = []
    if joined:
        yield "".join(joined)


def _unescape(text: str) -> str:
    def resolve(match: re.Match[str]) -> str:
        if match["code"]:
            return chr(int(match["code"], 16))
        return _LETTERS.get(match["letter"], match["letter"])

    return _ESCAPE.sub(resolve, text)
