"""Which CI provider runs a build, and what it says of it."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bxcache.place.github import read_github
from bxcache.place.hosted import (
    read_azure,
    read_bitbucket,
    read_circleci,
    read_gitlab,
    read_travis,
)
from bxcache.place.jenkins import read_jenkins
from bxcache.place.self_hosted import read_buildkite, read_drone, read_woodpecker
from bxcache.place.statement import Statement, Verdict
from bxcache.place.teamcity import read_teamcity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bxcache.place.variables import Variables


@dataclass(frozen=True, slots=True)
class Provider:
    """A CI provider.

    Attributes:
        name: what bxcache calls it.
        is_marked: whether an environment is marked as its own.
        read: what it says of a build.
        traces: variables that only it sets. Without its mark they are half of an environment,
            such as one that was passed into a container.
    """

    name: str
    is_marked: Callable[[Variables], bool]
    read: Callable[[Variables], Statement]
    traces: tuple[str, ...]


def _is_jenkins(variables: Variables) -> bool:
    """A person's shell may have `JENKINS_URL` for Jenkins' command line; no build goes with it."""
    url = bool(variables.get("JENKINS_URL") or variables.get("JENKINS_HOME"))
    tag = variables.get("BUILD_TAG").startswith("jenkins-")
    return bool(variables.get("BUILD_ID") or variables.get("BUILD_NUMBER")) and (url or tag)


def _is_woodpecker(variables: Variables) -> bool:
    return "woodpecker" in (variables.get("CI"), variables.get("CI_SYSTEM_NAME"))


def _is_drone(variables: Variables) -> bool:
    """Woodpecker has Drone's variables too, for the plugins of its ancestor."""
    drone = variables.is_on("DRONE") or variables.get("CI") == "drone"
    return drone and not _is_woodpecker(variables)


PROVIDERS = (
    Provider(
        "github",
        # Gitea and Forgejo set this too.
        lambda variables: variables.is_on("GITHUB_ACTIONS"),
        read_github,
        ("GITHUB_EVENT_NAME", "GITHUB_EVENT_PATH", "GITHUB_HEAD_REF"),
    ),
    Provider(
        "gitlab",
        lambda variables: variables.is_on("GITLAB_CI"),
        read_gitlab,
        ("CI_PIPELINE_SOURCE", "CI_MERGE_REQUEST_IID", "CI_EXTERNAL_PULL_REQUEST_IID"),
    ),
    Provider(
        "circleci",
        lambda variables: variables.is_on("CIRCLECI"),
        read_circleci,
        ("CIRCLE_BRANCH", "CIRCLE_TAG", "CIRCLE_PR_NUMBER", "CIRCLE_SHA1"),
    ),
    Provider(
        "buildkite",
        lambda variables: variables.is_on("BUILDKITE"),
        read_buildkite,
        ("BUILDKITE_BRANCH", "BUILDKITE_PULL_REQUEST", "BUILDKITE_JOB_ID"),
    ),
    Provider("jenkins", _is_jenkins, read_jenkins, ("CHANGE_ID", "CHANGE_FORK", "ghprbPullId")),
    Provider(
        "azure",
        lambda variables: variables.is_on("TF_BUILD"),
        read_azure,
        ("BUILD_SOURCEBRANCH", "SYSTEM_PULLREQUEST_ISFORK", "SYSTEM_PULLREQUEST_SOURCEBRANCH"),
    ),
    Provider(
        "bitbucket",
        lambda variables: bool(variables.get("BITBUCKET_BUILD_NUMBER")),
        read_bitbucket,
        ("BITBUCKET_BRANCH", "BITBUCKET_TAG", "BITBUCKET_PR_ID", "BITBUCKET_COMMIT"),
    ),
    Provider(
        "travis",
        lambda variables: variables.is_on("TRAVIS"),
        read_travis,
        ("TRAVIS_BRANCH", "TRAVIS_PULL_REQUEST", "TRAVIS_EVENT_TYPE"),
    ),
    Provider(
        "woodpecker",
        _is_woodpecker,
        read_woodpecker,
        ("CI_PIPELINE_EVENT", "CI_COMMIT_PULL_REQUEST"),
    ),
    Provider(
        "drone", _is_drone, read_drone, ("DRONE_BUILD_EVENT", "DRONE_BRANCH", "DRONE_COMMIT_REF")
    ),
    Provider(
        "teamcity",
        lambda variables: bool(variables.get("TEAMCITY_VERSION")),
        read_teamcity,
        ("TEAMCITY_BUILD_PROPERTIES_FILE",),
    ),
)
# What providers that are not read set, some of which do not set `CI`: AWS CodeBuild, Bamboo, GoCD,
# AppVeyor, Cirrus, Semaphore, Bitrise, Codefresh, Prow, Taskcluster, Heroku.
_OTHERS = (
    "CODEBUILD_BUILD_ID",
    "bamboo_buildKey",
    "GO_PIPELINE_NAME",
    "APPVEYOR",
    "CIRRUS_CI",
    "SEMAPHORE",
    "BITRISE_IO",
    "CF_BUILD_ID",
    "PROW_JOB_ID",
    "TASKCLUSTER_ROOT_URL",
    "HEROKU_TEST_RUN_ID",
)
UNREAD = (*_OTHERS, "CI", "CONTINUOUS_INTEGRATION")
"""The variables that CI systems set of which nothing is read."""

