"""Whose cache it is: an image, its target, its platforms and an owner, as a name that is a tag.

A tag takes `[A-Za-z0-9_][A-Za-z0-9._-]{0,127}` (OCI distribution spec). A name is
`IMAGE[.TARGET].PLATFORMS.OWNER`, and no part has a `.` in it. Different scopes have different names
by construction:

- A text is written as it is, `/` as `_`, where that can be read back. Any other text is cut to what
  can be read and ends in `-` and 16 hex digits: a hash of all of it and of what it is. A text that
  looks like that is hashed too, so what is hashed equals no text that is not.
- An owner that is no branch begins with its kind and `__`, which the text of a branch cannot make.
- A target never looks like platforms, so that the tag of a stage beside a scope is no other scope.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

_LONGEST_PART = 40
_LONGEST_STEM = 70
_LONGEST_TAG = 128
# With an owner that leaves room in a tag for `.` and the hash of a stage's name.
LABEL_PART = "bxcache"
"""The last part of a tag that describes a scope; no scope ends in it."""
_NO_BRANCH = "no-branch"
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
"""Docker's names for what `uname -m` says, where they differ."""

_PLAIN = re.compile(r"(?!-)[A-Za-z0-9-]+(?:/[A-Za-z0-9-]+)*(?<!-)")
# Eight digits are what earlier versions wrote: what looks like that may be another owner's cache.
_LOOKS_HASHED = re.compile(r"(?:^|-)(?:[0-9a-f]{8}){1,2}$")
_SYSTEM = "(?:linux|windows|darwin|freebsd)"
"""The systems that images are built for, as containerd names them:
https://github.com/containerd/platforms/blob/v1.0.0/database.go"""
_PLATFORM = re.compile(rf"{_SYSTEM}(?:/[a-z0-9]+){{1,2}}")
_LIKE_PLATFORMS = re.compile(rf"{_SYSTEM}-")


class Kind(StrEnum):
    """What owns a cache."""

    BRANCH = "branch"
    TAG = "tag"
    UNTRUSTED = "untrusted"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose cache it is.

    Attributes:
        kind: what it is.
        text: the name of the branch or the tag; of an untrusted build what identifies it.
    """

    kind: Kind = Kind.NONE
    text: str = ""

    @classmethod
    def of_branch(cls, branch: str | None) -> Owner:
        """A branch, or nobody where there is none."""
        return cls() if branch is None else cls(Kind.BRANCH, branch)

    @classmethod
    def parse(cls, text: str) -> Owner:
        """An owner as `str` shows it. No branch of git has a `:` in its name."""
        kind, colon, rest = text.partition(":")
        if colon and kind in (Kind.TAG, Kind.UNTRUSTED):
            return cls(Kind(kind), rest)
        return cls.of_branch(text or None)

    def __str__(self) -> str:
        """The owner for people: a branch by its name, others with their kind in front."""
        marked = self.kind in (Kind.TAG, Kind.UNTRUSTED)
        return f"{self.kind}:{self.text}" if marked else self.text


@dataclass(frozen=True, slots=True)
class Scope:
    """One image's cache.

    Attributes:
        image: the image's name in the project; not docker's name for it.
        target: the stage that is built, or None for the last one.
        platforms: the platforms that are built, such as `linux/amd64`.
        owner: whose cache it is.
    """

    image: str
    target: str | None
    platforms: tuple[str, ...]
    owner: Owner = Owner()

    @property
    def name(self) -> str:
        """The scope as a tag.

        >>> Scope("image", "build", ("linux/amd64",), Owner.of_branch("feature/x")).name
        'image.build.linux-amd64.feature_x'
        """
        return f"{self.stem}.{write_owner(self.owner)}"

    @property
    def stem(self) -> str:
        """What the scopes of all owners have in common.

        >>> Scope("image", "build", ("linux/amd64",)).stem
        'image.build.linux-amd64'
        """
        stem = ".".join((*self.head, _write_platforms(self.platforms)))
        if len(stem) <= _LONGEST_STEM:
            return stem
        ending = f"-{_hash('stem', stem)}"
        return f"{stem[: _LONGEST_STEM - len(ending)].rstrip('.-')}{ending}"

    @property
    def head(self) -> tuple[str, ...]:
        """The parts of the name that the scopes of all platforms have in common."""
        image = _write("image", self.image)
        if self.target is None:
            return (image,)
        plain = _LIKE_PLATFORMS.match(self.target) is None
        return image, _write("target", self.target, plain=plain)

    @property
    def whole(self) -> Scope:
        """The scope of the same image when no target is named, which has all its stages."""
        return replace(self, target=None)

    def of_owner(self, owner: Owner) -> Scope:
        """The same image's scope of another owner."""
        return replace(self, owner=owner)

    def list_overlapping(self, names: Iterable[str]) -> list[tuple[str, tuple[str, ...]]]:
        """The scopes that differ in their platforms alone and have some in common with this one.

        Args:
            names: the names of scopes that exist, and other tags.

        Returns:
            Their names and platforms, those with the most platforms in common first.
        """
        own, around = {*self.platforms}, (self.head, write_owner(self.owner))
        found = []
        for name in names:
            *head, written, last = ("", *name.split("."))
            same = (tuple(head[1:]), last) == around
            platforms = _read_platforms(written) if same else frozenset()
            if own & platforms and own != platforms:
                found.append((name, tuple(sorted(platforms))))
        return sorted(found, key=lambda each: (-len(own & {*each[1]}), len(each[1]), each[0]))

    def list_related(
        self, owners: Iterable[tuple[Owner, str]], names: Collection[str]
    ) -> Iterator[tuple[str, str]]:
        """The scopes for other platforms, some of which are this one's, best first.

        Args:
            owners: whose scopes are wanted, each with what it is to the build.
            names: the names of scopes that exist, and other tags.

        Returns:
            Their names, each with what it is to the build.
        """
        for owner, what in owners:
            own = self.of_owner(owner)
            for each in dict.fromkeys((own, own.whole)):
                for name, platforms in each.list_overlapping(names):
                    yield name, f"{what}, for {', '.join(platforms)}"


