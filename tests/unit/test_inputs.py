"""A build that lacks its context, Dockerfile or stage gets words that say what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from bxcache.config.models import BuildSettings
from bxcache.pipeline.inputs import find_missing

if TYPE_CHECKING:
    from pathlib import Path

DOCKERFILE = "FROM scratch AS Base\nCOPY a /a\nFROM base AS deps\nFROM deps\n"


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """A project with three stages, and a folder without a Dockerfile."""
    (tmp_path / "source").mkdir()
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    return tmp_path


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({"context": "source"}, ("source` has no Dockerfile", "`file=`", "build_images()")),
        ({"context": "sourc"}, ("no directory `sourc`", "did you mean `source`?")),
        ({"context": "apii"}, ("no directory `apii`", "did you mean `api`?")),
        ({"context": "api"}, ("an image of that name", '`bxcache.build(image="api")`')),
        ({"file": "other"}, ("/other`", "relative to the working directory")),
        ({"target": "dep"}, ("no stage `dep`", "`base`, `deps`, `stage-2`", "mean `deps`?")),
        ({"target": "3"}, ("no stage `3`",)),
    ],
)
def test_a_missing_input_is_named(
    settings: dict[str, Any], parts: tuple[str, ...], app: Path
) -> None:
    """The words name what is missing and what there is instead."""
    missing = find_missing(BuildSettings(**settings), {"api": None}, app, ())
    assert missing is not None
    assert all(part in missing for part in parts), missing


@pytest.mark.parametrize(
    ("settings", "extra"),
    [
        ({}, ()),
        ({"target": "BASE"}, ()),
        ({"target": "stage-2"}, ()),
        ({"target": "2"}, ()),
        ({"context": "-"}, ()),
        ({"context": "https://example.com/app.git"}, ()),
        ({"context": "nowhere", "file": "-"}, ()),
        ({"target": "other"}, ("--target", "base")),
        ({"file": "other"}, ("-f", "Dockerfile")),
        ({"context": "Dockerfile"}, ()),
    ],
)
def test_what_docker_may_find_is_not_missing(
    settings: dict[str, Any], extra: tuple[str, ...], app: Path
) -> None:
    """Docker's other names for a stage, and inputs that only docker reads, are not missing."""
    assert find_missing(BuildSettings(**settings), {}, app, extra) is None


def test_another_frontend_names_its_own_targets(app: Path) -> None:
    """The targets of a frontend other than Dockerfile's are unknown, and so not missing."""
    settings = BuildSettings(target="other")
    for syntax, known in (("docker/dockerfile:1", True), ("example.com/frontend", False)):
        (app / "Dockerfile").write_text(f"# syntax={syntax}\n{DOCKERFILE}")
        assert (find_missing(settings, {}, app, ()) is not None) == known
