"""What people look for about a build: its repository, its commit, and the page of its CI job.

Only reports show it. It decides nothing, and is part of no scope and no key.
"""

from __future__ import annotations

import re
from contextlib import suppress
from string import Formatter
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from msgspec import Struct

from bxcache.place.providers import name_providers
from bxcache.place.repository import Ask, Repository, ask_git
from bxcache.place.statement import Variables

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
# The characters of https://www.rfc-editor.org/rfc/rfc3986, without `@` in the authority.
_LINK = re.compile(
    r"https?://[\w.~:\[\]!$&'()*+,;=%-]+(?:[/?#][\w.~:/?#\[\]@!$&'()*+,;=%-]*)?",
    re.ASCII | re.IGNORECASE,
)
_IN_LINKS = ":/?#[]@!$&'()*+,;=%"
_LONGEST_LINK, _LONGEST_NAME = 1000, 300
_SHORT = re.compile(r"(?:[^/]*@)?(?P<host>[^/:@]{2,}):(?P<path>(?!:|//).+)")
"""The short form of an SSH address: https://git-scm.com/docs/git-clone#_git_urls"""


class Origin(Struct, frozen=True):
    """Where the built files come from.

    Attributes:
        project: the repository as the CI system names it, such as `team/app`; elsewhere the host
            and the path of the remote. Empty if unknown.
        commit: the full hash of the commit; empty if unknown.
        job_url: the page of the CI job; empty if unknown.
    """

    project: str = ""
    commit: str = ""
    job_url: str = ""


class _Names(Struct, frozen=True):
    """The variables of a CI system, each in braces; the first text whose variables are set."""

    project: tuple[str, ...] = ()
    commit: tuple[str, ...] = ()
    job_url: tuple[str, ...] = ()


_RUN = "{GITHUB_SERVER_URL}/{GITHUB_REPOSITORY}/actions/runs/{GITHUB_RUN_ID}"
_ATTEMPT = f"{_RUN}/attempts/{{GITHUB_RUN_ATTEMPT}}"
_AZURE_RESULTS = "{SYSTEM_TEAMPROJECT}/_build/results?buildId={BUILD_BUILDID}"
# The documentation of the variables is named where `bxcache.place` reads the branch.
_NAMES = {
    "github": _Names(
        ("{GITHUB_REPOSITORY}",),
        ("{GITHUB_SHA}",),
        (_ATTEMPT, _RUN),
    ),
    "gitlab": _Names(("{CI_PROJECT_PATH}",), ("{CI_COMMIT_SHA}",), ("{CI_JOB_URL}",)),
    "circleci": _Names(
        ("{CIRCLE_PROJECT_USERNAME}/{CIRCLE_PROJECT_REPONAME}", "{CIRCLE_REPOSITORY_URL}"),
        ("{CIRCLE_SHA1}",),
        ("{CIRCLE_BUILD_URL}",),
    ),
    "buildkite": _Names(
        ("{BUILDKITE_REPO}",),
        ("{BUILDKITE_COMMIT}",),
        ("{BUILDKITE_BUILD_URL}#{BUILDKITE_JOB_ID}", "{BUILDKITE_BUILD_URL}"),
    ),
    "jenkins": _Names(("{GIT_URL}", "{GIT_URL_1}"), ("{GIT_COMMIT}",), ("{BUILD_URL}",)),
    "azure": _Names(
        ("{BUILD_REPOSITORY_NAME}",),
        ("{BUILD_SOURCEVERSION}",),
        (
            f"{{SYSTEM_COLLECTIONURI}}{_AZURE_RESULTS}",
            f"{{SYSTEM_TEAMFOUNDATIONCOLLECTIONURI}}{_AZURE_RESULTS}",
        ),
    ),
    "bitbucket": _Names(
        ("{BITBUCKET_REPO_FULL_NAME}",),
        ("{BITBUCKET_COMMIT}",),
        ("{BITBUCKET_GIT_HTTP_ORIGIN}/pipelines/results/{BITBUCKET_BUILD_NUMBER}",),
    ),
    "travis": _Names(("{TRAVIS_REPO_SLUG}",), ("{TRAVIS_COMMIT}",), ("{TRAVIS_JOB_WEB_URL}",)),
    "woodpecker": _Names(
        ("{CI_REPO}",), ("{CI_COMMIT_SHA}",), ("{CI_STEP_URL}", "{CI_PIPELINE_URL}")
    ),
    "drone": _Names(("{DRONE_REPO}",), ("{DRONE_COMMIT_SHA}",), ("{DRONE_BUILD_LINK}",)),
    "teamcity": _Names((), ("{BUILD_VCS_NUMBER}",), ("{BUILD_URL}",)),
}
# The number of a run in these systems' addresses depends on their version:
# https://github.com/go-gitea/gitea/issues/28621
_LIKE_GITHUB = ("GITEA_ACTIONS", "FORGEJO_ACTIONS")


