"""Tests of what `bxcache init` finds and writes; `tests/real/test_init.py` runs the command."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bxcache.config.discovery import read_config_file
from bxcache.config.loading import check_file
from bxcache.console.starter.files import render_files
from bxcache.console.starter.systems import SYSTEMS
from bxcache.pipeline.survey import Image, Survey, _split_remote, list_images, read_contexts
from bxcache.version import __version__
from tests.support.ci_systems import FOLDERS
from tests.support.starters import REPOSITORIES
from tests.unit.test_ci_examples import SCHEMAS, check, lint


def write(folder: Path, files: dict[str, str]) -> None:
    """Write some files."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


@pytest.mark.parametrize(
    ("files", "images"),
    [
        ({"Dockerfile": "FROM a"}, [Image("shop", "Dockerfile", ".")]),
        (
            # Its sources are beside it, or else at the top, where the other one's are.
            REPOSITORIES["monorepo"],
            [Image("api", "api/Dockerfile", "api"), Image("web", "web/Dockerfile", ".")],
        ),
        ({"docker/Dockerfile": "FROM a"}, [Image("shop", "docker/Dockerfile", "docker")]),
        (
            {"docker/Dockerfile": "FROM a\nCOPY x /", "x": ""},
            [Image("shop", "docker/Dockerfile", ".")],
        ),
        (
            {"Dockerfile.Worker": "FROM a", "web.Dockerfile": "FROM a"},
            [Image("worker", "Dockerfile.Worker", "."), Image("web", "web.Dockerfile", ".")],
        ),
        (
            {"a/app/Dockerfile": "FROM a", "b/app/Dockerfile": "FROM a"},
            [
                Image("app", "a/app/Dockerfile", "a/app"),
                Image("b-app", "b/app/Dockerfile", "b/app"),
            ],
        ),
        (
            # What Compose says counts more than what is guessed.
            {
                "w/Dockerfile": "FROM a",
                "compose.yaml": "w:\n build:\n  context: .\n  dockerfile: w/Dockerfile",
            },
            [Image("w", "w/Dockerfile", ".")],
        ),
        (
            # Neither a list of ignored files, nor text without a stage, nor what others wrote.
            {
                "Dockerfile": "FROM a",
                "Dockerfile.dockerignore": "x",
                "docs/Dockerfile": "# later",
                "node_modules/x/Dockerfile": "FROM a",
                ".cache/Dockerfile": "FROM a",
            },
            [Image("shop", "Dockerfile", ".")],
        ),
    ],
)
def test_images_are_found(files: dict[str, str], images: list[Image], tmp_path: Path) -> None:
    """Each Dockerfile is an image, with the context that has what it copies."""
    write(tmp_path, files)
    contexts = read_contexts(files.get("compose.yaml", files.get("compose.yml", "")))
    assert list(list_images(tmp_path, "shop", contexts)) == images


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("git@github.com:Acme/Shop.git", ("github.com", "acme/shop")),
        ("https://me:pw@gitlab.com/a/b/c.git", ("gitlab.com", "a/b/c")),
        ("ssh://git@git.example.com:2222/a/b", ("git.example.com", "a/b")),
        ('https://github.com/a/b"c', ("github.com", None)),
        ("/srv/git/x.git", (None, None)),
        ("../x.git", (None, None)),
        ("file:///srv/git/x.git", (None, None)),
        ("", (None, None)),
    ],
)
def test_a_remote_has_a_host_and_a_path(url: str, expected: tuple[str | None, str | None]) -> None:
    """Host and path come from any form of a URL, without its login; a folder has neither."""
    assert _split_remote(url) == expected


FOUND = {
    name: Survey(
        "shop",
        (Image("api", "api/Dockerfile", "api"), Image("web", "web/Dockerfile", "."))
        if name == "monorepo"
        else (Image("shop", "Dockerfile", "."),),
        bake="docker-bake.hcl" if name == "bake" else None,
    )
    for name in REPOSITORIES
}


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("kind", FOUND)
def test_what_is_written_is_valid(system: str, kind: str, tmp_path: Path) -> None:
    """The config file is valid for bxcache, and the job by its system's schema and yamllint."""
    write(tmp_path, render_files(FOUND[kind], system))
    check_file(read_config_file(tmp_path / "bxcache.toml"))
    folder, file = FOLDERS[system], tmp_path / SYSTEMS[system].file
    if folder in SCHEMAS:
        checked = check(folder, file)
        assert checked.exit_code == 0, checked.output
        assert lint(file) == []
    assert not re.search("@[a-z]+[@|]", (tmp_path / "bxcache.toml").read_text() + file.read_text())


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_installation_is_pinned(system: str) -> None:
    """A job installs this version wherever it installs bxcache, or what the caller names."""
    for package in (None, "./tools/bxcache-9.whl"):
        job = render_files(FOUND["one"], system, package=package)[SYSTEMS[system].file]
        installed = re.findall(r"(?:install|--from|--spec) (\S*bxcache\S*)", job)
        assert {*installed} == {package or f"bxcache=={__version__}"}


@pytest.mark.parametrize("kind", FOUND)
def test_a_config_file_alone_is_valid(kind: str, tmp_path: Path) -> None:
    """Without a CI system there is one file, with a store of this machine."""
    written = render_files(FOUND[kind])
    assert written.keys() == {"bxcache.toml"}
    write(tmp_path, written)
    check_file(read_config_file(tmp_path / "bxcache.toml"))
    assert ('tags = ["shop' in written["bxcache.toml"]) == (kind != "bake")
