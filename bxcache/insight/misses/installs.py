"""Commands that only install packages, and the files of the build context that they need."""

from __future__ import annotations

import re

from msgspec import Struct

_SYSTEM = re.compile(r"(apt-get|apt|apk|dnf|microdnf|yum|zypper) (?:-\S+ )*(update|install|add)\b")
_CLEANING = re.compile(
    r"set -\w+|(apt-get|apt|dnf|microdnf|yum|zypper) (?:-\S+ )*clean\b"
    r"|rm -r?fr? (/var/(lib/apt/lists|cache)|/root/\.cache|/tmp)/"
)
_PIP = re.compile(r"(?:python3? -m )?pip3? install ")
_REQUIREMENTS = re.compile(r"\s(?:-r|--requirement)[\s=]?(\S+)")
_OWN = re.compile(r"\s(?:-e|--editable\b|\.)|\s\S+\.(?:whl|tar\.gz|zip)\b")
"""Of pip's arguments: those that name the project itself, or a file of it."""
_LOCKED: tuple[tuple[re.Pattern[str], tuple[str, ...]], ...] = (
    (re.compile(r"npm (ci|install)(?: -\S+)*$"), ("package.json", "package-lock.json")),
    (re.compile(r"yarn(?: install)?(?: -\S+)*$"), ("package.json", "yarn.lock")),
    (re.compile(r"pnpm (i|install)(?: -\S+)*$"), ("package.json", "pnpm-lock.yaml")),
    (re.compile(r"go mod download\b"), ("go.mod", "go.sum")),
    (re.compile(r"bundle install\b"), ("Gemfile", "Gemfile.lock")),
)
_MOUNT = re.compile(r"^--\S+ ")


class Install(Struct, frozen=True):
    """An instruction that only installs packages, and the names of the files that list them."""

    manifests: tuple[str, ...] = ()


def read_install(text: str) -> Install | None:
    """Read an instruction as BuildKit shows it; None if it may do anything else.

    >>> read_install("RUN apt-get update && apt-get install -y gcc && rm -rf /var/lib/apt/lists/*")
    Install(manifests=())
    >>> read_install("RUN pip install -r requirements.txt")
    Install(manifests=('requirements.txt',))
    >>> read_install("RUN npm ci && npm run build") is None
    True
    >>> read_install("RUN pip install -r requirements.txt .") is None
    True
    """
    verb, _, command = " ".join(text.split()).partition(" ")
    while _MOUNT.match(command):
        command = _MOUNT.sub("", command)
    if verb != "RUN" or not command:
        return None
    found, installs = dict[str, None](), False
    for each in re.split(r" ?(?:&&|;) ?", command):
        files = _list_manifests(each)
        if files is None and not _CLEANING.match(each):
            return None
        installs |= files is not None
        found |= dict.fromkeys(files or ())
    return Install(tuple(found)) if installs else None


def _list_manifests(command: str) -> tuple[str, ...] | None:
    """List the files that one command installs packages from; None if it is another command."""
    if _SYSTEM.match(command):
        # With a slash, a package is a file.
        return () if "/" not in command else None
    if _PIP.match(command):
        named = _REQUIREMENTS.findall(command)
        is_own = not named or _OWN.search(command) is not None
        return None if is_own else tuple(each.rpartition("/")[2] for each in named)
    return next((files for pattern, files in _LOCKED if pattern.match(command)), None)
