"""Git repositories for tests. Whoever has this project has git, so no test checks for it."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def isolate_git(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Make git behave as on a new machine: no settings, no repository around the tests' folder."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(folder))
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "Maria")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "maria@acme.example")


def git(folder: Path, *arguments: str) -> None:
    """Run git, as somebody, and allow clones from folders."""
    settings = ("user.name=Maria", "user.email=maria@acme.example", "protocol.file.allow=always")
    options = [word for setting in settings for word in ("-c", setting)]
    subprocess.run(["git", *options, *arguments], cwd=folder, check=True, capture_output=True)
