"""Whose cache it is: an image, its target, its platforms and a branch, as a name that is a tag.

A tag takes `[A-Za-z0-9_][A-Za-z0-9._-]{0,127}` (OCI distribution spec). Each part of a scope is
written with what is left of that when `.` is kept for joining; a part that loses something by it
gets a hash of the original, so that two scopes never share a name.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bxcache.config.loading import Setup

_LONGEST_PART = 40
_LONGEST_STEM = 79
_LONGEST_TAG = 128
# With the branch that leaves room in a tag for the suffix of what is kept beside a scope.
LABEL_PART = "bxcache"
"""The last part of a tag that tells of a scope; no scope ends in it."""
NO_BRANCH = "no-branch"
"""The last part of a scope that belongs to no branch."""
_UNNAMED = "image"
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
"""Docker's names for what `uname -m` says, where they differ."""
_REMOTE = "remote"


@dataclass(frozen=True, slots=True)
class Scope:
    """One image's cache.

    Attributes:
        image: the image's name in the project; not docker's name for it.
        target: the stage that is built, or None for the last one.
        platforms: the platforms that are built, such as `linux/amd64`.
        branch: the branch whose cache it is, or None. What is no branch but has a cache of its own
            is written with a `:`, which no branch has.
    """

    image: str
    target: str | None
    platforms: tuple[str, ...]
    branch: str | None = None

    @property
    def name(self) -> str:
        """The scope as a tag.

        >>> Scope("image", "build", ("linux/amd64",), "feature/x").name
        'image.build.linux-amd64.feature_x'
        """
        return f"{self.stem}.{write_branch(self.branch)}"

    @property
    def stem(self) -> str:
        """What the scopes of all branches have in common.

        >>> Scope("image", "build", ("linux/amd64",)).stem
        'image.build.linux-amd64'
        """
        platforms = "_".join(_write_platform(platform) for platform in sorted(set(self.platforms)))
        parts = [write_part(self.image)]
        if self.target is not None:
            parts.append(write_part(self.target))
        return _shorten(".".join((*parts, platforms)), _LONGEST_STEM)

    @property
    def whole(self) -> Scope:
        """The scope of the same image when no target is named, which has all its stages."""
        return replace(self, target=None)

    def of_branch(self, branch: str | None) -> Scope:
        """The same image's scope of another branch."""
        return replace(self, branch=branch)


def write_part(text: str) -> str:
    """An image or a target: `/` becomes `_`, which nothing else does."""
    clean = re.sub(r"[^A-Za-z0-9_-]+", "-", text.replace("_", ".").replace("/", "_")).strip("-")
    kept = clean if clean.replace("_", "/") == text else f"{clean}-{_digest(text)}"
    return _shorten(kept.lstrip("-"), _LONGEST_PART)


def write_branch(branch: str | None) -> str:
    """The last part of a scope's name."""
    if branch is None:
        return NO_BRANCH
    part = write_part(branch)
    # The words with a meaning of their own are left to it.
    return f"{part}-{_digest(branch)}" if part in (NO_BRANCH, LABEL_PART) else part


def name_stage(scope: str, stage: str) -> str:
    """The tag of a stage's image, beside the scope's own.

    Args:
        scope: the scope's name.
        stage: the stage's.

    >>> name_stage("image.linux-amd64.main", "build")
    'image.linux-amd64.main.build'
    """
    part = write_part(stage)
    part = f"{part}-{_digest(stage)}" if part == LABEL_PART else part
    # The scope stays whole, so that its stages are found by it.
    return f"{scope}.{_shorten(part, _LONGEST_TAG - len(scope) - 1)}"


def guess_platform() -> str:
    """What is built here when nothing is said, as far as that is known without docker."""
    import platform  # noqa: PLC0415  # few need it

    return f"linux/{_MACHINES.get(platform.machine(), platform.machine())}"


def _write_platform(text: str) -> str:
    """A platform: its own grammar has no `-`, so `/` becomes that."""
    if re.fullmatch(r"[a-z0-9]+(/[a-z0-9]+){0,2}", text):
        return text.replace("/", "-")
    return _digest(text)


def _shorten(text: str, longest: int) -> str:
    if len(text) <= longest:
        return text
    ending = f"-{_digest(text)}"
    kept = text[: max(longest - len(ending), 0)]
    return f"{kept}{ending}" if kept else _digest(text)[:longest]


def _digest(text: str) -> str:
    # A name from a variable may hold bytes that are no UTF-8.
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:8]


def find_image(setup: Setup, directory: Path) -> str:
    """The name of the image that a configuration is about, given or by where its files lie."""
    settings = setup.config.build
    return setup.image or name_image(setup.root, directory, settings.context, settings.file)


def name_image(root: Path, directory: Path, context: str, file: str | None) -> str:
    """A name for an image that the config file does not name: where its Dockerfile lies.

    It is the same on every machine, since it is relative to the project.

    >>> name_image(Path("/p"), Path("/p"), "services/api", None)
    'services/api'
    >>> name_image(Path("/p"), Path("/p"), ".", "docker/web.Dockerfile")
    'docker/web.Dockerfile'
    >>> name_image(Path("/p"), Path("/p"), ".", None)
    'image'
    """
    if "://" in context or context == "-" or context.startswith("git@"):
        return (
            f"{_REMOTE}/{_digest(context)}"
            if file is None
            else f"{_REMOTE}/{_digest(context)}/{file}"
        )
    folder = directory / context
    path = directory / file if file and file != "-" else folder / "Dockerfile"
    shown = _relative(path, root)
    if folder not in (path.parent, root):
        # One Dockerfile serves several contexts.
        shown = f"{shown}/{_relative(folder, root)}"
    name = shown.removesuffix("Dockerfile").rstrip("/") if shown.endswith("/Dockerfile") else shown
    return _UNNAMED if name in ("", "Dockerfile", ".") else name


def _relative(path: Path, root: Path) -> str:
    import os.path  # noqa: PLC0415

    return str(PurePosixPath(os.path.relpath(path, root)))
