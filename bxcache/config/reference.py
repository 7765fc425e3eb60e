"""Image references, in the grammar of distribution/reference.

https://github.com/distribution/reference/blob/v0.6.0/reference.go
"""

from __future__ import annotations

import re

from msgspec import Struct

from bxcache.redaction import mask_url

EXAMPLE = "registry.example.com/team/app-cache"
HUB = "docker.io"
"""The registry of a name without one."""
_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_HOST = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    rf"(?P<name>(?:{_HOST}/)?{_COMPONENT}(?:/{_COMPONENT})*)(?::(?P<tag>\w[\w.-]{{0,127}}))?",
    re.ASCII,
)


class Reference(Struct, frozen=True):
    """A repository and an optional tag.

    >>> Reference.parse("127.0.0.1:5000/team/app:main")
    Reference(name='127.0.0.1:5000/team/app', tag='main')
    """

    name: str
    tag: str | None = None

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Parse a reference.

        Raises:
            ValueError: it is invalid; the message says why, without any password in it.
        """
        if "://" in text:
            shown = mask_url(text)
            raise ValueError(f"`{shown}` is a URL; remove the scheme from the image reference")
        name, at, _ = text.rpartition("@")
        if at and ":" in name.partition("/")[0] and "/" not in name:
            raise ValueError("a reference cannot contain a password; run `docker login` instead")
        if at:
            raise ValueError(f"`{text}` names a digest; a cache is written to a repository or tag")
        match = _REFERENCE.fullmatch(text)
        if match is None:
            raise ValueError(f"`{text}` is not an image reference{_reason(text)}")
        return cls(match["name"], match["tag"])

    @property
    def host(self) -> str:
        """The registry, with its port if it has one. Default: docker's own.

        >>> Reference("team/app").host, Reference("localhost/app").host
        ('docker.io', 'localhost')
        """
        first, slash, _ = self.name.partition("/")
        named = slash and (any(mark in first for mark in ".:") or first == "localhost")
        return first if named else HUB

    @property
    def path(self) -> str:
        """The repository within its registry.

        >>> Reference("app").path, Reference("r.example.com/team/app").path
        ('library/app', 'team/app')
        """
        path = self.name.removeprefix(f"{self.host}/")
        return f"library/{path}" if self.host == HUB and "/" not in path else path

    def __str__(self) -> str:
        return self.name if self.tag is None else f"{self.name}:{self.tag}"


def _reason(text: str) -> str:
    if not text.strip():
        return "; it is empty"
    if text != text.strip() or " " in text:
        return "; it contains a space"
    repository = text.split("/", 1)[-1].rpartition(":")[0] or text
    if repository != repository.lower():
        return "; a repository's name must be lower case"
    return f"; write it like `{EXAMPLE}`"
