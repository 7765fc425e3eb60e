"""Unit tests start no process: what needs one belongs to the real tests."""

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
    """A store that is not there yet."""
    return Store(tmp_path / "store")


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A user without a login, who does not wait between attempts."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("DOCKER_CONFIG", raising=False)
    monkeypatch.setattr("urllib3.util.Retry.sleep", lambda *_: None)


@pytest.fixture
def registry() -> Iterator[MemoryRegistry]:
    """A registry that is empty."""
    with MemoryRegistry() as started:
        yield started


@pytest.fixture
def repository(registry: MemoryRegistry) -> Repository:
    """Its repository `app`."""
    return open_repository(Reference(f"{registry.address}/app"), {}, insecure=False)


@pytest.fixture(autouse=True)
def _nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither on a CI system nor in a checkout: there is no git."""

    def absent(*_: object, **__: object) -> NoReturn:
        raise FileNotFoundError("git")

    monkeypatch.setattr("bxcache.place.repository.ask", absent)
    for name in CI_MARKS:
        monkeypatch.delenv(name, raising=False)
