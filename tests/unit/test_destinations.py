"""Tests that a build writes only its caches into a store."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from bxcache.buildx.bake.definition import parse_definition
from bxcache.cli.main import run
from bxcache.config.loading import load_setup
from bxcache.errors import ConfigError
from bxcache.pipeline.destinations import check_build, check_targets
from bxcache.pipeline.request import BuildRequest
from bxcache.store.directory import find_store

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Make a folder that is marked as a store, and links to it."""
    folder = tmp_path / "caches" / "store"
    (folder / ".bxcache").mkdir(parents=True)
    (folder / ".bxcache" / "version").write_text("1\n")
    (tmp_path / "link").symlink_to(folder)
    (tmp_path / "index").symlink_to(folder / "index.json")
    return folder


def check(folder: Path, *extra: str, own: str = "own", **options: Any) -> None:  # noqa: ANN401
    request = BuildRequest(
        options={"backends": [{"type": "local", "dir": str(folder / own)}], **options},
        directory=folder,
    )
    check_build(load_setup(folder, {}, flags=request.to_layer()), extra, folder)


INTO = [
    "{0}",
    "type=local,dest={0}",
    "type=local, Dest={0}",
    "type=local,dest={0}/blobs",
    "type=tar,dest={0}/index.json",
    "type=oci,dest={0}/blobs/sha256/00",
    "type=oci,tar=false,dest={0}",
    "type=docker,dest=index",
    "link",
    "link/deep/er",
    "type=local,dest=link/../store",
    '"type=local","dest={0}"',
]


@pytest.mark.parametrize("output", INTO)
@pytest.mark.parametrize("way", ["option", "--output", "--output=", "-o", "-o=", "-oX", "-Do"])
def test_no_output_is_written_into_a_store(
    way: str, output: str, store: Path, tmp_path: Path
) -> None:
    """An output into a store is refused, however the folder is reached and the flag is written."""
    text = output.format(store)
    given: tuple[str, ...] = (way, text)
    if way in ("--output=", "-o="):
        given = (f"{way}{text}",)
    elif way == "-oX":
        given = (f"-o{text}",)
    options: dict[str, Any] = {"outputs": [text]} if way == "option" else {}
    with pytest.raises(ConfigError, match="would be written into the store"):
        check(tmp_path, *(() if options else given), **options)
    assert [each.name for each in store.iterdir()] == [".bxcache"]


@pytest.mark.parametrize(
    "extra",
    [
        ("--metadata-file", "link/m.json"),
        ("--metadata-file=index",),
        ("--iidfile", "link/i"),
        ("--cache-to", "type=local,dest=link"),
        ("--cache-to=type=local,dest=caches",),
    ],
    ids=" ".join,
)
@pytest.mark.usefixtures("store")
def test_no_file_of_docker_is_written_into_a_store(extra: tuple[str, ...], tmp_path: Path) -> None:
    """Docker's files and the caller's own caches are refused in or around the declared store."""
    with pytest.raises(ConfigError, match="would be written into the store"):
        check(tmp_path, *extra, own="caches/store")


@pytest.mark.parametrize("name", ["index.json", "blobs", "ingest", "oci-layout"])
def test_no_layout_is_written_through_a_link_in_it(name: str, store: Path, tmp_path: Path) -> None:
    """A layout with a link into a store is refused, since docker follows links in a layout."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).symlink_to(store / name)
    for extra in (("-o", "type=oci,tar=false,dest=out"), ("--cache-to", "type=local,dest=out")):
        with pytest.raises(ConfigError):
            check(tmp_path, *extra)


def test_a_tree_is_not_written_around_a_known_store(tmp_path: Path) -> None:
    """A folder above a store that does not exist yet is refused, while a file beside it is not."""
    for output in (".", "own", "type=local,dest=.", "type=oci,tar=false,dest=own/x"):
        with pytest.raises(ConfigError):
            check(tmp_path, outputs=[output])
    for output in ("out", "type=tar,dest=own.tar", "type=oci,dest=a.tar", "-", "type=image,name=a"):
        check(tmp_path, outputs=[output])


@pytest.mark.parametrize(
    "told", [{"output": [{"type": "local", "dest": "link"}]}, {"cache-to": ["type=local,dest=own"]}]
)
@pytest.mark.usefixtures("store")
def test_no_target_of_a_bake_writes_into_a_store(told: dict[str, Any], tmp_path: Path) -> None:
    """The error has the name of each target that would write into a store."""
    request = BuildRequest(options={"backends": [{"type": "local", "dir": str(tmp_path / "own")}]})
    setup = load_setup(tmp_path, {}, flags=request.to_layer())
    targets = parse_definition(json.dumps({"target": {"app": told, "web": {"output": ["out"]}}}))
    with pytest.raises(ConfigError) as raised:
        check_targets(targets, setup, tmp_path)
    assert [each.source for each in raised.value.problems] == ["target `app`"]


def test_the_default_stores_of_all_projects_are_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that contains the default stores of other projects is refused."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for output in ("cache", "cache/bxcache", "cache/bxcache/other-00000000"):
        with pytest.raises(ConfigError):
            check(tmp_path, outputs=[output])


def test_all_destinations_are_reported_at_once(store: Path, tmp_path: Path) -> None:
    """The error lists every wrong destination with its flag."""
    with pytest.raises(ConfigError) as raised:
        check(tmp_path, "--iidfile", "link/i", "-o", "link/x", outputs=["link", "out"])
    assert [each.source for each in raised.value.problems] == ["outputs=", "iidfile=", "outputs="]
    assert str(store) in str(raised.value)


def test_a_store_without_its_hidden_files_is_recognized(tmp_path: Path) -> None:
    """The tag of a cache folder marks a store, but a folder named `.bxcache` does not."""
    (tmp_path / "CACHEDIR.TAG").write_text("Signature: 8a\n# This directory is a bxcache store\n")
    assert find_store(tmp_path / "blobs" / "sha256" / "00") == tmp_path
    other = tmp_path.parent / f"{tmp_path.name}-project"
    (other / ".bxcache").mkdir(parents=True)
    assert find_store(other / "out") is None


COMMANDS = [
    (3, "build", "--report", "link/r.html", "--trace", "link/t.json", "--log", "index"),
    (2, "bake", "--report", "link/r.md", "--log", "link/log"),
    (1, "report", "-o", "link/r.json"),
    (1, "store", "pack", "--from", "caches/store", "link/p.tar.zst"),
]


@pytest.mark.parametrize(("count", "words"), [(row[0], row[1:]) for row in COMMANDS])
def test_no_file_of_a_command_is_written_into_a_store(
    count: int,
    words: tuple[str, ...],
    store: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A command's file in a store is a configuration error, reported before anything changes."""
    monkeypatch.chdir(tmp_path)
    (store / "index.json").write_text("{}")
    before = {path: path.stat().st_mtime_ns for path in (store, *store.rglob("*"))}
    assert run(words) == 78
    assert capsys.readouterr().err.count("would be written into the store") == count
    assert {path: path.stat().st_mtime_ns for path in (store, *store.rglob("*"))} == before
