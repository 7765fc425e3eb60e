"""Tests of what is remembered about docker, and for how long."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from bxcache.buildx.capabilities import Builder, Capabilities, Node
from bxcache.buildx.memory import Memory

NODE = Node("default", "running", "v0.25.1", "", ("linux/amd64", "linux/386"), ("a.label",))
FOUND = Capabilities(
    "28.5.2", "28.5.2", "linux/amd64", Builder("mine", "docker-container", (NODE,)), "v0.29.1"
)
UNABLE = {
    "the engine does not answer": replace(FOUND, engine=None),
    "buildx is unknown": replace(FOUND, buildx=""),
    "the builder is broken": replace(FOUND, builder=replace(FOUND.builder, error="no route")),
    "the builder has no node": replace(FOUND, builder=replace(FOUND.builder, nodes=())),
    "the builder sleeps": replace(
        FOUND, builder=replace(FOUND.builder, nodes=(replace(NODE, status="inactive"),))
    ),
    "a node is broken": replace(
        FOUND, builder=replace(FOUND.builder, nodes=(NODE, replace(NODE, error="gone")))
    ),
    "the image store is classic": replace(FOUND, builder=replace(FOUND.builder, driver="docker")),
    "BuildKit is old": replace(
        FOUND, builder=replace(FOUND.builder, nodes=(replace(NODE, version="v0.12.5"),))
    ),
}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Make a home with a docker client, its plugin, its settings, and a socket."""
    for name in ("docker", ".docker/config.json", ".docker/cli-plugins/docker-buildx", "socket"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    for name in ("buildx/instances", "buildx/defaults", "contexts/meta"):
        (tmp_path / ".docker" / name).mkdir(parents=True)
    (tmp_path / ".docker" / "buildx" / "instances" / "known").write_text("{}")
    (tmp_path / ".docker" / "buildx" / "current").write_text('{"Key": "", "Name": "known"}')
    return tmp_path


def find(home: Path, builder: str = "", **variables: str) -> Memory:
    """Find the memory of the docker in a home."""
    environment = {"HOME": str(home), "DOCKER_HOST": f"unix://{home}/socket", **variables}
    return Memory.find((str(home / "docker"),), builder, environment)


def test_answers_are_remembered(home: Path) -> None:
    """What is kept is recalled, until it is forgotten."""
    assert find(home).recall() is None
    find(home).keep(FOUND)
    assert find(home).recall() == FOUND
    find(home).forget()
    find(home).forget()
    assert find(home).recall() is None


@pytest.mark.parametrize("why", UNABLE)
def test_only_an_able_docker_is_remembered(home: Path, why: str) -> None:
    """A docker that lacks something is asked again, since it may be mended."""
    find(home).keep(UNABLE[why])
    assert find(home).recall() is None


@pytest.mark.parametrize(
    "name",
    [
        *("docker", ".docker/config.json", ".docker/cli-plugins/docker-buildx", "socket"),
        *(".docker/buildx/instances/new", ".docker/buildx/instances/known"),
        *(".docker/buildx/defaults/new", ".docker/contexts/meta/new", ".docker/buildx/current"),
    ],
)
def test_a_change_is_noticed(home: Path, name: str) -> None:
    """Another program, engine, context or builder is asked, even if it is new since the asking."""
    asked = find(home)
    (home / "new").write_text('{"Key": "unix:///socket", "Name": "another"}')
    (home / "new").replace(home / name)
    asked.keep(FOUND)
    assert find(home).recall() is None
    find(home).keep(FOUND)
    assert find(home).recall() == FOUND


def test_other_choices_are_not_mixed_up(home: Path) -> None:
    """Each builder and each setting in the environment has answers of its own."""
    others = [
        find(home, "other"),
        find(home, BUILDX_BUILDER="other"),
        find(home, DOCKER_CONTEXT="other"),
        find(home, DOCKER_HOST="tcp://127.0.0.1:1"),
    ]
    find(home).keep(FOUND)
    assert [each.recall() for each in others] == [None] * len(others)


@pytest.mark.parametrize("seconds", [3601, -5])
def test_answers_age(home: Path, monkeypatch: pytest.MonkeyPatch, seconds: int) -> None:
    """Answers count for an hour, and never if they come from the future."""
    find(home).keep(FOUND)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + seconds)
    assert find(home).recall() is None


def test_buildx_may_write_its_choice_anew(home: Path) -> None:
    """Buildx writes the name of the current builder anew in each run, which is no change."""
    find(home).keep(FOUND)
    current = home / ".docker" / "buildx" / "current"
    os.utime(current, (1, 1))
    assert find(home).recall() == FOUND


def test_the_first_run_of_buildx_is_no_change(home: Path) -> None:
    """Buildx makes its folder when it runs for the first time, and chooses no builder there."""
    shutil.rmtree(home / ".docker" / "buildx")
    asked = find(home)
    for name in ("instances", "defaults", "activity"):
        (home / ".docker" / "buildx" / name).mkdir(parents=True)
    text = '{"Key":"unix:///var/run/docker.sock","Name":"","Global":false}'
    (home / ".docker" / "buildx" / "current").write_text(text)
    asked.keep(FOUND)
    assert find(home).recall() == FOUND


@pytest.mark.parametrize("text", ["", "null", "[]", "{}", '{"seal": 1, "asked": "x"}', "\udcff"])
def test_a_damaged_file_is_no_memory(home: Path, text: str) -> None:
    """A file that is damaged or from another version counts as none, and is written anew."""
    memory = find(home)
    memory.keep(FOUND)
    memory.file.write_text(text, errors="surrogateescape")
    assert memory.recall() is None
    memory.keep(FOUND)
    assert memory.recall() == FOUND


@pytest.mark.parametrize("key", ["found", "asked", "seal"])
def test_an_incomplete_file_is_no_memory(home: Path, key: str) -> None:
    """A file without one of its keys counts as none."""
    memory = find(home)
    memory.keep(FOUND)
    document = json.loads(memory.file.read_text())
    del document[key]
    memory.file.write_text(json.dumps(document))
    assert memory.recall() is None


def test_a_read_only_home_is_no_error(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing can be written, nothing is remembered."""
    monkeypatch.setenv("XDG_CACHE_HOME", os.devnull)
    find(home).keep(FOUND)
    assert find(home).recall() is None


def test_no_secret_is_written(home: Path) -> None:
    """The file has neither variables nor docker's settings."""
    (home / ".docker" / "config.json").write_text("hunter2")
    memory = find(home, DOCKER_AUTH_CONFIG="hunter2")
    memory.keep(FOUND)
    assert memory.recall() == FOUND
    assert "hunter2" not in f"{memory.file.name} {memory.file.read_text()}"
