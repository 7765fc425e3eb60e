"""Hosted CI providers: GitLab, CircleCI, Bitbucket, Travis, Azure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from bxcache.place.statement import (
    FORK,
    MAYBE_FORK,
    PUSH,
    SAME,
    STARTED,
    Found,
    Statement,
    Verdict,
    compare,
    is_request_ref,
    split_ref,
    strip_prefixes,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bxcache.place.variables import Variables

_BITBUCKET = Verdict(
    trusted=True, reason="Bitbucket builds only pull requests of the same repository"
)
_CIRCLE_UNKNOWN = Verdict(trusted=False, reason="CircleCI does not mark forks in such a project")

# Names of merge request variables after `CI_`: GitLab's own, and those of a mirrored repository.
_MERGE_REQUEST = ("MERGE_REQUEST", "SOURCE_PROJECT_ID", "PROJECT_ID")
_EXTERNAL = ("EXTERNAL_PULL_REQUEST", "SOURCE_REPOSITORY", "TARGET_REPOSITORY")
# Another project's pipeline, or the holder of a trigger token, decides by variables what is built.
# A child pipeline has the ref and the variables of its parent.
# https://docs.gitlab.com/ci/jobs/job_rules/#ci_pipeline_source-predefined-variable
_STARTED_BY_OTHERS = ("pipeline", "trigger")


def read_gitlab(variables: Variables) -> Statement:
    """Read GitLab's variables.

    Trust depends on the ids of a merge request's two projects, or on the names of an external pull
    request's two repositories.

    https://docs.gitlab.com/ci/variables/predefined_variables/
    """
    for names in (_MERGE_REQUEST, _EXTERNAL):
        parts = ("IID", "SOURCE_BRANCH_NAME", names[1])
        if any(variables.get(f"CI_{names[0]}_{part}") for part in parts):
            return _read_merge_request(variables, *names)
    branch = variables.find("CI_COMMIT_BRANCH")
    tag = variables.find("CI_COMMIT_TAG")
    return Statement(
        STARTED if variables.get("CI_PIPELINE_SOURCE") in _STARTED_BY_OTHERS else PUSH,
        branch=branch or (None if tag else variables.find("CI_COMMIT_REF_NAME")),
        tag=tag,
        default=variables.find("CI_DEFAULT_BRANCH"),
        doubts=tuple(_doubt_gitlab(variables)),
    )


def _read_merge_request(variables: Variables, kind: str, head: str, base: str) -> Statement:
    number, source, target = (
        f"CI_{kind}_{part}" for part in ("IID", "SOURCE_BRANCH_NAME", "TARGET_BRANCH_NAME")
    )
    heads = (f"CI_{kind}_{head}", f"CI_{kind}_{base}")
    doubts = [*variables.find_missing(number, source, target, *heads)]
    # Branch pipelines set these; pipelines of external pull requests do too.
    if variables.get("CI_COMMIT_TAG") or (
        variables.get("CI_COMMIT_BRANCH") not in ("", variables.get(source))
    ):
        doubts.append(f"{number} and the variables of a branch or a tag contradict each other")
    return Statement(
        compare(variables.get(heads[0]), variables.get(heads[1])),
        branch=variables.find(source),
        base=variables.find(target),
        default=variables.find("CI_DEFAULT_BRANCH"),
        pull_request=variables.find(number),
        doubts=tuple(doubts),
    )


def _doubt_gitlab(variables: Variables) -> Iterator[str]:
    yield from variables.find_blank("CI_MERGE_REQUEST_IID", "CI_EXTERNAL_PULL_REQUEST_IID")
    yield from variables.find_stray(
        "CI_MERGE_REQUEST_TARGET_BRANCH_NAME", "CI_EXTERNAL_PULL_REQUEST_TARGET_BRANCH_NAME"
    )
    if variables.get("CI_PIPELINE_SOURCE") in (
        "merge_request_event",
        "external_pull_request_event",
    ):
        yield "CI_PIPELINE_SOURCE names a merge request, but its variables are not set"
    if not variables.find("CI_COMMIT_BRANCH", "CI_COMMIT_TAG"):
        yield "neither CI_COMMIT_BRANCH nor CI_COMMIT_TAG is set"


def read_circleci(variables: Variables) -> Statement:
    """Read CircleCI's variables; none has the default branch or a pull request's base.

    Trust depends on `CIRCLE_PR_NUMBER`, `CIRCLE_PR_REPONAME` and `CIRCLE_PR_USERNAME`, which are
    set for forks only, and on the branch, which is `pull/12` for a fork. Projects of the GitHub App
    or GitLab set none of these, nor `CIRCLE_PROJECT_REPONAME`: there a fork cannot be recognized.

    https://circleci.com/docs/reference/variables/
    """
    fork = ("CIRCLE_PR_NUMBER", "CIRCLE_PR_REPONAME", "CIRCLE_PR_USERNAME")
    number = variables.find(fork[0]) or _find_circleci_number(variables)
    branch = variables.find("CIRCLE_BRANCH")
    if variables.find(*fork) or (branch and is_request_ref(branch.value)):
        verdict = FORK
    elif not variables.get("CIRCLE_PROJECT_REPONAME"):
        verdict = _CIRCLE_UNKNOWN
    else:
        verdict = SAME if number else PUSH
    doubts = [*variables.find_blank(*fork)]
    if verdict is FORK:
        doubts += variables.find_missing(*fork)
    return Statement(
        verdict,
        branch=branch,
        tag=variables.find("CIRCLE_TAG"),
        pull_request=number,
        doubts=tuple(doubts),
        remarks=("CIRCLE_PROJECT_REPONAME is not set",) if verdict is _CIRCLE_UNKNOWN else (),
    )


def _find_circleci_number(variables: Variables) -> Found | None:
    """Find the number at the end of the (first) pull request's URL."""
    url = variables.find("CIRCLE_PULL_REQUEST", "CIRCLE_PULL_REQUESTS")
    if url is None:
        return None
    number = url.value.partition(",")[0].rstrip("/").rpartition("/")[2]
    return Found(number, url.source) if number else None


