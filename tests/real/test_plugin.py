"""bxcache as a plugin of docker's command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bxcache.version import __version__
from tests.real.conftest import STEPS
from tests.real.machines import Machine, count

PROGRAM = Path(sys.executable).with_name("docker-bxcache")


@pytest.fixture
def plugged(machine: Machine, tmp_path: Path) -> dict[str, str]:
    """The environment of a docker with both plugins."""
    known = machine.environment()
    plugins = tmp_path / "docker" / "cli-plugins"
    plugins.mkdir(parents=True)
    buildx = Path(known["DOCKER_CONFIG"]) / "cli-plugins" / "docker-buildx"
    (plugins / "docker-buildx").symlink_to(buildx.resolve())
    (plugins / "docker-bxcache").symlink_to(PROGRAM)
    return {**known, "DOCKER_CONFIG": str(plugins.parent)}


def ask(known: dict[str, str], folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/usr/bin/env", "docker", *words],
        cwd=folder,
        env=known,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def test_docker_knows_the_plugin(plugged: dict[str, str], tmp_path: Path) -> None:
    """Docker's help and information list the plugin with its version, and no complaint."""
    form = "{{json .ClientInfo.Plugins}}"
    listed = json.loads(ask(plugged, tmp_path, "info", "--format", form).stdout)
    [own] = [each for each in listed if each["Name"] == "bxcache"]
    assert (own["Version"], own.get("Err")) == (__version__, None)
    assert "bxcache*" in ask(plugged, tmp_path, "--help").stdout


def test_docker_bxcache_is_bxcache(plugged: dict[str, str], project: Path, tmp_path: Path) -> None:
    """`docker bxcache build` builds, with docker's global options, and has the exit status."""
    store = f"type=local,dir={tmp_path / 'store'}"
    host = plugged.pop("DOCKER_HOST")
    words = ("bxcache", "build", "--json", "--network", "none", "--backend", store)
    done = ask(plugged, project, "--host", host, *words)
    assert done.returncode == 0, done.stderr
    assert count(json.loads(done.stdout)) == (0, STEPS)
    assert ask(plugged, project, "bxcache", "--version").stdout == f"bxcache {__version__}\n"
    assert ask(plugged, project, "bxcache", "build", "--nope").returncode == 2
