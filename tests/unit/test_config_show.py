"""Tests of what `bxcache config show` prints."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from bxcache.cli.main import run

FILE = """\
[build]
file = "Dockerfile"
tags = ["registry.example.com/team/application-with-a-long-name:1.0", "registry.example.com/b:1"]
push = false
[build.build_args]
API_TOKEN = "only-for-tests"
[[cache.backends]]
type = "local"
max_size = "10GB"
max_age = "1d"
[[cache.backends]]
type = "registry"
ref = "registry.example.com/app-cache"
timeout = 600
[gate]
max_seconds = "90s"
"""


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Enter a project with a config file."""
    (tmp_path / ".git").mkdir()
    (tmp_path / "bxcache.toml").write_text(FILE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BXCACHE_CACHE_STRICT", "true")
    monkeypatch.setenv("BXCACHE_PLACE_BRANCH", "topic")
    return tmp_path


def read(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, tuple[Any, str]]:
    """Return the value and the source of each key."""
    assert run(["config", "show", "--json", *words]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["version"] == "1"
    return {each["key"]: (each["value"], each["source"]) for each in document["settings"]}


def test_only_what_differs_from_the_defaults_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """`--changed` leaves out defaults, also those that a file repeats, and keeps the sources."""
    shown = read(capsys, "--changed")
    values = {key: value for key, (value, _) in shown.items() if key != "build.tags"}
    assert values == {
        "build.file": "Dockerfile",
        "build.build_args.API_TOKEN": "***",
        "cache.strict": True,
        "cache.backends[0].type": "local",
        "cache.backends[0].max_size": 10_000_000_000,
        "cache.backends[0].max_age": 86_400,
        "cache.backends[1].type": "registry",
        "cache.backends[1].ref": "registry.example.com/app-cache",
        "gate.max_seconds": 90.0,
        "place.branch": "topic",
    }
    assert shown["build.file"][1] == "bxcache.toml:2"
    assert shown["cache.strict"][1] == "BXCACHE_CACHE_STRICT"
    assert shown["place.branch"][1] == "BXCACHE_PLACE_BRANCH"
    whole = read(capsys)
    assert whole.items() >= shown.items()
    assert {"build.push", "cache.write", "cache.backends[1].timeout", "saves"} <= whole.keys()


def test_nothing_changed_is_said(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without any setting, `--changed` says so."""
    (project / "bxcache.toml").unlink()
    for name in ("BXCACHE_CACHE_STRICT", "BXCACHE_PLACE_BRANCH"):
        monkeypatch.delenv(name)
    assert run(["config", "show", "--changed"]) == 0
    assert capsys.readouterr().out == "nothing differs from the defaults\n"
    assert read(capsys, "--changed") == {}


def test_quantities_are_valid_in_a_config_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Sizes and times are shown as a person writes them, and a config file accepts them so."""
    assert run(["config", "show"]) == 0
    out = capsys.readouterr().out
    found = dict(re.findall(r'^cache\.backends\[\d\]\.(\w+) = ("\d+ \w+")', out, re.MULTILINE))
    assert found == {"max_size": '"10 GB"', "max_age": '"1 day"', "timeout": '"10 minutes"'}
    assert 'gate.max_seconds = "90 seconds"' in out
    timeout = found.pop("timeout")
    lines = "\n".join(f"{key} = {value}" for key, value in found.items())
    path = tmp_path / "again.toml"
    path.write_text(
        f"[[cache.backends]]\ntype = 'local'\n{lines}\n"
        f"[[cache.backends]]\ntype = 'registry'\nref = 'r.example.com/a'\ntimeout = {timeout}\n"
        "[gate]\nmax_seconds = '90 seconds'\n"
    )
    assert run(["config", "check", str(path)]) == 0


def test_lines_fit_into_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    """No line is longer than 80 columns, and each value keeps its source, beside or below it."""
    assert run(["config", "show", "--image", ""]) == 0
    out = capsys.readouterr().out
    # The path of the store depends on the machine.
    lines = [line for line in out.splitlines() if "backends[0].dir" not in line]
    assert max(map(len, lines)) <= 80
    flat = " ".join(out.split())
    assert '"registry.example.com/b:1", ] bxcache.toml:3 ' in flat
    assert (
        "saves = true the cache is saved: the build is trusted, no CI provider runs it; "
        "as far as the builder can, which a dry run of a build shows"
    ) in flat
    assert "only-for-tests" not in out


IMAGES = """\
[build]
file = "app/Dockerfile"
push = true
[images.api]
target = "api"
push = false
build_args = { API_TOKEN = "only-for-tests" }
[images.web]
tags = ["r.example.com/web"]
[images.plain]
"""


def test_images_are_shown_with_what_they_set(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each image is listed with the values that it sets, of which secrets are masked."""
    (project / "bxcache.toml").write_text(IMAGES)
    for words in ((), ("--changed",), ("--image", "web")):
        shown = read(capsys, *words)
        images = {key: each for key, each in shown.items() if key.startswith("images.")}
        assert images == {
            "images.api.target": ("api", "bxcache.toml:5"),
            "images.api.push": (False, "bxcache.toml:6"),
            "images.api.build_args.API_TOKEN": ("***", "bxcache.toml:7"),
            "images.web.tags": (["r.example.com/web"], "bxcache.toml:9"),
            "images.plain": ({}, "bxcache.toml:10"),
        }
    assert run(["config", "show"]) == 0
    assert re.search(
        r"^images\.plain = \{\} +bxcache.toml:10$", capsys.readouterr().out, re.MULTILINE
    )


def test_refused_backends_are_shown_key_by_key(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Backends of a file that does not count at all have a row for each key, the type first."""
    file = project / "bxcache.toml"
    outside = file.replace(project.parent / "outside.toml")
    file.symlink_to(outside)
    monkeypatch.setenv("BXCACHE_PLACE_TRUSTED", "false")
    shown = read(capsys)
    refused = [key for key, (_, source) in shown.items() if "does not count here" in source]
    assert [each for each in refused if each.startswith("cache.backends")] == [
        *(f"cache.backends[0].{name}" for name in ("type", "max_size", "max_age")),
        *(f"cache.backends[1].{name}" for name in ("type", "ref", "timeout")),
    ]
    assert shown["cache.backends[1].ref"][1].startswith("bxcache.toml:13, does not count here: ")
