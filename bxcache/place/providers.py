"""The CI provider that runs a build, and what it says about the build."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from bxcache.place.github import read_github
from bxcache.place.hosted import (
    read_azure,
    read_bitbucket,
    read_circleci,
    read_gitlab,
    read_travis,
)
from bxcache.place.self_hosted import (
    read_buildkite,
    read_drone,
    read_jenkins,
    read_teamcity,
    read_woodpecker,
)
from bxcache.place.statement import Statement, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bxcache.place.statement import Variables


class Provider(Struct, frozen=True):
    """A CI provider: how it is recognized, and how to read what it says about a build."""

    name: str
    is_marked: Callable[[Variables], bool]
    read: Callable[[Variables], Statement]


def _is_jenkins(variables: Variables) -> bool:
    """Whether Jenkins runs the build; a person may set `JENKINS_URL` for its command line."""
    url = variables.find("JENKINS_URL", "JENKINS_HOME")
    tag = (variables.get("BUILD_TAG") or "").startswith("jenkins-")
    return bool(variables.find("BUILD_ID", "BUILD_NUMBER") and (url or tag))


def _is_woodpecker(variables: Variables) -> bool:
    return "woodpecker" in (variables.get("CI"), variables.get("CI_SYSTEM_NAME"))


def _is_drone(variables: Variables) -> bool:
    """Whether Drone runs the build; Woodpecker sets Drone's variables too, for old plugins."""
    drone = variables.is_on("DRONE") or variables.get("CI") == "drone"
    return drone and not _is_woodpecker(variables)


def _on(name: str) -> Callable[[Variables], bool]:
    return lambda variables: variables.is_on(name)


def _set(name: str) -> Callable[[Variables], bool]:
    return lambda variables: variables.get(name) is not None


PROVIDERS = (
    Provider("github", _on("GITHUB_ACTIONS"), read_github),  # Gitea and Forgejo, too
    Provider("gitlab", _on("GITLAB_CI"), read_gitlab),
    Provider("circleci", _on("CIRCLECI"), read_circleci),
    Provider("buildkite", _on("BUILDKITE"), read_buildkite),
    Provider("jenkins", _is_jenkins, read_jenkins),
    Provider("azure", _on("TF_BUILD"), read_azure),
    Provider("bitbucket", _set("BITBUCKET_BUILD_NUMBER"), read_bitbucket),
    Provider("travis", _on("TRAVIS"), read_travis),
    Provider("woodpecker", _is_woodpecker, read_woodpecker),
    Provider("drone", _is_drone, read_drone),
    Provider("teamcity", _set("TEAMCITY_VERSION"), read_teamcity),
)
TRACES = {
    "github": ("GITHUB_EVENT_NAME", "GITHUB_EVENT_PATH", "GITHUB_HEAD_REF"),
    "gitlab": ("CI_PIPELINE_SOURCE", "CI_MERGE_REQUEST_IID", "CI_EXTERNAL_PULL_REQUEST_IID"),
    "circleci": ("CIRCLE_BRANCH", "CIRCLE_TAG", "CIRCLE_PR_NUMBER", "CIRCLE_SHA1"),
    "buildkite": ("BUILDKITE_BRANCH", "BUILDKITE_PULL_REQUEST", "BUILDKITE_JOB_ID"),
    "jenkins": ("CHANGE_ID", "CHANGE_FORK", "ghprbPullId"),
    "azure": ("BUILD_SOURCEBRANCH", "SYSTEM_PULLREQUEST_ISFORK", "SYSTEM_PULLREQUEST_SOURCEBRANCH"),
    "bitbucket": ("BITBUCKET_BRANCH", "BITBUCKET_TAG", "BITBUCKET_PR_ID", "BITBUCKET_COMMIT"),
    "travis": ("TRAVIS_BRANCH", "TRAVIS_PULL_REQUEST", "TRAVIS_EVENT_TYPE"),
    "woodpecker": ("CI_PIPELINE_EVENT", "CI_COMMIT_PULL_REQUEST"),
    "drone": ("DRONE_BUILD_EVENT", "DRONE_BRANCH", "DRONE_COMMIT_REF"),
    "teamcity": ("TEAMCITY_BUILD_PROPERTIES_FILE",),
}
"""Variables that only one provider sets. Without its mark, only part of its environment is there,
as in a container."""
UNREAD = (
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
    "CI",
    "CONTINUOUS_INTEGRATION",
)
"""Variables that mark a CI system that bxcache does not read: AWS CodeBuild, Bamboo, GoCD,
AppVeyor, Cirrus, Semaphore, Bitrise, Codefresh, Prow, Taskcluster, Heroku, or any other."""

_PERSON = Verdict(trusted=True, reason="no CI provider runs it")
_UNKNOWN = Verdict(trusted=False, reason="the CI provider is unknown")
_MARKLESS = Verdict(
    trusted=False, reason="some variables of a CI provider are set, but not its mark"
)
_SEVERAL = Verdict(trusted=False, reason="several CI providers claim to run it")
_DOUBTED = "the CI provider's variables are incomplete or contradict each other"
_NUMBER = re.compile(r"[0-9]{1,19}")


def name_providers(variables: Variables) -> tuple[str, ...]:
    """Name the providers that set their mark in an environment; usually one."""
    return tuple(provider.name for provider in PROVIDERS if provider.is_marked(variables))


def read_provider(variables: Variables) -> tuple[str | None, Statement]:
    """Return the CI system's name, or None if unknown, and its checked statement."""
    marked = [provider for provider in PROVIDERS if provider.is_marked(variables)]
    if not marked:
        return None, _read_unmarked(variables)
    provider = marked[0]
    statement = provider.read(variables)
    if len(marked) > 1:
        names = " and ".join(each.name for each in marked)
        note = f"{names} all claim to run this build; using {provider.name}"
        statement = replace(statement, verdict=_SEVERAL, doubts=(note, *statement.doubts))
    return provider.name, _conclude(provider.name, statement)


def _read_unmarked(variables: Variables) -> Statement:
    traces = [
        f"{name} is set, but no other variable shows that {provider} runs this build"
        for provider, names in TRACES.items()
        for name in filter(variables.get, names)
    ]
    if traces:
        return Statement(_MARKLESS, remarks=(traces[0],))
    for name in UNREAD:
        if variables.is_on(name):
            return Statement(_UNKNOWN, remarks=(f"{name} is set, but the provider is unknown",))
    return Statement(_PERSON)


def _conclude(provider: str, statement: Statement) -> Statement:
    """Add all doubts to a statement; any doubt removes trust."""
    doubts = tuple(dict.fromkeys((*statement.doubts, *_doubt(provider, statement))))
    verdict = statement.verdict
    if doubts and verdict.trusted:
        verdict = Verdict(trusted=False, reason=_DOUBTED)
    return replace(statement, verdict=verdict, doubts=doubts)


def _doubt(provider: str, statement: Statement) -> Iterator[str]:
    number, branch, tag = statement.pull_request, statement.branch, statement.tag
    if number and not _NUMBER.fullmatch(number.value):
        yield f"{number.source} is not a number"
    if branch and tag:
        yield f"{branch.source} names a branch, but {tag.source} names a tag"
    if number and tag:
        yield f"{number.source} names a pull request, but {tag.source} names a tag"
    if not branch and not tag and not number:
        yield f"{provider} names neither a branch nor a tag"
    if number and not branch and statement.verdict.trusted:
        yield f"{number.source} names a pull request, but its branch is not set"
