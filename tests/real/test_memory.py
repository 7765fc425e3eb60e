"""Tests of builds with a docker that is remembered."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from msgspec.structs import replace

from bxcache.buildx.capabilities import Builder, Capabilities, Node
from bxcache.buildx.driver import Docker
from bxcache.buildx.memory import Memory
from tests.real.conftest import MakeMachine
from tests.real.machines import Machine, count
from tests.real.test_preflight import ENGINE, expect_one_warning

LOGGING = """\
#!/bin/sh
echo "$1 $2" >> {log}
exec {docker} "$@"
"""
ABLE = Capabilities(
    *("28.0.0", "28.0.0", "linux/amd64"),
    Builder("mine", "docker-container", (Node("mine0", "running", "v0.25.0"),)),
    "v0.29.1",
)


def pretend(machine: Machine, monkeypatch: pytest.MonkeyPatch, **more: str) -> Path:
    """Make bxcache remember a docker that can do everything."""
    environment = machine.environment(**more)
    monkeypatch.setenv("XDG_CACHE_HOME", str(machine.home))
    client = shutil.which("docker", path=environment["PATH"])
    memory = Memory.find((client or "",), "", environment)
    memory.keep(ABLE)
    assert memory.recall() == ABLE
    return memory.file


@pytest.mark.parametrize("config", ["", '[build]\nbuilder = "default"\n'], ids=["current", "named"])
def test_docker_is_asked_once(config: str, machine: Machine, project: Path, tmp_path: Path) -> None:
    """A second build runs docker once, and knows of it what the first one knows; so does a bake."""
    (project / "bxcache.toml").write_text(config)
    folder, log = tmp_path / "bin", tmp_path / "log"
    folder.mkdir()
    path = machine.environment()["PATH"]
    (folder / "docker").write_text(
        LOGGING.format(log=log, docker=shutil.which("docker", path=path))
    )
    (folder / "docker").chmod(0o755)
    own = f"{folder}:{path}"
    tools = []
    for asked in (True, False):
        log.unlink(missing_ok=True)
        machine.run("build", "--network", "none", folder=project, PATH=own)
        assert (log.read_text().splitlines() != ["buildx build"]) == asked
        report = machine.run("report", "--json", folder=project).out
        tools.append(json.loads(report)["tools"])
    assert tools[0] == tools[1]
    assert all(tools[0].values())
    (project / "docker-bake.json").write_text('{"target": {"default": {"network": "none"}}}')
    log.unlink()
    machine.run("bake", folder=project, PATH=own)
    assert set(log.read_text().splitlines()) == {"buildx bake"}


def test_an_engine_that_became_classic_is_noticed(
    machines: MakeMachine, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A build on an engine that can do less than remembered ends as if it had been asked."""
    classic = machines("classic")
    file = pretend(classic, monkeypatch)
    expect_one_warning(classic.build(folder=project), "local")
    assert not file.exists()


def test_an_engine_that_ended_is_noticed(
    machine: Machine, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine that was remembered and does not answer is refused as ever."""
    host = f"unix://{tmp_path / 'nothing'}"
    file = pretend(machine, monkeypatch, DOCKER_HOST=host, BUILDX_BUILDER="")
    error = machine.run(
        "build", folder=project, status=ENGINE, DOCKER_HOST=host, BUILDX_BUILDER=""
    ).err
    assert "docker's engine does not answer" in error
    assert "systemctl start docker" in error
    assert not file.exists()


def test_a_build_that_fails_for_another_reason_runs_once(
    machine: Machine, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong flag fails once, with docker's words and status."""
    docker = Docker((shutil.which("docker", path=machine.environment()["PATH"]) or "",))
    for name, value in machine.environment().items():
        monkeypatch.setenv(name, value)
    with docker.probe("") as probe:
        found = probe.wait(lambda: None)
    docker.remember("").keep(replace(found, buildx="v0.29.1"))
    ran = machine.run("build", ".", "--", "--nonsense", folder=project, status=125)
    assert ran.err.count("--nonsense") == 1


def test_a_dry_run_asks(
    machines: MakeMachine, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dry run shows what docker can do now."""
    classic = machines("classic")
    pretend(classic, monkeypatch)
    assert "classic image store" in classic.run("build", "--dry-run", folder=project).out
    assert count(classic.build(folder=project))[1]
