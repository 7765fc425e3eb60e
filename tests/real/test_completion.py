"""What a shell is offered."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bxcache.cli.completion import SHELLS, VARIABLE

ROOT = Path(__file__).parents[2]


def complete(words: str, folder: Path) -> list[str]:
    """What bash is offered for the last of some words."""
    done = subprocess.run(
        [sys.executable, "-m", "bxcache"],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "XDG_CACHE_HOME": str(folder / "home"),
            VARIABLE: "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split(" ")) - 1),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    return [line.partition(",")[2] for line in done.stdout.splitlines() if line]


def test_images_stages_and_options_are_offered(tmp_path: Path) -> None:
    """Those that the project has, by their beginnings."""
    (tmp_path / ".git").mkdir()
    (tmp_path / "bxcache.toml").write_text("[images.api]\n[images.app]\n[images.web]\n")
    (tmp_path / "Dockerfile").write_text("FROM a AS deps\nFROM deps AS dev\nFROM deps\n")
    assert complete("bxcache build a", tmp_path)[:2] == ["api", "app"]
    assert complete("bxcache build --target de", tmp_path) == ["deps", "dev"]
    assert "--platform" in complete("bxcache build --pl", tmp_path)
    assert complete("bxcache build --progress ra", tmp_path) == ["rawjson"]
    assert complete("bxcache st", tmp_path) == ["store"]


def test_a_broken_project_offers_nothing_and_says_nothing(tmp_path: Path) -> None:
    """A shell that completes must not print errors."""
    (tmp_path / ".git").mkdir()
    (tmp_path / "bxcache.toml").write_text("[images\n")
    assert complete("bxcache build a", tmp_path) == ["a"]
    assert complete("bxcache build --target a", tmp_path) == []
    assert complete("bxcache store rm a", tmp_path) == []


@pytest.mark.parametrize("shell", SHELLS)
def test_what_a_shell_reads_is_of_that_shell(shell: str) -> None:
    """The shell itself, where there is one, takes it without an error."""
    done = subprocess.run(
        [sys.executable, "-m", "bxcache", "completion", shell],
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"{VARIABLE}={shell}_complete" in done.stdout
    program = shutil.which(shell)
    if program is not None:
        checked = subprocess.run(
            [program, "-n"], input=done.stdout, capture_output=True, text=True, check=False
        )
        assert (checked.returncode, checked.stderr) == (0, "")


def test_an_unknown_shell_is_refused() -> None:
    """With the known ones."""
    done = subprocess.run(
        [sys.executable, "-m", "bxcache", "completion", "tcsh"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "bash" in done.stderr
