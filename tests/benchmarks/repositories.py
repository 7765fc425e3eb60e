"""The git repositories of the benchmarks."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

_IDENTITY = (
    "-c",
    "user.name=benchmark",
    "-c",
    "user.email=benchmark@example.com",
    "-c",
    "gc.auto=0",
)
_EPOCH = {"GIT_AUTHOR_DATE": "2026-01-01T00:00:00Z", "GIT_COMMITTER_DATE": "2026-01-01T00:00:00Z"}


def git(folder: Path, *words: str) -> None:
    """Run git in a folder; the same commits have the same ids."""
    settings = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    subprocess.run(
        ["git", *_IDENTITY, *words],
        cwd=folder,
        env={**os.environ, **_EPOCH, **settings},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
    )