def write_owner(owner: Owner) -> str:
    """The last part of a scope's name."""
    if owner.kind is Kind.NONE:
        return _NO_BRANCH
    if owner.kind is Kind.BRANCH:
        # These words have a meaning of their own.
        plain = owner.text not in (_NO_BRANCH, LABEL_PART)
        return _write("branch", owner.text, plain=plain)
    mark = f"{owner.kind}__"
    return f"{mark}{_write(owner.kind, owner.text, _LONGEST_PART - len(mark))}"


def name_stage(scope: str, stage: str) -> str:
    """The tag of a stage's image, beside the scope's own.

    Args:
        scope: the scope's name.
        stage: the stage's.

    >>> name_stage("image.linux-amd64.main", "build")
    'image.linux-amd64.main.build'
    """
    # The scope stays whole, so that its stages are found by it.
    room = min(_LONGEST_PART, _LONGEST_TAG - len(scope) - 1)
    return f"{scope}.{_write('stage', stage, room, plain=stage != LABEL_PART)}"


def guess_platform() -> str:
    """What is built here when nothing is said, as far as that is known without docker."""
    import platform  # noqa: PLC0415  # few need it

    return f"linux/{_MACHINES.get(platform.machine(), platform.machine())}"


def _write(what: str, text: str, longest: int = _LONGEST_PART, *, plain: bool = True) -> str:
    """A part of a name: the text as it is, or what can be read of it with a hash."""
    if plain and len(text) <= longest and _PLAIN.fullmatch(text) and not _LOOKS_HASHED.search(text):
        return text.replace("/", "_")
    ending = f"-{_hash(what, text)}"
    shown = re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-")
    return f"{shown[: max(longest - len(ending), 0)].rstrip('-')}{ending}".lstrip("-")


def _write_platforms(platforms: Iterable[str]) -> str:
    """Platforms: their own grammar has neither `-` nor `_`, so these stand for `/` and `,`."""
    names = sorted(set(platforms))
    text = "_".join(names).replace("/", "-")
    if names and all(map(_PLATFORM.fullmatch, names)) and not _LOOKS_HASHED.search(text):
        return text
    return f"platforms-{_hash('platforms', *names)}"


def _read_platforms(text: str) -> frozenset[str]:
    """The platforms that a part of a name tells; none where it is something else, or hashed."""
    names = [each.replace("-", "/") for each in text.split("_")]
    return frozenset(names if _write_platforms(names) == text else ())


def _hash(what: str, *texts: str) -> str:
    # With its length, no text runs into the next one.
    whole = "".join(f"{len(each)}:{each}" for each in (what, *texts))
    # A name from a variable may hold bytes that are no UTF-8.
    return hashlib.sha256(whole.encode(errors="surrogatepass")).hexdigest()[:16]
