"""A copy of a Dockerfile with names for all stages: docker can build only named ones separately."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from bxcache.buildx.dockerfile import DockerfileStage


def read_dockerfile(path: Path) -> str:
    """Read a Dockerfile's text, whatever bytes it contains."""
    # Like docker, end lines only at a line feed.
    return path.read_bytes().decode(errors="surrogateescape")


def copy_dockerfile(
    dockerfile: Path, text: str, names: Mapping[DockerfileStage, str], folder: Path
) -> Path:
    """Write a copy of a Dockerfile that names its unnamed stages.

    Args:
        dockerfile: the Dockerfile.
        text: its content.
        names: the new names by stage.
        folder: the folder for the copy.
    """
    copy = folder / "Dockerfile"
    copy.write_bytes(name_stages(text, names).encode(errors="surrogateescape"))
    ignored = dockerfile.with_name(f"{dockerfile.name}.dockerignore")
    if ignored.is_file():
        shutil.copyfile(ignored, folder / "Dockerfile.dockerignore")
    return copy


def name_stages(text: str, names: Mapping[DockerfileStage, str]) -> str:
    """Add a name to the `FROM` of each stage; no line moves."""
    lines = text.split("\n")
    for stage, name in names.items():
        at = stage.head_line - 1
        # A `FROM` continued past the last line ends there.
        lines += [""] * (at + 1 - len(lines))
        kept = lines[at].rstrip("\r")
        lines[at] = f"{kept} AS {name}{lines[at][len(kept) :]}"
    return "\n".join(lines)
