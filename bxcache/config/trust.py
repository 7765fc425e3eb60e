"""Which keys of a file count in a build that is not trusted.

Whoever sends a pull request writes the config file too. What a file says counts there as long as
it can neither reach outside of the checkout nor act in somebody's name. Everything else asks: it
counts only from a flag or a variable, which come from who runs the build. Each key is classified
where it is declared.
"""

from __future__ import annotations

import os.path
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# What buildx fetches without a credential of the caller's; a Dockerfile can do the same with `FROM`
# and `ADD`: https://docs.docker.com/reference/dockerfile/#add
_FETCHED = re.compile(r"https?://|git://|github\.com/|docker-image://|target:")
_LAYOUT = "oci-layout://"
# BuildKit keeps these build arguments out of the cache key, so that what one build made with them
# is what another one takes from the builder: https://github.com/moby/buildkit/issues/400
_PROXIES = frozenset({"http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy"})
_BUILDKIT = "buildkit_"
_NETWORKS = ("", "default", "none")


@dataclass(frozen=True, slots=True)
class Checkout:
    """The folder that a stranger's files lie in.

    Attributes:
        root: its top folder, without links.
        directory: the working directory, from which paths are taken.
    """

    root: Path
    directory: Path

    def holds(self, path: str) -> bool:
        """Whether a path lies in it, wherever its links lead.

        Docker follows `..` before it follows links, other programs do it the other way.
        """
        if "\0" in path:
            return False
        joined = os.path.join(self.directory, path)  # noqa: PTH118  # text, as docker joins it
        ways = {os.path.realpath(joined), os.path.realpath(os.path.normpath(joined))}
        return all(Path(way).is_relative_to(self.root) for way in ways)

    def leads_out(self, path: str) -> bool:
        """Whether a path of the checkout is one elsewhere, by a link. One elsewhere is not."""
        places = (self.directory, Path(os.path.realpath(self.directory)))
        paths = [Path(os.path.normpath(place / path)) for place in places]
        inside = (each.is_relative_to(top) for each in paths for top in (self.root, *places))
        return any(inside) and not self.holds(path)

    def has_folder(self, path: str) -> bool:
        """Whether a path is a folder; docker takes one that is there, whatever it is called."""
        return "\0" not in path and (self.directory / path).is_dir()


Judge = Callable[[str, Any, Checkout], str]
"""Why a value asks, or an empty string: from its own name, the value, and the checkout."""


@dataclass(frozen=True, slots=True)
class Rule:
    """How far a file's value of a key counts in an untrusted build, as metadata of its field.

    Attributes:
        judge: judges a value; each value of a table of texts by itself.
    """

    judge: Judge


HARMLESS = Rule(lambda _name, _value, _checkout: "")
"""A key that counts whoever wrote it."""


def asks(why: str, *values: object) -> Rule:
    """A key that counts only from a flag or a variable.

    Args:
        why: what it does.
        values: those that do it; every value that is not empty where none is named.
    """

    def judge(_name: str, value: object, _checkout: Checkout) -> str:
        return why if (value in values if values else value) else ""

    return Rule(judge)


def _judge_path(_name: str, value: str | None, checkout: Checkout) -> str:
    if value is None or ("://" not in value and value != "-" and checkout.holds(value)):
        return ""
    return "it does not lie in the checkout"


def _judge_context(_name: str, value: str, checkout: Checkout) -> str:
    """Whatever docker may take it for has to be harmless: it looks for folders first or last."""
    if value == "-":
        return "it reads stdin"
    if value.startswith(_LAYOUT):
        value = re.split("[@:]", value.removeprefix(_LAYOUT))[0]
    elif _FETCHED.match(value):
        if not checkout.has_folder(value):
            return ""
    elif ":" in value or value.startswith("git@"):
        return "it may be fetched with a key of the runner"
    return "" if checkout.holds(value) else "it lies outside of the checkout"


def _judge_argument(name: str, value: str | None, _checkout: Checkout) -> str:
    folded = name.strip().casefold()
    if folded in _PROXIES:
        return "BuildKit keeps it out of the cache key"
    if folded.startswith(_BUILDKIT):
        return "it directs BuildKit"
    return "it reads a variable of the runner" if value is None else ""


def _judge_network(_name: str, value: str | None, _checkout: Checkout) -> str:
    return "" if value is None or value in _NETWORKS else "it is the runner's network"


PATH = Rule(_judge_path)
"""A path, which is harmless inside of the checkout."""

CONTEXT = Rule(_judge_context)
"""A build context: a folder inside of the checkout, or what a Dockerfile could fetch as well."""

ARGUMENT = Rule(_judge_argument)
"""A build argument."""

NETWORK = Rule(_judge_network)
"""The network of RUN steps."""
