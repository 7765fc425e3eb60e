"""Paths: a config file's are relative to the file, docker's to the working directory."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

# docker's own test for a remote context, and the schemes of a named one:
# https://github.com/docker/buildx/blob/v0.29.1/build/opt.go
_REMOTE = re.compile(
    r"[A-Za-z][A-Za-z0-9+.-]*://|git@|github\.com/|docker-image:|oci-layout:|target:"
)

_USUAL = "Dockerfile"
_PATHS = ("context", "file", "iidfile", "metadata_file")
"""The keys of `[build]` that are paths."""
LARGEST_DOCKERFILE = 16 << 20
"""The most bytes that BuildKit sends at once: gRPC messages have up to 16 MiB
(https://github.com/containerd/containerd/blob/v2.1.4/defaults/defaults.go)."""


def find_cache_folder() -> Path:
    """bxcache's folder among the user's caches."""
    from platformdirs import user_cache_path  # noqa: PLC0415  # few need it

    return user_cache_path("bxcache")


def is_remote(context: str) -> bool:
    """Whether a context is remote or stdin, and so not a local folder."""
    return context == "-" or _REMOTE.match(context) is not None


def find_dockerfile(directory: Path, context: str | Path, file: str | None) -> Path:
    """The path of a build's Dockerfile: the given one, or the one in its context.

    Without a `Dockerfile`, buildx takes `dockerfile` (`handleLowercaseDockerfile` in
    https://github.com/docker/buildx/blob/v0.29.1/build/opt.go).
    """
    path = directory / (file or Path(context) / _USUAL)
    small = path.with_name(_USUAL.lower())
    return small if path.name == _USUAL and small.exists() and not path.exists() else path


def read_dockerfile(directory: Path, context: str, file: str | None) -> str:
    """The text of a build's Dockerfile; empty if it is not a local file or is unreadable."""
    # A remote context has a remote Dockerfile.
    if is_remote(context) or (file is not None and is_remote(file)):
        return ""
    try:
        path = find_dockerfile(directory, context, file)
        if not path.is_file() or path.stat().st_size > LARGEST_DOCKERFILE:
            return ""
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def anchor_paths(table: Mapping[str, Any], folder: Path, directory: Path) -> dict[str, Any]:
    """The tables of a checked config file in `folder`, with paths relative to `directory`."""
    anchored = dict(table)
    if "build" in table:
        anchored["build"] = _anchor_build(table["build"], folder, directory)
    if "images" in table:
        anchored["images"] = {
            name: _anchor_build(image, folder, directory) for name, image in table["images"].items()
        }
    if "backends" in table.get("cache", {}):
        backends = [
            {**each, "dir": str(folder / Path(each["dir"]).expanduser())} if "dir" in each else each
            for each in table["cache"]["backends"]
        ]
        anchored["cache"] = {**table["cache"], "backends": backends}
    return anchored


def _anchor_build(table: Mapping[str, Any], folder: Path, directory: Path) -> dict[str, Any]:
    def anchor(path: str) -> str:
        if is_remote(path):
            return path
        joined = folder / Path(path).expanduser()
        inside = joined.is_relative_to(directory)
        return os.path.relpath(joined, directory) if inside else str(joined)

    anchored = dict(table)
    anchored |= {key: anchor(table[key]) for key in _PATHS if key in table}
    if "build_contexts" in table:
        contexts = table["build_contexts"].items()
        anchored["build_contexts"] = {name: anchor(path) for name, path in contexts}
    return anchored
