"""Scopes: an image, its target, its platforms and an owner, named by a valid tag.

A tag matches `[A-Za-z0-9_][A-Za-z0-9._-]{0,127}` (OCI distribution spec). A name is
`IMAGE[.TARGET].PLATFORMS.OWNER`; no part contains a `.`. Different scopes always have different
names:

- A text that can be read back is written as it is, with `_` for `/`. Any other text is shortened to
  readable characters and ends in `-` and 16 hex digits: a hash of its kind and its full text. A
  text that already looks hashed is hashed too, so a hashed name never equals a plain one.
- An owner other than a branch begins with its kind and `__`, which no branch's text contains.
- A target never looks like platforms, so the tag of a stage is never the name of another scope.
"""

from __future__ import annotations

import hashlib
import re
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from bxcache.config.json_documents import pick

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

_LONGEST_PART = 40
# Together with an owner, this leaves room in a tag for `.` and the hash of a stage's name.
_LONGEST_STEM = 70
_LONGEST_TAG = 128
LABEL_PART = "bxcache"
"""The last part of a tag that describes a scope; no scope's name ends in it."""
_NO_BRANCH = "no-branch"
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
"""Docker's names for the output of `uname -m`, where they differ."""

_PLAIN = re.compile(r"(?!-)[A-Za-z0-9-]+(?:/[A-Za-z0-9-]+)*(?<!-)")
# Earlier versions wrote eight digits; a text like that may name another owner's cache.
_LOOKS_HASHED = re.compile(r"(?:^|-)(?:[0-9a-f]{8}){1,2}$")
_SYSTEM = "(?:linux|windows|darwin|freebsd)"
"""Operating systems of images, as containerd names them:
https://github.com/containerd/platforms/blob/v1.0.0/database.go"""
_PLATFORM = re.compile(rf"{_SYSTEM}(?:/[a-z0-9]+){{1,2}}")
_LIKE_PLATFORMS = re.compile(rf"{_SYSTEM}-")


class Kind(StrEnum):
    """The kinds of owners."""

    BRANCH = "branch"
    TAG = "tag"
    UNTRUSTED = "untrusted"
    NONE = "none"


_MARKED = (Kind.TAG, Kind.UNTRUSTED)


class Owner(Struct, frozen=True):
    """The owner of a cache: a branch, a tag, or an untrusted build by its identity."""

    kind: Kind = Kind.NONE
    text: str = ""

    @classmethod
    def of_branch(cls, branch: str | None) -> Owner:
        """Return a branch as an owner, or no owner for None."""
        return cls() if branch is None else cls(Kind.BRANCH, branch)

    @classmethod
    def parse(cls, text: str) -> Owner:
        """Parse an owner as `str` shows it. Git allows no `:` in a branch's name."""
        kind, colon, rest = text.partition(":")
        if colon and kind in _MARKED:
            return cls(Kind(kind), rest)
        return cls.of_branch(text or None)

    def __str__(self) -> str:
        """Show the owner: a branch by its name, others with their kind in front."""
        return f"{self.kind}:{self.text}" if self.kind in _MARKED else self.text


class Scope(Struct, frozen=True):
    """The scope of one image's cache.

    Attributes:
        image: the image's name in the project, not docker's name for it.
        target: the stage to build, or None for the last one.
        platforms: the platforms to build, such as `linux/amd64`.
    """

    image: str
    target: str | None
    platforms: tuple[str, ...]
    owner: Owner = Owner()

    @classmethod
    def parse(cls, name: str) -> Scope | None:
        """Parse a name; None if it is not a scope's, or a hash has shortened a part of it.

        >>> Scope.parse("image.build.linux-amd64.feature_x").owner.text
        'feature/x'
        """
        *head, written, last = ("", *name.split("."))
        image, *target = [_read(each) for each in head[1:]] or [""]
        scope = cls(
            image,
            target[0] if target else None,
            tuple(sorted(_read_platforms(written))),
            read_owner(last),
        )
        return scope if scope.name == name else None

    @property
    def name(self) -> str:
        """The scope as a tag.

        >>> Scope("image", "build", ("linux/amd64",), Owner.of_branch("feature/x")).name
        'image.build.linux-amd64.feature_x'
        """
        return f"{self.stem}.{write_owner(self.owner)}"

    @property
    def stem(self) -> str:
        """The part of the name that the scopes of all owners share.

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
        """The parts of the name that the scopes of all platforms share."""
        image = _write("image", self.image)
        if self.target is None:
            return (image,)
        plain = _LIKE_PLATFORMS.match(self.target) is None
        return image, _write("target", self.target, plain=plain)

    @property
    def whole(self) -> Scope:
        """The scope of the same image without a target, which has all its stages."""
        return replace(self, target=None)

    def of_owner(self, owner: Owner) -> Scope:
        """Return the same image's scope of another owner."""
        return replace(self, owner=owner)

    def list_overlapping(self, names: Iterable[str]) -> list[tuple[str, tuple[str, ...]]]:
        """List those existing scopes that differ only in platforms and share some, best first."""
        own, around = {*self.platforms}, [*self.head, write_owner(self.owner)]
        found = []
        for name in names:
            *head, written, last = ("", *name.split("."))
            platforms = _read_platforms(written) if [*head[1:], last] == around else frozenset()
            if own & platforms and own != platforms:
                found.append((name, tuple(sorted(platforms))))
        return sorted(found, key=lambda each: (-len(own & {*each[1]}), len(each[1]), each[0]))

    def list_related(
        self, owners: Iterable[tuple[Owner, str]], names: Collection[str]
    ) -> Iterator[tuple[str, str]]:
        """List owners' overlapping scopes, best first, each with what it is to the build."""
        for owner, what in owners:
            own = self.of_owner(owner)
            for each in dict.fromkeys((own, own.whole)):
                for name, platforms in each.list_overlapping(names):
                    yield name, f"{what}, for {', '.join(platforms)}"