_PERSON = Verdict(trusted=True, reason="no CI provider runs it")
_UNKNOWN = Verdict(trusted=False, reason="the CI provider is unknown")
_TRACES = Verdict(trusted=False, reason="some variables of a CI provider are set, its mark is not")
_SEVERAL = Verdict(trusted=False, reason="several CI providers claim to run it")
_DOUBTED = "the CI provider's variables are incomplete or contradict each other"
_NUMBER = re.compile(r"[0-9]{1,19}")


def name_providers(variables: Variables) -> tuple[str, ...]:
    """The names of the providers that mark an environment as theirs; one is the rule."""
    return tuple(provider.name for provider in PROVIDERS if provider.is_marked(variables))


def read_provider(variables: Variables) -> tuple[str, Statement]:
    """The provider's name and what it says, checked; an empty name where none says anything."""
    marked = [provider for provider in PROVIDERS if provider.is_marked(variables)]
    if not marked:
        return "", _read_unmarked(variables)
    provider = marked[0]
    statement = provider.read(variables)
    if len(marked) > 1:
        names = " and ".join(name_providers(variables))
        note = f"{names} all claim to run this build; {provider.name} is believed"
        statement = replace(statement, verdict=_SEVERAL, doubts=(note, *statement.doubts))
    return provider.name, _conclude(provider.name, statement)


def _read_unmarked(variables: Variables) -> Statement:
    traces = tuple(
        f"{name} is set, but nothing else says that {provider.name} runs this build"
        for provider in PROVIDERS
        for name in provider.traces
        if variables.get(name)
    )
    if traces:
        return Statement(_TRACES, remarks=traces[:1])
    for name in UNREAD:
        if variables.is_on(name):
            return Statement(_UNKNOWN, remarks=(f"{name} is set, the provider is unknown",))
    return Statement(_PERSON)


def _conclude(provider: str, statement: Statement) -> Statement:
    """The statement with all doubts about it, and without the trust that they take away."""
    doubts = tuple(dict.fromkeys((*statement.doubts, *_doubt(provider, statement))))
    verdict = statement.verdict
    if doubts and verdict.trusted:
        verdict = Verdict(trusted=False, reason=_DOUBTED)
    return replace(statement, verdict=verdict, doubts=doubts)


def _doubt(provider: str, statement: Statement) -> Iterator[str]:
    number, branch, tag = statement.pull_request, statement.branch, statement.tag
    if number and not _NUMBER.fullmatch(number.value):
        yield f"{number.source} is no number"
    if branch and tag:
        yield f"{branch.source} says a branch and {tag.source} says a tag"
    if number and tag:
        yield f"{number.source} says a pull request and {tag.source} says a tag"
    if not branch and not tag and not number:
        yield f"{provider} names neither a branch nor a tag"
    if number and not branch and statement.verdict.trusted:
        yield f"{number.source} says a pull request, but its branch is not named"
