"""TeamCity, which writes most of its data to properties files.

https://www.jetbrains.com/help/teamcity/predefined-build-parameters.html
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from bxcache.place.statement import (
    MAYBE_FORK,
    PUSH,
    REQUEST_REF,
    Found,
    Statement,
    is_request_ref,
    strip_prefixes,
)
from bxcache.place.variables import read_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bxcache.place.variables import Variables

_FILE = "TEAMCITY_BUILD_PROPERTIES_FILE"
_SECOND_FILE = "teamcity.configuration.properties.file"
_BRANCH = "teamcity.build.branch"
_VCS_BRANCH = "teamcity.build.vcs.branch."
_NAMELESS = "<default>"
_LINE = re.compile(r"\s*(?P<key>(?:\\.|[^\\\s=:])+)\s*[=:]?\s*(?P<value>.*)", re.DOTALL)
_ESCAPE = re.compile(r"\\(?:u(?P<code>[0-9A-Fa-f]{4})|(?P<letter>.))", re.DOTALL)
_LETTERS = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}


def read_teamcity(variables: Variables) -> Statement:
    """Read TeamCity's properties. None marks a fork, so pull requests are not trusted.

    https://www.jetbrains.com/help/teamcity/pull-requests.html
    """
    properties, troubles = _read_files(variables)

    def find(key: str) -> Found | None:
        return Found(properties[key], f"{key} in {_FILE}") if properties.get(key) else None

    number = find("teamcity.pullRequest.number")
    if number or find("teamcity.pullRequest.source.branch"):
        missing = () if number else ("teamcity.pullRequest.number is not set",)
        return Statement(
            MAYBE_FORK,
            branch=strip_prefixes(find("teamcity.pullRequest.source.branch"), "refs/heads/"),
            base=strip_prefixes(find("teamcity.pullRequest.target.branch"), "refs/heads/"),
            pull_request=number,
            doubts=(*troubles, *missing),
        )
    refs = {key: ref for key, ref in properties.items() if ref and key.startswith(_VCS_BRANCH)}
    shown = properties.get(_BRANCH, "")
    if len({*refs.values()}) == 1:
        # A single VCS root has the branch's full name.
        found = find(next(iter(refs)))
    else:
        found = find(_BRANCH) if shown != _NAMELESS else None
    branch = strip_prefixes(found, "refs/heads/")
    # TeamCity shows what a branch specification leaves of a ref.
    is_request = any(is_request_ref(ref) or ref.isdecimal() for ref in (*refs.values(), shown))
    is_default = properties.get("teamcity.build.branch.is_default") == "true"
    return Statement(
        REQUEST_REF if is_request else PUSH,
        branch=branch,
        default=branch if is_default else None,
        doubts=tuple(troubles),
    )


def _read_files(variables: Variables) -> tuple[dict[str, str], list[str]]:
    """Read the build's properties, and the configuration parameters that they refer to."""
    path = variables.get(_FILE)
    if path is None:
        return {}, [f"{_FILE} is not set"]
    try:
        properties = parse_properties(read_file(path))
    except (OSError, ValueError):
        return {}, [f"the file of {_FILE} cannot be read"]
    second = properties.get(_SECOND_FILE, "")
    try:
        return properties | (parse_properties(read_file(second)) if second else {}), []
    except (OSError, ValueError):
        return properties, [f"the file of {_SECOND_FILE} in {_FILE} cannot be read"]


def parse_properties(data: bytes) -> dict[str, str]:
    r"""Parse a Java properties file; ignore malformed lines.

    https://docs.oracle.com/en/java/javase/21/docs/api/java.base/java/util/Properties.html#load(java.io.Reader)

    >>> parse_properties(b"#x\na.b=refs\\:heads\\=1\nc : d \\\n  e\n")
    {'a.b': 'refs:heads=1', 'c': 'd e'}
    """
    matches = filter(None, map(_LINE.fullmatch, _join_lines(data.decode("latin-1"))))
    return {_unescape(match["key"]): _unescape(match["value"]) for match in matches}


def _join_lines(text: str) -> Iterator[str]:
    """Join lines continued by a backslash, and skip comments."""
    joined: list[str] = []
    for line in re.split(r"\r\n|\r|\n", text):
        part = line.lstrip(" \t\f")
        if not joined and part[:1] in ("", "#", "!"):
            continue
        if (len(part) - len(part.rstrip("\\"))) % 2:
            joined.append(part[:-1])
            continue
        yield "".join((*joined, part))
        joined = []
    if joined:
        yield "".join(joined)


def _unescape(text: str) -> str:
    def replace(match: re.Match[str]) -> str:
        if match["code"]:
            return chr(int(match["code"], 16))
        return _LETTERS.get(match["letter"], match["letter"])

    return _ESCAPE.sub(replace, text)
