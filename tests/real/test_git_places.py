"""Tests of where a build runs, with real git repositories."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from bxcache.errors import PlaceError
from bxcache.place.place import Place, read_place
from bxcache.place.repository import list_remote
from tests.real.repositories import git, isolate_git


@pytest.fixture(autouse=True)
def _own_git(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Run git as on a new machine: without settings or a repository around the tests' folder."""
    isolate_git(monkeypatch, tmp_path)


def make_repository(folder: Path, branch: str = "main") -> Path:
    folder.mkdir(parents=True)
    git(folder, "-c", f"init.defaultBranch={branch}", "init")
    commit(folder, "first")
    return folder


def commit(folder: Path, text: str) -> None:
    (folder / "file").write_text(text)
    git(folder, "add", "file")
    git(folder, "commit", "-m", text)


@pytest.fixture
def upstream(tmp_path: Path) -> Path:
    """Make a repository whose default branch has an unusual name."""
    folder = make_repository(tmp_path / "upstream", "develop")
    commit(folder, "second")
    git(folder, "branch", "feature/x")
    git(folder, "branch", "main")
    return folder


@pytest.fixture
def clone(upstream: Path, tmp_path: Path) -> Path:
    git(tmp_path, "clone", upstream.as_uri(), "clone")
    return tmp_path / "clone"


def read(folder: Path, **environment: str) -> Place:
    return read_place(environment, folder)


def names(place: Place) -> tuple[str | None, str | None, str | None]:
    return place.branch, place.tag, place.default


def test_a_branch(tmp_path: Path) -> None:
    """Without a remote, the default branch is the one with a usual name."""
    folder = make_repository(tmp_path / "app")
    git(folder, "checkout", "-b", "topic")
    place = read(folder)
    assert (place.provider, place.trusted, place.notes) == ("git", True, ())
    assert names(place) == ("topic", None, "main")
    assert place.sources == {"branch": "HEAD of git", "default": "refs/heads/main"}


def test_a_folder_below(clone: Path) -> None:
    """The checkout is found from any folder in it."""
    (clone / "deep" / "er").mkdir(parents=True)
    assert names(read(clone / "deep" / "er")) == ("develop", None, "develop")


def test_a_clone_knows_its_default_branch(clone: Path) -> None:
    """The remote's HEAD is preferred to a branch with a usual name."""
    git(clone, "checkout", "feature/x")
    place = read(clone)
    assert names(place) == ("feature/x", None, "develop")
    assert place.sources["default"] == "refs/remotes/origin/HEAD"


def test_a_shallow_clone_knows_its_default_branch(upstream: Path, tmp_path: Path) -> None:
    """A clone of depth 1 has the remote's HEAD."""
    git(tmp_path, "clone", "--depth", "1", upstream.as_uri(), "shallow")
    assert names(read(tmp_path / "shallow")) == ("develop", None, "develop")


def test_a_clone_of_one_branch_does_not_know_its_default_branch(
    upstream: Path, tmp_path: Path
) -> None:
    """A clone of one branch does not know the default branch."""
    git(
        tmp_path, "clone", "--depth", "1", "-b", "feature/x", "--single-branch", upstream.as_uri(),
        "one",
    )  # fmt: skip
    assert names(read(tmp_path / "one")) == ("feature/x", None, None)


def test_a_remote_head_that_leads_nowhere(clone: Path) -> None:
    """After a rename upstream, the branch with a usual name is used."""
    git(clone, "symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/gone")
    place = read(clone)
    assert (place.default, place.sources["default"]) == ("main", "refs/remotes/origin/main")


def test_a_detached_head_has_no_branch(clone: Path) -> None:
    """A detached HEAD, usual in CI, leaves the branch to the provider."""
    git(clone, "checkout", "--detach")
    assert names(read(clone)) == (None, None, "develop")
    place = read(clone, CI="true", BITBUCKET_BUILD_NUMBER="1", BITBUCKET_BRANCH="topic")
    assert names(place) == ("topic", None, "develop")


@pytest.mark.parametrize("kind", [(), ("-a", "-m", "text")])
def test_a_tag_that_is_checked_out(clone: Path, kind: tuple[str, ...]) -> None:
    """A tag at HEAD, of either kind, counts in a person's checkout but not in CI."""
    git(clone, "tag", *kind, "v1.0/rc")
    assert names(read(clone)) == ("develop", None, "develop")
    git(clone, "checkout", "v1.0/rc")
    assert names(read(clone)) == (None, "v1.0/rc", "develop")
    assert read(clone, CI="true", CIRCLECI="true").tag is None
    git(clone, "tag", "latest")
    assert names(read(clone)) == (None, None, "develop")


def test_a_tag_of_another_commit_does_not_count(clone: Path) -> None:
    """Only a tag that points to HEAD counts."""
    git(clone, "tag", "v1")
    commit(clone, "third")
    git(clone, "checkout", "--detach")
    assert names(read(clone)) == (None, None, "develop")


def test_a_branch_without_a_commit(tmp_path: Path) -> None:
    """A branch has a name before its first commit."""
    git(tmp_path, "-c", "init.defaultBranch=fresh", "init", "app")
    place = read(tmp_path / "app")
    assert (place.provider, names(place), place.notes) == ("git", ("fresh", None, None), ())


@pytest.mark.parametrize("branch", ["feature/a/b", "größe/ünï-✓", "-x.y_z@1", "refs/heads/odd"])
def test_names_stay_as_they_are(clone: Path, branch: str) -> None:
    """Slashes, other alphabets and misleading prefixes stay in the name."""
    git(clone, "symbolic-ref", "HEAD", f"refs/heads/{branch}")
    assert read(clone).branch == branch


