"""A copy of a Dockerfile whose stages all have names: docker builds no others by themselves."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from bxcache.buildx.dockerfile import DockerfileStage


def read_dockerfile(path: Path) -> str:
    """The text of a Dockerfile, whatever bytes it has."""
    # Lines are counted as docker does, which ends them at a line feed alone.
    return path.read_bytes().decode(errors="surrogateescape")


def copy_dockerfile(
    dockerfile: Path, text: str, names: Mapping[DockerfileStage, str], folder: Path
) -> Path:
    """Write a copy of a Dockerfile in which stages without a name have one.

    Args:
        dockerfile: the Dockerfile.
        text: what it holds.
        names: the stages that are to have names, with these.
        folder: where the copy goes.
    """
    copy = folder / "Dockerfile"
    copy.write_bytes(name_stages(text, names).encode(errors="surrogateescape"))
    ignored = dockerfile.with_name(f"{dockerfile.name}.dockerignore")
    if ignored.is_file():
        shutil.copyfile(ignored, folder / "Dockerfile.dockerignore")
    return copy


def name_stages(text: str, names: Mapping[DockerfileStage, str]) -> str:
    """The text with a name at the end of each stage's `FROM`; no line moves."""
    lines = text.split("\n")
    for stage, name in names.items():
        at = stage.head_line - 1
        # A `FROM` that is to go on below the last line ends there.
        lines += [""] * (at + 1 - len(lines))
        kept = lines[at].rstrip("\r")
        lines[at] = f"{kept} AS {name}{lines[at][len(kept) :]}"
    return "\n".join(lines)
