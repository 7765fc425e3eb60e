"""Completion in shells."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bxcache.cli.completion import SHELLS, VARIABLE
from tests.real.conftest import MakeMachine

ROOT = Path(__file__).parents[2]


def complete(words: str, folder: Path) -> list[str]:
    """Return what bash offers for the last of some words."""
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
    """Images, stages and options of the project are offered by their beginnings."""
    (tmp_path / ".git").mkdir()
    (tmp_path / "bxcache.toml").write_text("[images.api]\n[images.app]\n[images.web]\n")
    (tmp_path / "Dockerfile").write_text("FROM a AS deps\nFROM deps AS dev\nFROM deps\n")
    assert complete("bxcache build a", tmp_path)[1:] == ["api", "app"]
    assert complete("bxcache build --target de", tmp_path) == ["deps", "dev"]
    assert "--platform" in complete("bxcache build --pl", tmp_path)
    assert complete("bxcache build --progress ra", tmp_path) == ["rawjson"]
    assert complete("bxcache st", tmp_path) == ["store"]


@pytest.mark.parametrize("kind", ["docker", "oldest"])
def test_targets_of_a_bake_file_are_offered(
    kind: str, machines: MakeMachine, tmp_path: Path
) -> None:
    """Targets and groups of the bake files are offered; none by a buildx that cannot list them."""
    file = tmp_path / "other.hcl"
    file.write_text('group "all" { targets = ["api"] }\ntarget "api" {}\ntarget "web" {}\n')
    words = f"bxcache bake --file {file} a"
    shell = {VARIABLE: "bash_complete", "COMP_WORDS": words, "COMP_CWORD": "4"}
    with machines(kind).start(folder=tmp_path, **shell) as asked:
        out, err = asked.communicate()
    offered = [line.partition(",")[2] for line in out.splitlines() if line]
    assert (offered, err) == (["all", "api"] if kind == "docker" else [], "")


BASH = """
eval "$(bxcache completion bash)"
compopt() { echo compopt "$@"; }
COMP_WORDS=(%s)
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_bxcache_completion bxcache
printf '%%s\n' "${COMPREPLY[@]}"
"""


def complete_in_bash(words: str, folder: Path) -> list[str]:
    """Return what bash itself makes of the script, and the options that the script sets."""
    program = folder / "bin" / "bxcache"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m bxcache "$@"\n')
    program.chmod(0o755)
    known = {key: value for key, value in os.environ.items() if not key.startswith("BXCACHE_")}
    path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", BASH % words],
        cwd=folder,
        env={**known, "PATH": path, "PYTHONPATH": str(ROOT), "HOME": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.split("\n")[:-1]


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes_images_and_folders(tmp_path: Path) -> None:
    """Bash offers images, or folders if none fits, and puts no space after an equals sign."""
    (tmp_path / ".git").mkdir()
    (tmp_path / "bxcache.toml").write_text("[images.api]\n[images.app]\n[images.web]\n")
    folders = "compopt -o dirnames"
    assert complete_in_bash("bxcache build a", tmp_path) == [folders, "api", "app"]
    assert complete_in_bash("bxcache build x", tmp_path) == [folders, ""]
    gates = complete_in_bash("bxcache build --gate min_h", tmp_path)
    assert gates == ["compopt -o nospace", "min_hit_ratio="]
    assert complete_in_bash("bxcache st", tmp_path) == ["store"]


def test_a_broken_project_completes_silently(tmp_path: Path) -> None:
    """Completion in a broken project offers nothing of it and prints no error."""
    (tmp_path / ".git").mkdir()
    (tmp_path / "bxcache.toml").write_text("[images\n")
    assert complete("bxcache build a", tmp_path) == ["a"]
    assert complete("bxcache build --target a", tmp_path) == []
    assert complete("bxcache store rm a", tmp_path) == []


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_accepts_its_script(shell: str) -> None:
    """Each shell that is installed parses its script without an error."""
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
    """An unknown shell is refused with a list of the known ones."""
    done = subprocess.run(
        [sys.executable, "-m", "bxcache", "completion", "tcsh"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "bash" in done.stderr
