"""Unit tests start no process; tests that need one belong to the real tests."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, NoReturn

import pytest

from bxcache.config.reference import Reference
from bxcache.registry.repository import open_repository
from bxcache.store.store import Store
from tests.support.registries import MemoryRegistry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bxcache.registry.repository import Repository

CI_MARKS = (
    *("CI", "GITHUB_ACTIONS", "GITLAB_CI", "CIRCLECI", "BUILDKITE", "JENKINS_URL", "JENKINS_HOME"),
    *("TF_BUILD", "BITBUCKET_BUILD_NUMBER", "TRAVIS", "CI_SYSTEM_NAME", "DRONE"),
    "TEAMCITY_VERSION",
)


@pytest.fixture(autouse=True)
def _no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise AssertionError("a unit test tried to start a process")

    monkeypatch.setattr(subprocess.Popen, "__init__", refuse)


@pytest.fixture(autouse=True)
def _own_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg-cache"))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Return a store that does not exist yet."""
    return Store(tmp_path / "store")


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Set up a user without a login, whose retries do not wait."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("DOCKER_CONFIG", raising=False)
    monkeypatch.setattr("urllib3.util.Retry.sleep", lambda *_: None)


@pytest.fixture
def registry() -> Iterator[MemoryRegistry]:
    """Start an empty registry."""
    with MemoryRegistry() as started:
        yield started


@pytest.fixture
def repository(registry: MemoryRegistry) -> Repository:
    """Return the repository `app` of the registry."""
    return open_repository(Reference(f"{registry.address}/app"), {}, insecure=False)


@pytest.fixture(autouse=True)
def _nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide every CI system and git, so that tests run in no known place."""

    def absent(*_: object, **__: object) -> NoReturn:
        raise FileNotFoundError("git")

    monkeypatch.setattr("bxcache.place.repository.ask", absent)
    for name in CI_MARKS:
        monkeypatch.delenv(name, raising=False)
