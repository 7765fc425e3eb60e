"""What a CI provider says about a build, before any conclusions."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Found:
    """A value and its source, such as the name of a variable."""

    value: str
    source: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a build's code is trusted, and a short reason."""

    trusted: bool
    reason: str


PUSH = Verdict(trusted=True, reason="a build of the repository itself")
SAME = Verdict(trusted=True, reason="a pull request of the same repository")
FORK = Verdict(trusted=False, reason="a pull request from a fork")
MAYBE_FORK = Verdict(trusted=False, reason="a pull request that may be from a fork")
REQUEST_REF = Verdict(trusted=False, reason="the branch is a pull request's ref")
ANY_EVENT = Verdict(trusted=False, reason="the event does not show whose code is built")
STARTED = Verdict(trusted=False, reason="another build started it, possibly with a fork's code")


@dataclass(frozen=True, slots=True)
class Statement:
    """What a provider says about a build, with the fields of `Place`.

    Attributes:
        verdict: whether the code is trusted, if the provider is right.
        doubts: what is missing or contradictory; any doubt removes trust.
        remarks: oddities that do not change the verdict.
    """

    verdict: Verdict
    branch: Found | None = None
    tag: Found | None = None
    base: Found | None = None
    default: Found | None = None
    pull_request: Found | None = None
    doubts: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


def strip_prefixes(found: Found | None, *prefixes: str) -> Found | None:
    """Remove the first prefix that matches; return None if nothing is left.

    >>> strip_prefixes(Found("refs/heads/main", "X"), "refs/heads/", "refs/tags/")
    Found(value='main', source='X')
    """
    prefix = next((each for each in prefixes if found and found.value.startswith(each)), "")
    rest = found.value.removeprefix(prefix) if found else ""
    return Found(rest, found.source) if found and rest else None


def split_ref(found: Found | None) -> tuple[Found | None, Found | None]:
    """Split a full ref, such as `refs/heads/main`, into a branch and a tag; at most one is set."""
    branch, tag = (
        strip_prefixes(found, prefix) if found and found.value.startswith(prefix) else None
        for prefix in ("refs/heads/", "refs/tags/")
    )
    return branch, tag


def drop_tag_from_branch(statement: Statement) -> Statement:
    """Remove a branch with the tag's name; some providers give a tag as both."""
    branch, tag = statement.branch, statement.tag
    same = branch is not None and tag is not None and branch.value == tag.value
    return replace(statement, branch=None) if same else statement


_REQUEST = re.compile(
    r"(?:refs/)?(?:remotes/)?(?:origin/)?"
    r"(?:(?:pull|pulls|pr|pull-requests|merge-requests|changes)/.*[0-9].*"
    r"|[0-9]+/(?:head|merge|from))"
)


def is_request_ref(text: str) -> bool:
    """Whether a ref is one where code hosts keep pull requests, including those from forks.

    >>> is_request_ref("pull/12"), is_request_ref("refs/pull/12/merge"), is_request_ref("main")
    (True, True, False)
    """
    return _REQUEST.fullmatch(text) is not None


def compare(head: str | None, base: str | None) -> Verdict:
    """Judge a pull request by its two repositories' names, if both are known."""
    if not head or not base:
        return MAYBE_FORK
    # Hosts ignore the case of ASCII letters; other similar letters differ.
    names = [name.encode(errors="surrogatepass").lower() for name in (head, base)]
    return SAME if names[0] == names[1] else FORK


def compare_urls(head: str | None, base: str | None) -> Verdict:
    """Judge a pull request by its two repositories' URLs, if both are known."""
    return compare(*(url and name_repository(url) for url in (head, base)))


_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/]*/")
_SHORT = re.compile(r"[^/:]+:")


def name_repository(url: str) -> str:
    """Return a repository's path on its host, from any form of its URL.

    Two URLs of one repository, for git and for a browser, may differ in everything else.

    >>> name_repository("git@github.com:acme/app.git")
    'acme/app'
    >>> name_repository("https://me:pw@github.com/acme/app/")
    'acme/app'
    """
    path = _SCHEME.sub("", url, count=1) if "://" in url else _SHORT.sub("", url, count=1)
    return path.strip("/").removesuffix(".git")
