"""Whose cache it is: an image, its target and its platforms, as a name that is a valid tag.

A tag takes `[A-Za-z0-9_][A-Za-z0-9._-]{0,127}` (OCI distribution spec). Each part of a scope is
written with what is left of that when `.` is kept for joining; a part that loses something by it
gets a hash of the original, so that two scopes never share a name.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

_LONGEST_PART = 40
_LONGEST_NAME = 120
_UNNAMED = "image"
_REMOTE = "remote"


@dataclass(frozen=True, slots=True)
class Scope:
    """One image's cache.

    Attributes:
        image: the image's name in the project; not docker's name for it.
        target: the stage that is built, or None for the last one.
        platforms: the platforms that are built, such as `linux/amd64`.
    """

    image: str
    target: str | None
    platforms: tuple[str, ...]

    @property
    def name(self) -> str:
        """The scope as a tag.

        >>> Scope("image", "build", ("linux/amd64",)).name
        'image.build.linux-amd64'
        """
        platforms = "_".join(_write_platform(platform) for platform in sorted(set(self.platforms)))
        parts = [write_part(self.image)]
        if self.target is not None:
            parts.append(write_part(self.target))
        return _shorten(".".join((*parts, platforms)), _LONGEST_NAME)

    @property
    def whole(self) -> Scope:
        """The scope of the same image when no target is named, which has all its stages."""
        return Scope(self.image, None, self.platforms)


def write_part(text: str) -> str:
    """An image or a target: `/` becomes `_`, which nothing else does."""
    clean = re.sub(r"[^A-Za-z0-9_-]+", "-", text.replace("_", ".").replace("/", "_")).strip("-")
    kept = clean if clean.replace("_", "/") == text else f"{clean}-{_digest(text)}"
    return _shorten(kept.lstrip("-"), _LONGEST_PART)


def _write_platform(text: str) -> str:
    """A platform: its own grammar has no `-`, so `/` becomes that."""
    if re.fullmatch(r"[a-z0-9]+(/[a-z0-9]+){0,2}", text):
        return text.replace("/", "-")
    return _digest(text)


def _shorten(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 9]}-{_digest(text)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


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