def test_a_branch_that_shares_its_name_with_a_tag(clone: Path) -> None:
    """The branch keeps its name, although git lengthens its short form."""
    git(clone, "tag", "develop")
    assert names(read(clone)) == ("develop", None, "develop")


def test_branches_below_a_usual_name_are_not_it(tmp_path: Path) -> None:
    """`main/x` is not `main`."""
    folder = make_repository(tmp_path / "app", "main/x")
    assert names(read(folder)) == ("main/x", None, None)


def test_a_worktree(clone: Path, tmp_path: Path) -> None:
    """A worktree, whose `.git` is a file, has its own branch."""
    git(clone, "worktree", "add", "-b", "side", str(tmp_path / "side"))
    assert (tmp_path / "side" / ".git").is_file()
    assert names(read(tmp_path / "side")) == ("side", None, "develop")
    assert read(clone).branch == "develop"


def test_a_worktree_whose_repository_is_gone(clone: Path, tmp_path: Path) -> None:
    """A worktree without its repository, as in a container, causes a note."""
    git(clone, "worktree", "add", "-b", "side", str(tmp_path / "side"))
    shutil.rmtree(clone)
    place = read(tmp_path / "side")
    assert (place.provider, names(place)) == ("none", (None, None, None))
    assert place.notes == ("git cannot read this checkout, although it has a .git",)


def test_a_submodule(clone: Path, tmp_path: Path) -> None:
    """A submodule is its own repository, with a detached HEAD as git leaves it."""
    library = make_repository(tmp_path / "library")
    git(clone, "submodule", "add", library.as_uri(), "lib")
    assert (clone / "lib" / ".git").is_file()
    assert names(read(clone / "lib")) == ("main", None, "main")
    git(clone, "submodule", "update", "--init", "--checkout")
    git(clone / "lib", "checkout", "--detach")
    assert names(read(clone / "lib")) == (None, None, "main")


def test_files_that_look_like_a_repository_decide_nothing(
    clone: Path, upstream: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stranger could have written such files; only `GIT_DIR` can name a bare repository."""
    git(clone, "clone", "--bare", "--branch=main", upstream.as_uri(), "app")
    assert names(read(clone / "app")) == ("develop", None, "develop")
    assert names(read(clone / "app" / "refs")) == ("develop", None, "develop")
    git(tmp_path, "clone", "--bare", upstream.as_uri(), "bare")
    assert read(tmp_path / "bare").provider == "none"
    with pytest.raises(PlaceError, match="git cannot list the remote's branches"):
        list_remote(tmp_path / "bare", "origin")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "bare"))
    assert read(tmp_path).branch == "develop"


def test_a_repository_runs_no_program(clone: Path, tmp_path: Path) -> None:
    """No program or hook that a repository's settings name runs, even if an object is missing."""
    ran = tmp_path / "ran"
    program = tmp_path / "program"
    program.write_text(f'#!/bin/sh\necho "$0" >> {ran}\nexit 1\n')
    program.chmod(0o755)
    settings = {
        **dict.fromkeys(("core.fsmonitor", "core.sshCommand", "core.pager", "pager.tag"), program),
        "core.hooksPath": program.parent,
        "core.repositoryFormatVersion": 1,
        "extensions.partialClone": "origin",
        "remote.origin.url": "ssh://nowhere.example/x",
        "remote.origin.promisor": "true",
        "protocol.allow": "always",
        "column.tag": "always",
    }
    git(clone, "tag", "v1")
    git(clone, "tag", "v2")
    git(clone, "tag", "v0", "HEAD~1")
    git(clone, "checkout", "--detach")
    for name, value in settings.items():
        git(clone, "config", name, str(value))
    assert names(read(clone)) == (None, None, "develop")
    for stored in (clone / ".git" / "objects").glob("pack/*"):
        stored.unlink()
    read(clone)
    assert not ran.exists()


@pytest.mark.parametrize("folder", [".", "nowhere", "file"])
def test_a_folder_without_a_repository(tmp_path: Path, folder: str) -> None:
    """A folder that is not a checkout, a missing folder and a file have no place."""
    (tmp_path / "file").touch()
    place = read(tmp_path / folder)
    assert (place.provider, names(place)) == ("none", (None, None, None))
    assert (place.trusted, place.notes) == (True, ())


def test_a_machine_without_git(
    clone: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without git nothing is known, and that is not an error."""
    monkeypatch.setenv("PATH", str(tmp_path / "no-programs"))
    place = read(clone)
    assert (place.provider, names(place), place.notes) == ("none", (None, None, None), ())


def test_another_users_checkout(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Git refuses another user's checkout, and the note names the setting in any language."""
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    place = read(clone)
    assert (place.provider, names(place)) == ("none", (None, None, None))
    assert len(place.notes) == 1
    assert "safe.directory" in place.notes[0]


def test_a_broken_repository(clone: Path) -> None:
    """A broken repository causes one note, and nothing is known."""
    (clone / ".git" / "config").write_text("[core\n")
    place = read(clone)
    assert names(place) == (None, None, None)
    assert place.notes == ("git cannot read this checkout, although it has a .git",)


def test_a_git_that_hangs(clone: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A hanging git is stopped after one try."""
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "git").write_text("#!/bin/sh\nexec sleep 60\n")
    (programs / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setattr("bxcache.place.repository._SECONDS", 0.5)
    place = read(clone)
    assert names(place) == (None, None, None)
    assert place.notes == ("git did not answer within 0.5 seconds",)
