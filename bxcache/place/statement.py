"""What a CI provider says about a build, and what it leaves for it, before any conclusions.

Variables and files cannot be trusted.
"""

from __future__ import annotations

import os
import re
import stat
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping


class Found(Struct, frozen=True):
    """A value and its source, such as the name of a variable."""

    value: str
    source: str


class Verdict(Struct, frozen=True):
    """Whether a build's code is trusted, a short reason, and whether it is known to be a fork's."""

    trusted: bool
    reason: str
    is_fork: bool = False


PUSH = Verdict(trusted=True, reason="a build of the repository itself")
SAME = Verdict(trusted=True, reason="a pull request of the same repository")
FORK = Verdict(trusted=False, reason="a pull request from a fork", is_fork=True)
MAYBE_FORK = Verdict(trusted=False, reason="a pull request that may be from a fork")
REQUEST_REF = Verdict(trusted=False, reason="the branch is a pull request's ref")
ANY_EVENT = Verdict(trusted=False, reason="the event does not show whose code is built")
STARTED = Verdict(trusted=False, reason="another build started it, possibly with a fork's code")


class Statement(Struct, frozen=True):
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


_OFF = frozenset({"", "0", "false", "no", "off"})
LONGEST_FILE = 32 * 1024 * 1024
"""In bytes. GitHub drops webhook events larger than 25 MB:
https://docs.github.com/en/webhooks/webhook-events-and-payloads#payload-cap"""


class Variables:
    """The variables of an environment. A blank variable counts as not set.

    Attributes:
        consulted: the names of variables that were read and are set.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self.consulted: set[str] = set()

    def get(self, name: str) -> str | None:
        """Return a variable's value, or None."""
        value = self._environment.get(name, "")
        if not value.strip():
            return None
        self.consulted.add(name)
        return value

    def find(self, *names: str) -> Found | None:
        """Return the value of the first variable that is set."""
        values = ((self.get(name), name) for name in names)
        return next((Found(value, name) for value, name in values if value), None)

    def state(
        self, verdict: Verdict, doubts: Iterable[str] = (), **names: str | tuple[str, ...]
    ) -> Statement:
        """Return a statement, each field with the value of the variable of that name."""
        fields: dict[str, Any] = {
            field: self.find(name) if isinstance(name, str) else self.find(*name)
            for field, name in names.items()
        }
        return Statement(verdict, **fields, doubts=tuple(doubts))

    def is_on(self, name: str) -> bool:
        """Whether a switch is on: set, and not to a word for "no"."""
        return (self.get(name) or "").strip().lower() not in _OFF

    def differs(self, name: str, *values: str | None) -> bool:
        """Whether a variable is set, and to none of these values."""
        return self.get(name) not in (None, *values)

    def find_blank(self, *names: str) -> Iterator[str]:
        """Yield a note for each variable that is set but blank."""
        blank = (name for name in names if name in self._environment and not self.get(name))
        return (f"{name} is set but empty" for name in blank)

    def find_missing(self, *names: str) -> Iterator[str]:
        """Yield a note for each variable that is not set."""
        return (f"{name} is not set" for name in names if not self.get(name))

    def find_stray(self, *names: str) -> Iterator[str]:
        """Yield a note for each variable that only a pull request should set."""
        stray = filter(self.get, names)
        return (f"{name} is set in a build that is not a pull request" for name in stray)


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


def read_file(path: str) -> bytes:
    """Read a regular file of limited size.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not a regular file, is too large, or the path is invalid.
    """
    # Opening a pipe would block forever.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("it is not a regular file")
        if status.st_size > LONGEST_FILE:
            raise ValueError(f"it is larger than {LONGEST_FILE} bytes")
        return file.read(LONGEST_FILE)
