"""What a CI provider says of a build, before anything is concluded from it."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Found:
    """A text and where it is from, such as the name of a variable."""

    value: str
    source: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a build's code is trusted, and why, in a short phrase."""

    trusted: bool
    reason: str


PUSH = Verdict(trusted=True, reason="a build of the repository itself")
SAME = Verdict(trusted=True, reason="a pull request of the same repository")
FORK = Verdict(trusted=False, reason="a pull request from a fork")
UNTOLD = Verdict(trusted=False, reason="a pull request that may be from a fork")
STARTED = Verdict(trusted=False, reason="another build started it, which may be of a fork's code")


@dataclass(frozen=True, slots=True)
class Statement:
    """What a provider says.

    Attributes:
        verdict: what it says of the code, taken at its word.
        branch: the branch that is built; a pull request's head branch.
        tag: the tag that is built.
        base: a pull request's base branch.
        default: the repository's default branch.
        pull_request: a pull request's number.
        doubts: what is missing in it or contradicts itself. Each takes the trust away.
        remarks: what is odd about it and leaves the verdict as it is.
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
    """The text without the first of the prefixes that it has; None when nothing is left.

    >>> strip_prefixes(Found("refs/heads/main", "X"), "refs/heads/", "refs/tags/")
    Found(value='main', source='X')
    """
    if found is None:
        return None
    for prefix in prefixes:
        if found.value.startswith(prefix):
            rest = found.value.removeprefix(prefix)
            return Found(rest, found.source) if rest else None
    return found


def split_ref(found: Found | None) -> tuple[Found | None, Found | None]:
    """The branch or the tag of a full ref, such as `refs/heads/main`; one of them at most."""
    if found is None:
        return None, None
    if found.value.startswith("refs/tags/"):
        return None, strip_prefixes(found, "refs/tags/")
    if found.value.startswith("refs/heads/"):
        return strip_prefixes(found, "refs/heads/"), None
    return None, None


_REQUEST = re.compile(
    r"(?:refs/)?(?:remotes/)?(?:origin/)?"
    r"(?:(?:pull|pulls|pr|pull-requests|merge-requests|changes)/.*[0-9].*"
    r"|[0-9]+/(?:head|merge|from))"
)


def is_request_ref(text: str) -> bool:
    """Whether a name is where a code host keeps the code of pull requests, from forks too.

    >>> is_request_ref("pull/12"), is_request_ref("refs/pull/12/merge"), is_request_ref("main")
    (True, True, False)
    """
    return _REQUEST.fullmatch(text) is not None


def compare(head: str, base: str) -> Verdict:
    """Judge a pull request by the names of its two repositories; an empty one tells nothing."""
    if not head or not base:
        return UNTOLD
    # Hosts ignore the case of ASCII letters; other letters that look alike are not the same.
    names = [name.encode(errors="surrogatepass").lower() for name in (head, base)]
    return SAME if names[0] == names[1] else FORK


_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/]*/")
_SHORT = re.compile(r"[^/:]+:")


def name_repository(url: str) -> str:
    """A repository's path on its host, however its URL is written.

    Two URLs of one repository may differ in all but that: one for git and one for a browser.

    >>> name_repository("git@github.com:acme/app.git")
    'acme/app'
    >>> name_repository("https://me:pw@github.com/acme/app/")
    'acme/app'
    """
    path = _SCHEME.sub("", url, count=1) if "://" in url else _SHORT.sub("", url, count=1)
    return path.strip("/").removesuffix(".git")