def read_origin(
    environment: Mapping[str, str], directory: Path, *, ask_git: Ask = ask_git
) -> Origin:
    """Read where the built files come from, and from git what the CI system leaves open.

    It never fails; malformed values count as unknown.
    """
    variables = Variables(environment)
    names = _NAMES.get("".join(name_providers(variables)[:1]), _Names())
    repository = Repository(directory, ask_git)
    commits = map(keep_commit, _fill(variables, names.commit))
    commit = next(filter(None, commits), None) or repository.find_commit()
    projects = map(_name_project, _fill(variables, names.project))
    project = next(filter(None, projects), None) or name_remote(repository.find_remote() or "")
    is_alike = any(map(variables.is_on, _LIKE_GITHUB))
    links = () if is_alike else map(_quote, _fill(variables, names.job_url))
    return Origin(
        project=project[:_LONGEST_NAME],
        commit=commit or "",
        job_url=next(filter(None, map(keep_link, links)), ""),
    )


def _fill(variables: Variables, texts: tuple[str, ...]) -> Iterator[str]:
    """Yield the texts whose variables are all set, with their values."""
    for text in texts:
        names = [name for _, name, _, _ in Formatter().parse(text) if name]
        values = {name: variables.get(name) for name in names}
        if all(values.values()):
            yield text.format_map(values)


def _name_project(text: str) -> str:
    return name_remote(text) if ":" in text else text


def _quote(url: str) -> str:
    # The name of an Azure project may have spaces.
    return quote(url, safe=_IN_LINKS, errors="backslashreplace")


def name_remote(url: str) -> str:
    """Return the host and the path of a remote, without credentials; empty without a host.

    >>> name_remote("git@github.com:acme/app.git")
    'github.com/acme/app'
    >>> name_remote("https://me:pw@git.example.com:8443/acme/app?token=x")
    'git.example.com/acme/app'
    """
    host, path = "", ""
    if "://" in url:
        with suppress(ValueError):
            parts = urlsplit(url)
            host, path = parts.hostname or "", parts.path
    elif match := _SHORT.fullmatch(url):
        host, path = match["host"], match["path"]
    path = path.strip("/").removesuffix(".git")
    return f"{host}/{path}" if host and path else ""


def keep_commit(text: str) -> str:
    """Return the full hash of a commit, else an empty text, as for `HEAD`."""
    return text if _COMMIT.fullmatch(text) else ""


def keep_link(url: str) -> str:
    """Return a URL that a page may link to, else an empty text.

    It begins with `http://` or `https://`, has neither a user nor a password, and is not too long.

    >>> keep_link("https://ci.example.com/job/7"), keep_link("https://me:pw@example.com/")
    ('https://ci.example.com/job/7', '')
    """
    return url if len(url) <= _LONGEST_LINK and _LINK.fullmatch(url) else ""
