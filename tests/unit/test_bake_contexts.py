"""Tests that each target of a bake reads a shared folder by its own path."""

from __future__ import annotations

import os
import posixpath
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bxcache.buildx.bake.definition import give_own_paths
from bxcache.config.models import BuildSettings


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Make a folder with two folders in it, and one beside it."""
    for name in ("shop/api", "shop/web", "beside"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "shop")
    return tmp_path / "shop"


def read(**contexts: str) -> dict[str, BuildSettings]:
    return {name: BuildSettings(context=context) for name, context in contexts.items()}


def as_docker(directory: Path, path: str) -> Path:
    """Return the folder that docker finds under a path cleaned by bake."""
    return Path(os.path.realpath(directory / posixpath.normpath(path)))


@pytest.mark.parametrize("directory", ["shop", "link", "shop/api"])
def test_no_two_targets_read_a_folder_by_the_same_path(shop: Path, directory: str) -> None:
    """The paths differ even after bake cleans them, and lead to the same folder."""
    here = shop.parent / directory
    up = "." if directory != "shop/api" else ".."
    targets = read(a=up, b=up, c=f"{up}/", d=str(here / up), e="api" if up == "." else ".")
    given = dict(text.split(".context=") for text in give_own_paths(targets, here))
    paths = {**{name: each.context for name, each in targets.items()}, **given}
    assert sorted(given) == ["b", "c", "d"]
    cleaned = {name: posixpath.normpath(path) for name, path in paths.items()}
    assert len(set(cleaned.values())) == len(targets)
    found = {name: as_docker(here, path) for name, path in paths.items()}
    assert found == {**dict.fromkeys("abcd", shop), "e": shop / "api"}
    # buildx sends only changes since it last read a folder of that name.
    assert {Path(path).name for path in given.values()} <= {"shop", "link"}


@given(st.integers(min_value=2, max_value=30))
def test_any_number_of_targets_gets_paths(number: int) -> None:
    """The number of paths is unlimited, because the parent of the root is the root."""
    directory = Path.cwd()
    targets = read(**{f"t{each}": "." for each in range(number)})
    paths = [text.partition("=")[2] for text in give_own_paths(targets, directory)]
    assert len({*map(posixpath.normpath, paths), "."}) == number
    assert {as_docker(directory, path) for path in paths} == {directory.resolve()}


@pytest.mark.parametrize(
    "contexts",
    [
        {},
        {"a": "."},
        {"a": "api", "b": "web"},
        {"a": "https://example.com/app.git", "b": "https://example.com/app.git"},
        {"a": "target:x", "b": "target:x"},
        {"a": "-", "b": "-"},
        {"a": "nowhere", "b": "nowhere"},
    ],
)
def test_folders_that_are_not_shared_keep_their_paths(shop: Path, contexts: dict[str, str]) -> None:
    """Only a folder that several targets share gets other paths."""
    assert list(give_own_paths(read(**contexts), shop)) == []


def test_named_contexts_count_too(shop: Path) -> None:
    """Named contexts get their own paths, unless bake would need an entitlement to read them."""
    named = {"inside": "web", "outside": "../beside", "image": "docker-image://busybox"}
    targets = {
        "a": BuildSettings(context="api", build_contexts=named),
        "b": BuildSettings(context="web", build_contexts=named),
        "c": BuildSettings(context="target:x", build_contexts={"other": "web"}),
    }
    [text] = give_own_paths(targets, shop)
    key, _, path = text.partition("=")
    assert key == "b.contexts.inside"
    assert as_docker(shop, path) == shop / "web"
