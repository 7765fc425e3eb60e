"""Tests of listing a git remote's branches and tags, with real repositories."""

from __future__ import annotations

from pathlib import Path

import pytest

from bxcache.cli.main import run
from bxcache.errors import PlaceError
from bxcache.place.repository import RemoteRefs, list_remote
from tests.real.repositories import git, isolate_git


@pytest.fixture(autouse=True)
def _own_git(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Run git as on a new machine: without settings or a repository around the tests' folder."""
    isolate_git(monkeypatch, tmp_path)
    monkeypatch.setenv("LC_ALL", "C")


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    """Make an empty bare repository."""
    folder = tmp_path / "remote.git"
    git(tmp_path, "init", "--bare", "-b", "main", str(folder))
    return folder


@pytest.fixture
def work(tmp_path: Path, remote: Path) -> Path:
    """Make a repository with one commit, whose `origin` is empty."""
    folder = tmp_path / "work"
    git(tmp_path, "init", "-b", "main", str(folder))
    git(folder, "remote", "add", "origin", str(remote))
    git(folder, "commit", "--allow-empty", "-m", "first")
    return folder


def refs(branches: set[str], tags: set[str]) -> RemoteRefs:
    return RemoteRefs(frozenset(branches), frozenset(tags))


def test_branches_and_tags_have_their_short_names(work: Path) -> None:
    """Names keep slashes and other letters, an annotated tag counts once, and only pushed refs
    count.
    """
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


def test_deleted_refs_are_not_listed(work: Path, remote: Path) -> None:
    """A deleted ref is not listed, although the clone still has it."""
    git(work, "push", "origin", "main", "main:old", "main:refs/tags/v1")
    git(work, "fetch", "--tags")
    assert list_remote(work, "origin") == refs({"main", "old"}, {"v1"})
    git(remote, "branch", "-D", "old")
    git(remote, "tag", "-d", "v1")
    assert list_remote(work, "origin") == refs({"main"}, set())


def test_a_clone_of_one_branch_knows_the_others(work: Path, remote: Path, tmp_path: Path) -> None:
    """A shallow clone of one branch, usual in CI, lists all branches."""
    git(work, "push", "origin", "main", "main:feature/x")
    git(tmp_path, "clone", "--depth=1", "--single-branch", "-b", "main", remote.as_uri(), "clone")
    assert list_remote(tmp_path / "clone", "origin") == refs({"main", "feature/x"}, set())


def test_a_url_needs_no_repository(work: Path, remote: Path, tmp_path: Path) -> None:
    """A URL works outside a repository."""
    git(work, "push", "origin", "main")
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    assert list_remote(folder, remote.as_uri()) == refs({"main"}, set())


def test_a_folder_below_lists_the_repositorys_remote(work: Path) -> None:
    """A folder below the root lists the repository's remote."""
    git(work, "push", "origin", "main")
    (work / "below").mkdir()
    assert list_remote(work / "below", "origin") == refs({"main"}, set())


def test_a_remote_without_branches_is_an_error(work: Path) -> None:
    """A remote without branches is an error, since all scopes would be removed."""
    with pytest.raises(PlaceError, match="no branches; refusing to remove"):
        list_remote(work, "origin")
    git(work, "push", "origin", "main:refs/tags/v1")
    with pytest.raises(PlaceError, match="no branches; refusing to remove"):
        list_remote(work, "origin")


@pytest.mark.parametrize(
    "name", ["upstream", "--upload-pack=touch pwned", "-x", "--help", "", "/nowhere"]
)
def test_an_unknown_remote_is_an_error(work: Path, name: str) -> None:
    """An unknown remote is an error; one that looks like an option runs nothing."""
    git(work, "push", "origin", "main")
    with pytest.raises(PlaceError, match="git cannot list the remote's branches: fatal: ") as error:
        list_remote(work, name)
    assert "git ls-remote" in error.value.hint
    assert "\n" not in error.value.message
    assert not list(work.rglob("pwned"))


@pytest.mark.parametrize(
    ("script", "cause"),
    [
        (
            "echo git@h: Permission denied '(publickey).' >&2; exit 255",
            "git@h: Permission denied (publickey); fatal: Could not read from remote repository",
        ),
        ("exit 255", "fatal: Could not read from remote repository"),
    ],
)
def test_the_cause_is_one_line_without_advice(
    work: Path, monkeypatch: pytest.MonkeyPatch, script: str, cause: str
) -> None:
    """The error has git's cause on one line, and none of its general advice on access rights."""
    monkeypatch.setenv("GIT_SSH_COMMAND", f"f() {{ {script}; }}; f")
    with pytest.raises(PlaceError) as error:
        list_remote(work, "git@example.com:team/app.git")
    assert error.value.message == f"git cannot list the remote's branches: {cause}"


def test_outside_of_a_repository_there_is_no_remote(tmp_path: Path) -> None:
    """Outside a repository, the error names the option to use."""
    with pytest.raises(PlaceError, match="does not appear to be a git repository") as error:
        list_remote(tmp_path, "origin")
    assert "`--remote`" in error.value.hint


def test_a_password_in_a_url_is_not_repeated(tmp_path: Path) -> None:
    """The password in a URL is in neither the message nor the hint."""
    with pytest.raises(PlaceError) as error:
        list_remote(tmp_path, "http://maria:only-for-tests@127.0.0.1:1/x.git")
    assert "only-for-tests" not in str(error.value)
    assert "127.0.0.1:1/x.git" in str(error.value)


def test_without_git_listing_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without git, the error names the missing program."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PlaceError, match="no `git` on PATH"):
        list_remote(tmp_path, "origin")


def test_a_hanging_git_is_stopped(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, work: Path
) -> None:
    """A git that waits for the network is stopped."""
    script = tmp_path / "slow"
    script.write_text("#!/bin/sh\nexec sleep 3\n")
    script.chmod(0o755)
    monkeypatch.setattr("bxcache.place.repository._REMOTE_SECONDS", 0.3)
    git(work, "config", "remote.origin.uploadpack", str(script))
    with pytest.raises(PlaceError, match="did not answer within"):
        list_remote(work, "origin")


def test_prune_needs_git(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Outside a repository, `prune` contacts no registry and ends with the status for git."""
    monkeypatch.chdir(tmp_path)
    assert run(["registry", "prune", "--gone", "--from", "127.0.0.1:1/app"]) == 72
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "git cannot list the remote's branches" in shown.err
    assert "hint: " in shown.err
