"""Which keys of a file count in an untrusted build.

The author of a pull request can change the config file. A value of the file counts if it cannot
reach outside the checkout or act in somebody's name. Every other value asks: it counts only from a
flag or variable, which the caller controls. Each key is classified where it is declared.
"""

from __future__ import annotations

import os.path
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from msgspec import Struct

# Buildx fetches these without the caller's credentials; a Dockerfile can do the same with `FROM`
# and `ADD`: https://docs.docker.com/reference/dockerfile/#add
_FETCHED = re.compile(r"https?://|git://|github\.com/|docker-image://|target:")
_LAYOUT = "oci-layout://"
# BuildKit keeps these build arguments out of the cache key, so one build's result with them is
# reused by others on the builder: https://github.com/moby/buildkit/issues/400
_PROXIES = frozenset({"http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy"})
_BUILDKIT = "buildkit_"
_NETWORKS = (None, "", "default", "none")


class Checkout(Struct, frozen=True):
    """The folder that contains a stranger's files; its `root` has its links resolved."""

    root: Path
    directory: Path
    """The working directory; paths are relative to it."""

    def holds(self, path: str) -> bool:
        """Whether a path is inside, after following links.

        Docker resolves `..` before links, other programs after them; both must be inside.
        """
        if "\0" in path:
            return False
        joined = os.path.join(self.directory, path)  # noqa: PTH118  # text, as docker joins it
        ways = {os.path.realpath(joined), os.path.realpath(os.path.normpath(joined))}
        return all(Path(way).is_relative_to(self.root) for way in ways)

    def leads_out(self, path: str) -> bool:
        """Whether a link takes a path inside the checkout outside of it."""
        places = (self.directory, Path(os.path.realpath(self.directory)))
        paths = [Path(os.path.normpath(place / path)) for place in places]
        inside = (each.is_relative_to(top) for each in paths for top in (self.root, *places))
        return any(inside) and not self.holds(path)

    def has_folder(self, path: str) -> bool:
        """Whether a path is a folder; docker uses an existing one, whatever its name looks like."""
        return "\0" not in path and (self.directory / path).is_dir()


Judge = Callable[[str, Any, Checkout], str | None]
"""Why a value asks, or None, from its name, the value, and the checkout."""


class Rule(Struct, frozen=True):
    """The trust class of a key, as metadata of its field; it judges each value of a table alone."""

    judge: Judge


HARMLESS = Rule(lambda _name, _value, _checkout: None)
"""A key that always counts."""


def asks(why: str, *values: object) -> Rule:
    """A key whose `values` (default: all but empty ones) count only from a flag or variable."""

    def judge(_name: str, value: object, _checkout: Checkout) -> str | None:
        return why if (value in values if values else value) else None

    return Rule(judge)


def _judge_path(_name: str, value: str | None, checkout: Checkout) -> str | None:
    if value is None or ("://" not in value and value != "-" and checkout.holds(value)):
        return None
    return "it is not inside the checkout"


def _judge_context(_name: str, value: str, checkout: Checkout) -> str | None:
    """Every interpretation by docker must be harmless: it may look for a folder first or last."""
    if value == "-":
        return "it reads stdin"
    if value.startswith(_LAYOUT):
        value = re.split("[@:]", value.removeprefix(_LAYOUT))[0]
    elif _FETCHED.match(value):
        if not checkout.has_folder(value):
            return None
    elif ":" in value or value.startswith("git@"):
        return "it may be fetched with a key of the runner"
    return None if checkout.holds(value) else "it is outside the checkout"


def _judge_argument(name: str, value: str | None, _checkout: Checkout) -> str | None:
    folded = name.strip().casefold()
    if folded in _PROXIES:
        return "BuildKit keeps it out of the cache key"
    if folded.startswith(_BUILDKIT):
        return "it configures BuildKit"
    return "it reads a variable of the runner" if value is None else None


PATH = Rule(_judge_path)
"""A path: harmless inside the checkout."""

CONTEXT = Rule(_judge_context)
"""A build context: harmless as a folder inside the checkout, or if a Dockerfile could fetch it."""

ARGUMENT = Rule(_judge_argument)
NETWORK = Rule(
    lambda _name, value, _checkout: None if value in _NETWORKS else "it uses the runner's network"
)