def read_bitbucket(variables: Variables) -> Statement:
    """Read Bitbucket Pipelines' variables; none has the default branch.

    Pull requests are trusted: the `pull-requests` start condition excludes those from forks.

    https://support.atlassian.com/bitbucket-cloud/docs/variables-and-secrets/
    https://support.atlassian.com/bitbucket-cloud/docs/pipeline-start-conditions/
    """
    number, base = "BITBUCKET_PR_ID", "BITBUCKET_PR_DESTINATION_BRANCH"
    if variables.get(number):
        verdict, doubts = _BITBUCKET, [*variables.find_missing(base)]
    else:
        verdict, doubts = PUSH, [*variables.find_blank(number), *variables.find_stray(base)]
    return Statement(
        verdict,
        branch=variables.find("BITBUCKET_BRANCH"),
        tag=variables.find("BITBUCKET_TAG"),
        base=variables.find(base),
        pull_request=variables.find(number),
        doubts=tuple(doubts),
    )


def read_travis(variables: Variables) -> Statement:
    """Read Travis CI's variables; none has the default branch.

    Trust depends on whether `TRAVIS_PULL_REQUEST_SLUG` equals `TRAVIS_REPO_SLUG`.

    https://docs.travis-ci.com/user/environment-variables/#default-environment-variables
    """
    number, head = "TRAVIS_PULL_REQUEST", "TRAVIS_PULL_REQUEST_BRANCH"
    slugs = ("TRAVIS_PULL_REQUEST_SLUG", "TRAVIS_REPO_SLUG")
    if variables.get(number) not in ("", "false"):
        doubts = [*variables.find_missing(head, "TRAVIS_BRANCH", *slugs)]
        return Statement(
            compare(*(variables.get(name) for name in slugs)),
            branch=variables.find(head),
            tag=variables.find("TRAVIS_TAG"),
            base=variables.find("TRAVIS_BRANCH"),
            pull_request=variables.find(number),
            doubts=tuple(doubts),
        )
    doubts = [*variables.find_missing(number), *variables.find_stray(head, slugs[0])]
    if variables.get("TRAVIS_EVENT_TYPE") == "pull_request":
        doubts.append("TRAVIS_EVENT_TYPE and TRAVIS_PULL_REQUEST contradict each other")
    branch, tag = variables.find("TRAVIS_BRANCH"), variables.find("TRAVIS_TAG")
    # For a tag, both hold the tag.
    if branch and tag and branch.value == tag.value:
        branch = None
    return Statement(PUSH, branch=branch, tag=tag, doubts=tuple(doubts))


# A pipeline started by another one; see `Build.Reason` in
# https://learn.microsoft.com/en-us/azure/devops/pipelines/build/variables
_AZURE_STARTED = ("BuildCompletion", "ResourceTrigger")
_AZURE_REQUEST = re.compile(r"refs/(?:pull|pull-requests)/(?P<number>[0-9]+)(?:/.*)?")


def read_azure(variables: Variables) -> Statement:
    """Read Azure Pipelines' variables; none has the default branch.

    Trust depends on `SYSTEM_PULLREQUEST_ISFORK` being `False`.

    https://learn.microsoft.com/en-us/azure/devops/pipelines/build/variables
    """
    ref = variables.find("BUILD_SOURCEBRANCH")
    request = _AZURE_REQUEST.fullmatch(ref.value) if ref else None
    prefix = "SYSTEM_PULLREQUEST_"
    number = variables.find(f"{prefix}PULLREQUESTNUMBER", f"{prefix}PULLREQUESTID")
    if request or number or variables.get("BUILD_REASON") == "PullRequest":
        return Statement(
            _judge_azure(variables),
            branch=strip_prefixes(variables.find(f"{prefix}SOURCEBRANCH"), "refs/heads/"),
            base=strip_prefixes(variables.find(f"{prefix}TARGETBRANCH"), "refs/heads/"),
            pull_request=number,
            doubts=tuple(_doubt_azure(variables, request=request is not None, number=number)),
        )
    branch, tag = split_ref(ref)
    # Repositories outside Azure and GitHub give the bare name; `$/` is a TFVC path.
    if ref and not ref.value.startswith(("refs/", "$/")):
        branch = ref
    stray = variables.find_stray(f"{prefix}SOURCEBRANCH", f"{prefix}TARGETBRANCH")
    follows = variables.get("BUILD_REASON") in _AZURE_STARTED
    verdict = STARTED if follows or variables.get("BUILD_TRIGGEREDBY_BUILDID") else PUSH
    return Statement(verdict, branch=branch, tag=tag, doubts=tuple(stray))


def _judge_azure(variables: Variables) -> Verdict:
    known = {"true": FORK, "false": SAME}
    return known.get(variables.get("SYSTEM_PULLREQUEST_ISFORK").lower(), MAYBE_FORK)


def _doubt_azure(variables: Variables, *, request: bool, number: Found | None) -> Iterator[str]:
    if _judge_azure(variables) is MAYBE_FORK:
        yield "SYSTEM_PULLREQUEST_ISFORK is neither True nor False"
    if not request:
        yield "BUILD_SOURCEBRANCH is not a pull request's, but other variables are"
    if number is None:
        yield "the pull request's number is missing"
    yield from variables.find_missing(
        "SYSTEM_PULLREQUEST_SOURCEBRANCH", "SYSTEM_PULLREQUEST_TARGETBRANCH"
    )
