"""Hosted CI providers: GitLab, CircleCI, Bitbucket, Travis, Azure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec.structs import replace

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
    drop_tag_from_branch,
    is_request_ref,
    split_ref,
    strip_prefixes,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bxcache.place.statement import Variables

_BITBUCKET = Verdict(
    trusted=True, reason="Bitbucket builds only pull requests of the same repository"
)
_CIRCLE_UNKNOWN = Verdict(trusted=False, reason="CircleCI does not mark forks in such a project")

# The ends of the variables that describe a merge request. The last two differ between GitLab's own,
# and those of a mirrored repository.
_PARTS = ("IID", "SOURCE_BRANCH_NAME", "TARGET_BRANCH_NAME")
_REQUESTS = (
    ("MERGE_REQUEST", "SOURCE_PROJECT_ID", "PROJECT_ID"),
    ("EXTERNAL_PULL_REQUEST", "SOURCE_REPOSITORY", "TARGET_REPOSITORY"),
)
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
    default = "CI_DEFAULT_BRANCH"
    for kind, *repositories in _REQUESTS:
        names = [f"CI_{kind}_{part}" for part in (*_PARTS, *repositories)]
        number, source, target, head, base = names
        if not variables.find(number, source, head):
            continue
        doubts = [*variables.find_missing(*names)]
        # Branch pipelines set these; pipelines of external pull requests do too.
        own = variables.get(source)
        if variables.get("CI_COMMIT_TAG") or variables.differs("CI_COMMIT_BRANCH", own):
            doubts.append(f"{number} and the variables of a branch or a tag contradict each other")
        verdict = compare(variables.get(head), variables.get(base))
        fields = {"branch": source, "base": target, "default": default, "pull_request": number}
        return variables.state(verdict, doubts, **fields)
    is_started = variables.get("CI_PIPELINE_SOURCE") in _STARTED_BY_OTHERS
    has_tag = variables.get("CI_COMMIT_TAG")
    return variables.state(
        STARTED if is_started else PUSH,
        _doubt_gitlab(variables),
        branch="CI_COMMIT_BRANCH" if has_tag else ("CI_COMMIT_BRANCH", "CI_COMMIT_REF_NAME"),
        tag="CI_COMMIT_TAG",
        default=default,
    )


def _doubt_gitlab(variables: Variables) -> Iterator[str]:
    yield from variables.find_blank("CI_MERGE_REQUEST_IID", "CI_EXTERNAL_PULL_REQUEST_IID")
    yield from variables.find_stray(
        "CI_MERGE_REQUEST_TARGET_BRANCH_NAME", "CI_EXTERNAL_PULL_REQUEST_TARGET_BRANCH_NAME"
    )
    events = ("merge_request_event", "external_pull_request_event")
    if variables.get("CI_PIPELINE_SOURCE") in events:
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
    branch = variables.get("CIRCLE_BRANCH")
    doubts, remarks = [*variables.find_blank(*fork)], []
    if variables.find(*fork) or (branch and is_request_ref(branch)):
        verdict = FORK
        doubts += variables.find_missing(*fork)
    elif not variables.get("CIRCLE_PROJECT_REPONAME"):
        verdict, remarks = _CIRCLE_UNKNOWN, ["CIRCLE_PROJECT_REPONAME is not set"]
    else:
        verdict = SAME if number else PUSH
    statement = variables.state(verdict, doubts, branch="CIRCLE_BRANCH", tag="CIRCLE_TAG")
    return replace(statement, pull_request=number, remarks=tuple(remarks))


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
    names = {"branch": "BITBUCKET_BRANCH", "tag": "BITBUCKET_TAG"}
    return variables.state(verdict, doubts, **names, base=base, pull_request=number)


def read_travis(variables: Variables) -> Statement:
    """Read Travis CI's variables; none has the default branch.

    Trust depends on whether `TRAVIS_PULL_REQUEST_SLUG` equals `TRAVIS_REPO_SLUG`.

    https://docs.travis-ci.com/user/environment-variables/#default-environment-variables
    """
    number, head = "TRAVIS_PULL_REQUEST", "TRAVIS_PULL_REQUEST_BRANCH"
    slugs = ("TRAVIS_PULL_REQUEST_SLUG", "TRAVIS_REPO_SLUG")
    branch, tag = "TRAVIS_BRANCH", "TRAVIS_TAG"
    if variables.differs(number, "false"):
        fields = {"branch": head, "tag": tag, "base": branch, "pull_request": number}
        missing = variables.find_missing(head, branch, *slugs)
        return variables.state(compare(*map(variables.get, slugs)), missing, **fields)
    doubts = [*variables.find_missing(number), *variables.find_stray(head, slugs[0])]
    if variables.get("TRAVIS_EVENT_TYPE") == "pull_request":
        doubts.append("TRAVIS_EVENT_TYPE and TRAVIS_PULL_REQUEST contradict each other")
    return drop_tag_from_branch(variables.state(PUSH, doubts, branch=branch, tag=tag))


_AZURE = "SYSTEM_PULLREQUEST_"
# A pipeline started by another one; see `Build.Reason` in
# https://learn.microsoft.com/en-us/azure/devops/pipelines/build/variables
_AZURE_STARTED = ("BuildCompletion", "ResourceTrigger")
_AZURE_REQUEST = re.compile(r"refs/(?:pull|pull-requests)/[0-9]+(?:/.*)?")


def read_azure(variables: Variables) -> Statement:
    """Read Azure Pipelines' variables; none has the default branch.

    Trust depends on `SYSTEM_PULLREQUEST_ISFORK` being `False`.

    https://learn.microsoft.com/en-us/azure/devops/pipelines/build/variables
    """
    ref = variables.find("BUILD_SOURCEBRANCH")
    request = ref is not None and _AZURE_REQUEST.fullmatch(ref.value) is not None
    number = variables.find(f"{_AZURE}PULLREQUESTNUMBER", f"{_AZURE}PULLREQUESTID")
    if request or number or variables.get("BUILD_REASON") == "PullRequest":
        return _read_azure_request(variables, number, has_ref=request)
    branch, tag = split_ref(ref)
    # Repositories outside Azure and GitHub give the bare name; `$/` is a TFVC path.
    if ref and not ref.value.startswith(("refs/", "$/")):
        branch = ref
    stray = variables.find_stray(f"{_AZURE}SOURCEBRANCH", f"{_AZURE}TARGETBRANCH")
    follows = variables.get("BUILD_REASON") in _AZURE_STARTED
    verdict = STARTED if follows or variables.get("BUILD_TRIGGEREDBY_BUILDID") else PUSH
    return Statement(verdict, branch=branch, tag=tag, doubts=tuple(stray))


def _read_azure_request(variables: Variables, number: Found | None, *, has_ref: bool) -> Statement:
    source, target = f"{_AZURE}SOURCEBRANCH", f"{_AZURE}TARGETBRANCH"
    is_fork = (variables.get(f"{_AZURE}ISFORK") or "").lower()
    verdict = {"true": FORK, "false": SAME}.get(is_fork, MAYBE_FORK)
    known = {
        f"{_AZURE}ISFORK is neither True nor False": verdict is not MAYBE_FORK,
        "BUILD_SOURCEBRANCH is not a pull request's, but other variables are": has_ref,
        "the pull request's number is missing": number is not None,
    }
    doubts = [doubt for doubt, is_known in known.items() if not is_known]
    return Statement(
        verdict,
        branch=strip_prefixes(variables.find(source), "refs/heads/"),
        base=strip_prefixes(variables.find(target), "refs/heads/"),
        pull_request=number,
        doubts=(*doubts, *variables.find_missing(source, target)),
    )
