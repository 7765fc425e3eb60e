"""docker's credential helpers as real programs.

https://github.com/docker/docker-credential-helpers#development
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from bxcache.registry.credentials import Login, find_login

HOST = "registry.example.com:5000"


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder on PATH that is also docker's own and names a helper."""
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "config.json").write_text(json.dumps({"credsStore": "tests"}))
    return tmp_path


def install(folder: Path, script: str) -> None:
    program = folder / "docker-credential-tests"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def find(folder: Path) -> Login | None:
    return find_login(HOST, {"DOCKER_CONFIG": str(folder)}).login


def test_a_helper_is_given_the_registry_and_gives_the_login(folder: Path) -> None:
    """The helper gets the word `get` and, on stdin, the registry; its secret is used unchanged."""
    answer = json.dumps({"ServerURL": HOST, "Username": "maria", "Secret": "p:w\\n$(x) ü"})
    (folder / "answer").write_text(answer)
    install(folder, f'echo "$# $1 $(cat)" > {folder}/asked\ncat {folder}/answer')
    assert find(folder) == Login("maria", "p:w\\n$(x) ü")
    assert (folder / "asked").read_text() == f"1 get {HOST}\n"


@pytest.mark.parametrize(
    "script",
    [
        "echo credentials not found in native keychain; exit 1",
        "exit 0",
        "echo nonsense",
        "kill -9 $$",
        "exec 0<&-; exec 1>&-; exit 0",
        "head -c 1000000 /dev/zero",
    ],
)
def test_a_helper_without_a_login_is_not_an_error(folder: Path, script: str) -> None:
    """A helper without a valid answer yields no login, however it ends."""
    install(folder, script)
    assert find(folder) is None


def test_a_missing_helper_is_not_an_error(folder: Path) -> None:
    """A helper that is missing or cannot be run yields no login."""
    assert find(folder) is None
    (folder / "docker-credential-tests").write_text("no program")
    assert find(folder) is None
    (folder / "docker-credential-tests").chmod(0o755)
    assert find(folder) is None


def test_a_helper_that_hangs_is_ended(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A helper that hangs, like a keychain that waits for its user, is ended."""
    monkeypatch.setattr("bxcache.registry.credentials._SECONDS_FOR_HELPER", 0.3)
    install(folder, f"echo $$ > {folder}/pid; exec sleep 60")
    begun = time.monotonic()
    assert find(folder) is None
    assert time.monotonic() - begun < 30
    with pytest.raises(ProcessLookupError):
        os.kill(int((folder / "pid").read_text()), 0)
