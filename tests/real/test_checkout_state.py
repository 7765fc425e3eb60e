"""The guess whether the files of a build are those of an earlier one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bxcache.place.checkout_state import CheckoutState, find_state
from bxcache.process import Answer
from tests.real.repositories import git


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    (folder / "api").mkdir(parents=True)
    (folder / "api" / "Dockerfile").write_text("FROM scratch\n")
    (folder / "api" / "main").write_text("main\n")
    (folder / "README").write_text("hello\n")
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "first")
    return folder


def change_tracked(folder: Path) -> None:
    (folder / "api" / "Dockerfile").write_text("FROM busybox\n")


def add_untracked(folder: Path) -> None:
    (folder / "api" / "new" / "deep").mkdir(parents=True)
    (folder / "api" / "new" / "deep" / "file").write_text("x")


def remove_tracked(folder: Path) -> None:
    (folder / "api" / "Dockerfile").unlink()


def make_executable(folder: Path) -> None:
    (folder / "api" / "Dockerfile").chmod(0o755)


@pytest.mark.parametrize("change", [change_tracked, add_untracked, remove_tracked, make_executable])
def test_a_change_is_another_state(checkout: Path, change: Callable[[Path], None]) -> None:
    """Each change of a file in the folder gives another state, and so does its commit."""
    before = find_state([checkout / "api"])
    change(checkout)
    after = find_state([checkout / "api"])
    git(checkout, "add", ".")
    git(checkout, "commit", "-qm", "second")
    committed = find_state([checkout / "api"])
    assert len({before, after, committed, ""}) == 4


def test_a_second_change_of_a_changed_file_is_another_state(checkout: Path) -> None:
    """Git reports a changed file in the same way after each change; its size and time tell."""
    change_tracked(checkout)
    before = find_state([checkout])
    (checkout / "api" / "Dockerfile").write_text("FROM alpine:3.20\n")
    assert find_state([checkout]) != before


def test_other_folders_do_not_count(checkout: Path) -> None:
    """A change outside of the folders, even a commit, leaves their state as it is."""
    before = find_state([checkout / "api"])
    (checkout / "README").write_text("changed\n")
    assert find_state([checkout / "api"]) == before
    git(checkout, "commit", "-qam", "second")
    assert find_state([checkout / "api"]) == before
    assert find_state([checkout / "api", checkout]) != before


def test_a_clone_has_the_same_state(checkout: Path, tmp_path: Path) -> None:
    """A fresh clone elsewhere has the state of the original, whatever its times."""
    git(tmp_path, "clone", "-q", "--depth=1", f"file://{checkout}", str(tmp_path / "clone"))
    assert find_state([tmp_path / "clone"]) == find_state([checkout]) != ""


@pytest.mark.parametrize(
    "folder", ["elsewhere", "checkout/none", "checkout/.."], ids=["no git", "missing", "outside"]
)
def test_what_git_does_not_know_has_no_state(folder: str, checkout: Path) -> None:
    """Folders outside of a checkout, or that no commit has, have no state."""
    (checkout.parent / "elsewhere").mkdir()
    assert find_state([checkout.parent / folder]) == ""
    shutil.rmtree(checkout / ".git")
    assert find_state([checkout]) == ""
    assert find_state([]) == ""


def test_a_git_that_hangs_or_fails_gives_no_state(checkout: Path) -> None:
    """A missing or slow git, and a failed command, leave the state unknown."""

    def hang(*_: object) -> Answer:
        raise TimeoutError

    assert find_state([checkout], hang) == ""
    assert find_state([checkout], lambda *_: Answer(128, "", "fatal")) == ""
    many = "\0".join(f"?? file{at}" for at in range(501))
    assert find_state([checkout], lambda *_: Answer(0, many, "")) == ""


def test_the_state_is_found_in_the_background(checkout: Path) -> None:
    """Waiting for the state returns it, any number of times."""
    state = CheckoutState([checkout])
    assert state.wait() == state.wait() == find_state([checkout])