def write_owner(owner: Owner) -> str:
    """Return the last part of a scope's name."""
    if owner.kind is Kind.NONE:
        return _NO_BRANCH
    if owner.kind is Kind.BRANCH:
        # These words are reserved.
        plain = owner.text not in (_NO_BRANCH, LABEL_PART)
        return _write("branch", owner.text, plain=plain)
    mark = f"{owner.kind}__"
    return f"{mark}{_write(owner.kind, owner.text, _LONGEST_PART - len(mark))}"


def read_owner(text: str) -> Owner:
    """Return the owner that the last part of a scope's name shows."""
    for kind in _MARKED:
        if text.startswith(f"{kind}__"):
            return Owner(kind, _read(text.removeprefix(f"{kind}__")))
    return Owner() if text == _NO_BRANCH else Owner.of_branch(_read(text))


def name_stage(scope: str, stage: str) -> str:
    """Return the tag of a stage's image, beside the scope's own.

    >>> name_stage("image.linux-amd64.main", "build")
    'image.linux-amd64.main.build'
    """
    # Keep the scope whole: its stages are found by it.
    room = min(_LONGEST_PART, _LONGEST_TAG - len(scope) - 1)
    return f"{scope}.{_write('stage', stage, room, plain=stage != LABEL_PART)}"


def guess_platform() -> str:
    """Guess the default platform without asking docker."""
    import platform  # noqa: PLC0415  # few need it

    return f"linux/{_MACHINES.get(platform.machine(), platform.machine())}"


def _write(what: str, text: str, longest: int = _LONGEST_PART, *, plain: bool = True) -> str:
    """Return a part of a name: the text as it is, or its readable characters with a hash."""
    if plain and len(text) <= longest and _PLAIN.fullmatch(text) and not _LOOKS_HASHED.search(text):
        return text.replace("/", "_")
    ending = f"-{_hash(what, text)}"
    shown = re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-")
    return f"{shown[: max(longest - len(ending), 0)].rstrip('-')}{ending}".lstrip("-")


def _read(text: str) -> str:
    return text.replace("_", "/")


def _write_platforms(platforms: Iterable[str]) -> str:
    """Write platforms; they contain neither `-` nor `_`, so these replace `/` and `,`."""
    names = sorted(set(platforms))
    text = "_".join(names).replace("/", "-")
    if names and all(map(_PLATFORM.fullmatch, names)) and not _LOOKS_HASHED.search(text):
        return text
    return f"platforms-{_hash('platforms', *names)}"


def _read_platforms(text: str) -> frozenset[str]:
    """Return the platforms that a part of a name lists; none if it is hashed or something else."""
    names = [each.replace("-", "/") for each in text.split("_")]
    return frozenset(names if _write_platforms(names) == text else ())


def _hash(what: str, *texts: str) -> str:
    # The length separates each text from the next.
    whole = "".join(f"{len(each)}:{each}" for each in (what, *texts))
    # A name from a variable may contain bytes that are not UTF-8.
    return hashlib.sha256(whole.encode(errors="surrogatepass")).hexdigest()[:16]


def describe_identity(scope: Scope | None) -> dict[str, Any]:
    """Describe whose a scope is; each value is None if that is unknown."""
    if scope is None:
        return dict.fromkeys(("image", "target", "platforms", "branch"))
    return {**pick(scope, "image", "target", "platforms"), "branch": str(scope.owner) or None}
