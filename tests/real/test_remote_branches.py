"""Which branches and tags a git remote has, asked of real repositories."""

from __future__ import annotations

from pathlib import Path

import pytest

from bxcache.cli.main import run
from bxcache.errors import PlaceError
from bxcache.place.remote import RemoteRefs, list_remote
from tests.real.repositories import git, isolate_git


@pytest.fixture(autouse=True)
def _own_git(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Git as on a new machine: no settings, no repository around the tests' folder."""
    isolate_git(monkeypatch, tmp_path)
    monkeypatch.setenv("LC_ALL", "C")


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    """A bare repository, empty."""
    folder = tmp_path / "remote.git"
    git(tmp_path, "init", "--bare", "-b", "main", str(folder))
    return folder


@pytest.fixture
def work(tmp_path: Path, remote: Path) -> Path:
    """A repository with one commit, whose `origin` has nothing yet."""
    folder = tmp_path / "work"
    git(tmp_path, "init", "-b", "main", str(folder))
    git(folder, "remote", "add", "origin", str(remote))
    git(folder, "commit", "--allow-empty", "-m", "first")
    return folder


def refs(branches: set[str], tags: set[str]) -> RemoteRefs:
    return RemoteRefs(frozenset(branches), frozenset(tags))


def test_branches_and_tags_have_their_short_names(work: Path) -> None:
    """Slashes and other letters too; an annotated tag counts once. Only what is pushed counts."""
    for branch in ("feature/x", "heads/odd", "größe"):
        git(work, "branch", branch)
    git(work, "tag", "v1")
    git(work, "tag", "-a", "v2", "-m", "annotated")
    git(work, "tag", "rc/1")
    git(work, "update-ref", "refs/notes/x", "HEAD")
    git(work, "push", "origin", "refs/*:refs/*")
    git(work, "branch", "only-here")
    git(work, "tag", "v3")
    expected = refs({"main", "feature/x", "heads/odd", "größe"}, {"v1", "v2", "rc/1"})
    assert list_remote(work, "origin") == expected


def test_what_was_deleted_there_is_gone(work: Path, remote: Path) -> None:
    """Though a clone still remembers it."""
    git(work, "push", "origin", "main", "main:old", "main:refs/tags/v1")
    git(work, "fetch", "--tags")
    assert list_remote(work, "origin") == refs({"main", "old"}, {"v1"})
    git(remote, "branch", "-D", "old")
    git(remote, "tag", "-d", "v1")
    assert list_remote(work, "origin") == refs({"main"}, set())


def test_a_clone_of_one_branch_knows_the_others(work: Path, remote: Path, tmp_path: Path) -> None:
    """As CI systems make them: shallow."""
    git(work, "push", "origin", "main", "main:feature/x")
    git(tmp_path, "clone", "--depth=1", "--single-branch", "-b", "main", remote.as_uri(), "clone")
    assert list_remote(tmp_path / "clone", "origin") == refs({"main", "feature/x"}, set())


def test_a_url_needs_no_repository(work: Path, remote: Path, tmp_path: Path) -> None:
    """It is asked from anywhere."""
    git(work, "push", "origin", "main")
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    assert list_remote(folder, remote.as_uri()) == refs({"main"}, set())


def test_the_whole_repository_is_meant(work: Path) -> None:
    """Also from a folder below its root."""
    git(work, "push", "origin", "main")
    (work / "below").mkdir()
    assert list_remote(work / "below", "origin") == refs({"main"}, set())


def test_a_remote_without_branches_is_not_believed(work: Path) -> None:
    """All scopes would go: empty, or only with tags."""
    with pytest.raises(PlaceError, match="no branch; nothing is removed"):
        list_remote(work, "origin")
    git(work, "push", "origin", "main:refs/tags/v1")
    with pytest.raises(PlaceError, match="no branch; nothing is removed"):
        list_remote(work, "origin")


@pytest.mark.parametrize(
    "name", ["upstream", "--upload-pack=touch pwned", "-x", "--help", "", "/nowhere"]
)
def test_a_remote_that_is_none_is_an_error(work: Path, name: str) -> None:
    """One that looks like an option is none either, and runs nothing."""
    git(work, "push", "origin", "main")
    with pytest.raises(
        PlaceError, match="git does not tell which branches exist: fatal: "
    ) as error:
        list_remote(work, name)
    assert "git ls-remote" in error.value.hint
    assert "\n" not in error.value.message
    assert not list(work.rglob("pwned"))


def test_outside_of_a_repository_there_is_no_remote(tmp_path: Path) -> None:
    """That is said, with the command that shows it."""
    with pytest.raises(PlaceError, match="does not appear to be a git repository") as error:
        list_remote(tmp_path, "origin")
    assert "`--remote`" in error.value.hint


def test_a_password_in_a_url_is_not_repeated(tmp_path: Path) -> None:
    """Neither in git's words nor in the hint."""
    with pytest.raises(PlaceError) as error:
        list_remote(tmp_path, "http://maria:only-for-tests@127.0.0.1:1/x.git")
    assert "only-for-tests" not in str(error.value)
    assert "127.0.0.1:1/x.git" in str(error.value)


def test_without_git_there_is_no_telling(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Which is said."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PlaceError, match="no `git` on PATH"):
        list_remote(tmp_path, "origin")


def test_a_git_that_does_not_end_is_ended(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, work: Path
) -> None:
    """A network can be like that."""
    script = tmp_path / "slow"
    script.write_text("#!/bin/sh\nexec sleep 3\n")
    script.chmod(0o755)
    monkeypatch.setattr("bxcache.place.remote._SECONDS", 0.3)
    git(work, "config", "remote.origin.uploadpack", str(script))
    with pytest.raises(PlaceError, match="did not answer within"):
        list_remote(work, "origin")


def test_prune_takes_gits_word_or_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Outside of git it asks no registry, and ends with the status for git."""
    monkeypatch.chdir(tmp_path)
    assert run(["registry", "prune", "--gone", "--ref", "127.0.0.1:1/app"]) == 72
    told = capsys.readouterr()
    assert told.out == ""
    assert "git does not tell which branches exist" in told.err
    assert "hint: " in told.err
