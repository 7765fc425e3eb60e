"""Tests of the note about a store in a build context; tests with real docker check the rest."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bxcache.buildx.context.ignore import note_sent
from bxcache.config.models import BuildSettings


def notes(folder: Path, store: Path, **settings: object) -> list[str]:
    return [*note_sent(folder, BuildSettings.model_validate(settings), store)]


@pytest.mark.parametrize("ignored", ["", "*\n!build\n", "**/cache\n!**/index.json\n"])
@pytest.mark.parametrize("name", [".cache", "#1", "!x", "a[b]*?", "back\\slash", "two words"])
@pytest.mark.parametrize("file", [".dockerignore", "ci/Dockerfile.dockerignore"])
def test_the_line_in_the_note_excludes_the_store(
    file: str, name: str, ignored: str, tmp_path: Path
) -> None:
    """The note contains the store's path, the ignore file and a line that excludes the store."""
    store, counts = tmp_path / "build" / name / "cache", tmp_path / file
    (tmp_path / "ci").mkdir()
    counts.write_text(ignored)
    (note,) = notes(tmp_path, store, file="ci/Dockerfile")
    assert f"the store {store} is in the build context" in note
    found = re.search(r"; add `(.+)` as the last line of (.+)$", note)
    assert found
    assert found[2] == str(counts)
    assert found[1].removeprefix("/").replace("\\", "") == f"build/{name}/cache".replace("\\", "")
    counts.write_text(f"{ignored}{found[1]}\n")
    assert not notes(tmp_path, store, file="ci/Dockerfile")


def test_a_named_context_has_its_own_ignore_file(tmp_path: Path) -> None:
    """A named context's ignore file is in its folder, whatever the Dockerfile has."""
    app, other = tmp_path / "app", tmp_path / "other"
    app.mkdir()
    other.mkdir()
    given = {"context": "app", "build_contexts": {"lib": "other", "base": "docker-image://x"}}
    (app / "Dockerfile.dockerignore").write_text("store\n")
    (note,) = notes(tmp_path, other / "store", **given)
    assert "is in the build context `lib`" in note
    assert str(other / ".dockerignore") in note
    (other / ".dockerignore").write_text("store\n")
    assert not notes(tmp_path, other / "store", **given)


@pytest.mark.parametrize("context", ["-", "https://example.com/x.git", "src"])
def test_a_store_outside_of_the_context_needs_no_note(context: str, tmp_path: Path) -> None:
    """A store outside, or a remote context, causes no note."""
    assert not notes(tmp_path, tmp_path / "store", context=context)
