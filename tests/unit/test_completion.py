"""Tests of the completions that depend on the project."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from click.shell_completion import ShellComplete

from bxcache.cli.completion import VARIABLE
from bxcache.cli.main import cli
from bxcache.insight.recent_builds import Checkout, add_build
from bxcache.place.scope import Owner, Scope, guess_platform
from tests.support.histories import make_record, make_step
from tests.support.layouts import build

if TYPE_CHECKING:
    from pathlib import Path

    from bxcache.store.store import Store

NAME = Scope("image", None, (guess_platform(),)).name


@pytest.fixture
def project(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a project with a Dockerfile and its own store."""
    folder = tmp_path / "project"
    (folder / ".git").mkdir(parents=True)
    (folder / "Dockerfile").write_text("FROM a AS deps\nFROM deps AS dev\nFROM deps\n")
    (folder / "bxcache.toml").write_text(
        f'[[cache.backends]]\ntype = "local"\ndir = "{store.path}"\n'
    )
    monkeypatch.chdir(folder)
    return folder


def complete(*words: str) -> list[str]:
    """Return the completions of the last word."""
    offered = ShellComplete(cli, {}, "bxcache", VARIABLE)
    return [each.value for each in offered.get_completions(list(words[:-1]), words[-1])]


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("command", ["history", "diff"])
def test_the_stages_of_the_dockerfile_are_offered(command: str) -> None:
    """Before the first build, the stages of the Dockerfile are offered."""
    assert complete(command, "--stage", "d") == ["deps", "dev"]
    assert complete(command, "--target", "de") == ["deps", "dev"]
    assert complete("report", "--target", "dev") == ["dev"]


@pytest.mark.parametrize(
    ("words", "stages"),
    [
        (["web"], ["site"]),
        (["--image", "web"], ["site"]),
        (["web", "-f", "Dockerfile"], ["deps", "dev"]),
        (["api"], ["server"]),
        (["folder"], ["inside"]),
        ([], ["deps", "dev"]),
    ],
)
def test_the_stages_of_the_named_image_are_offered(
    project: Path, words: list[str], stages: list[str]
) -> None:
    """The stages are those of the named image's Dockerfile, or of the one in the named folder."""
    (project / "bxcache.toml").write_text(
        "[images.web]\nfile = 'docker/web.Dockerfile'\n[images.api]\ncontext = 'services/api'\n"
    )
    for name, stage in (
        ("docker/web.Dockerfile", "site"),
        ("services/api/Dockerfile", "server"),
        ("folder/Dockerfile", "inside"),
        ("web/Dockerfile", "not-the-image"),
    ):
        (project / name).parent.mkdir(parents=True)
        (project / name).write_text(f"FROM a AS {stage}\nFROM {stage}\n")
    for option in ("--target", "--no-cache-filter"):
        assert complete("build", *words, option, "") == stages


@pytest.mark.usefixtures("project")
def test_the_built_stages_are_offered(store: Store) -> None:
    """After a build, its stages are offered, whatever the Dockerfile contains now."""
    build(store, NAME, b"one")
    store.add_record(NAME, make_record(make_step("RUN a", 2, stage="dist")).to_json())
    assert complete("history", "--stage", "d") == ["dist"]
    assert complete("history", NAME, "--stage", "d") == ["dist"]


@pytest.mark.usefixtures("project")
def test_scopes_are_offered_for_every_scope_argument(store: Store) -> None:
    """Every argument that names a scope offers the scopes of the store."""
    build(store, NAME, b"one")
    for words in (["history"], ["report"], ["diff"], ["diff", NAME]):
        assert complete(*words, "im") == [NAME]


@pytest.mark.parametrize("kind", ["inline", "registry"])
def test_scopes_without_a_store_are_offered(
    kind: str, project: Path, store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without a local store, the scopes of the last builds in the folder are offered."""
    build(store, NAME, b"one")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    text = f"[[cache.backends]]\ntype = '{kind}'\nref = 'r.invalid/app'\n"
    (project / "bxcache.toml").write_text(text)
    record = make_record(make_step("RUN a", 2))
    add_build(Checkout(project, Owner.of_branch("main")), record.to_json())
    add_build(Checkout(tmp_path, Owner.of_branch("main")), make_record().to_json())
    name = record.scope.name
    for words in (["history"], ["report"], ["diff"], ["diff", name], ["registry", "rm"]):
        assert complete(*words, name[:2]) == [name]
        assert complete(*words, "x") == []
    assert complete("history", "--from", str(store.path), "im") == [NAME]
    assert complete("store", "rm", "im") == []
    assert "r.invalid/app" in complete("history", "--from", "r.")


@pytest.mark.usefixtures("project")
def test_scopes_to_pack_are_offered(store: Store) -> None:
    """The scopes of the store are offered for `store pack --scope`."""
    build(store, NAME, b"one")
    assert complete("store", "pack", "--scope", "im") == [NAME]


def test_gates_are_offered() -> None:
    """Each gate is offered with its equals sign."""
    assert complete("build", "--gate", "max_s") == ["max_size=", "max_seconds="]
    assert "warn=" in complete("bake", "--gate", "")
    assert complete("build", "--gate", "x") == []


@pytest.mark.parametrize("option", ["--stage", "--target"])
def test_a_broken_project_offers_nothing(
    option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broken project offers nothing and prints nothing."""
    (tmp_path / "bxcache.toml").write_text("[images\n")
    monkeypatch.chdir(tmp_path)
    assert complete("history", option, "a") == []
