"""Tests of the output and the exit status of `bxcache registry`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bxcache.cli.main import run
from bxcache.errors import PlaceError
from bxcache.place.repository import RemoteRefs
from bxcache.place.scope import Owner, Scope
from bxcache.registry.labels import Label, render_label
from tests.support.registries import MemoryRegistry, cache_manifest, digest_of

DAY = 86_400
NOW = 1_700_000_000.0
MAIN, OLD, TAG = (
    f"image.linux-amd64.{part}" for part in ("main", "feature_old", "tag-v1-49c6a1a3")
)
COLUMNS = ["SCOPE", "BRANCH", "SIZE", "LAYERS", "STEPS", "SAVED", "LAST", "USED"]
AGES = ("50", "days", "ago", "24", "h", "ago")
CREATED, USED = NOW - 50 * DAY, NOW - 40 * DAY


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[MemoryRegistry]:
    """Start the configured registry with three scopes and a foreign tag."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("registry.registry_cache", "console.tables"):
        clock = SimpleNamespace(time=lambda: NOW)
        monkeypatch.setattr(f"bxcache.{name}.time", clock)
    project = tmp_path / "project"
    (project / ".git").mkdir(parents=True)
    monkeypatch.chdir(project)
    with MemoryRegistry() as started:
        write(started, MAIN, "main", NOW - DAY, b"shared" * 100, b"1" * 400, steps=7)
        write(started, OLD, "feature/old", USED, b"shared" * 100, b"2" * 200)
        write(started, TAG, "tag:v1", NOW - 3 * DAY, b"3" * 50)
        started.put("latest", cache_manifest(b"foreign"))
        ref = f"{started.address}/app"
        Path("bxcache.toml").write_text(f"[[cache.backends]]\ntype = 'registry'\nref = '{ref}'\n")
        yield started


def write(
    registry: MemoryRegistry,
    tag: str,
    branch: str,
    used: float,
    *layers: bytes,
    steps: int | None = None,
) -> None:
    digest = registry.put(tag, cache_manifest(*layers))
    scope = Scope("image", None, ("linux/amd64",), Owner.parse(branch))
    registry.put(f"{tag}.bxcache", render_label(Label(scope, digest, CREATED, used, steps=steps)))
    registry.shelf().blobs[digest_of(b"{}")] = b"{}"


def scopes(registry: MemoryRegistry) -> set[str]:
    """Return the tags of existing scopes."""
    return registry.shelf().tags.keys() & {MAIN, OLD, TAG}


def read(capsys: pytest.CaptureFixture[str]) -> Any:  # noqa: ANN401  # a document
    document = json.loads(capsys.readouterr().out)
    assert document["version"] == "1"
    (found,) = document["registries"]
    return found


def test_ls_shows_each_scope(registry: MemoryRegistry, capsys: pytest.CaptureFixture[str]) -> None:
    """`ls` lists scopes, last used first, and no other tags."""
    assert run(["registry", "ls"]) == 0
    output = capsys.readouterr()
    assert output.err == ""
    name, head, first, second, third, total = output.out.splitlines()
    assert name == f"{registry.address}/app:"
    assert head.split() == COLUMNS
    assert first.split() == [MAIN, "main", "1.0", "kB", "2", "7", *AGES]
    assert second.split()[5] == "?"
    assert second.split()[:2] == [TAG, "tag:v1"]
    assert third.split()[:2] == [OLD, "feature/old"]
    # 600 shared, 400, 200 and 50 bytes.
    assert total == "1.2 kB in 3 scopes, shared layers counted once"
    assert "latest" not in output.out


def test_ls_reports_lost_and_changed_scopes(
    registry: MemoryRegistry, capsys: pytest.CaptureFixture[str]
) -> None:
    """`ls` reports caches that no longer exist and tags that another client overwrote."""
    del registry.shelf().tags[OLD]
    registry.put(MAIN, cache_manifest(b"other"))
    assert run(["registry", "ls"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert lines[OLD].endswith("gone")
    assert lines[MAIN].endswith("another client has overwritten it")
    assert lines[TAG].endswith("ago")


def test_an_empty_repository_has_no_scopes(
    registry: MemoryRegistry, capsys: pytest.CaptureFixture[str]
) -> None:
    """An empty repository has no scopes, which is not an error."""
    ref = f"{registry.address}/empty"
    assert run(["registry", "ls", "--from", ref]) == 0
    assert capsys.readouterr().out == f"{ref}: no scopes\n"
    assert run(["registry", "ls", "--from", ref, "--json"]) == 0
    assert read(capsys) == {"registry": ref, "scopes": []}


def test_ls_has_a_json_document(
    registry: MemoryRegistry, capsys: pytest.CaptureFixture[str]
) -> None:
    """The JSON document has sizes in bytes and times in seconds, sorted by tag."""
    assert run(["registry", "ls", "--json"]) == 0
    found = read(capsys)
    assert found["registry"] == f"{registry.address}/app"
    assert [scope["tag"] for scope in found["scopes"]] == [OLD, MAIN, TAG]
    assert found["scopes"][0] == {
        "name": OLD,
        "tag": OLD,
        "image": "image",
        "target": None,
        "platforms": ["linux/amd64"],
        "branch": "feature/old",
        "digest": registry.shelf().tags[OLD],
        "bytes": 800,
        "own_bytes": 200,
        "shared_bytes": 600,
        "layers": 2,
        "steps": None,
        "stages": [],
        "saved": CREATED,
        "created": CREATED,
        "last_used": USED,
        "damage": "",
        "changed": False,
        "lost": False,
    }


def test_prune_removes_by_age(registry: MemoryRegistry, capsys: pytest.CaptureFixture[str]) -> None:
    """`prune` removes scopes by age; a dry run only reports them."""
    assert run(["registry", "prune", "--max-age", "30d", "--dry-run"]) == 0
    first, last = capsys.readouterr().out.splitlines()
    assert first == f"would be removed: {OLD} (unused for 40 days)"
    assert last == (
        f"{registry.address}/app: 1 scope would be removed, 200 B not shared with others; "
        "2 would stay"
    )
    assert scopes(registry) == {MAIN, OLD, TAG}
    assert run(["registry", "prune", "--max-age", "30d"]) == 0
    first, last = capsys.readouterr().out.splitlines()
    assert first == f"removed: {OLD} (unused for 40 days)"
    assert last == f"{registry.address}/app: 1 scope removed, 200 B not shared with others; 2 left"
    assert scopes(registry) == {MAIN, TAG}
    assert run(["registry", "prune", "--max-age", "30d"]) == 0
    assert capsys.readouterr().out == f"{registry.address}/app: 0 scopes removed; 2 left\n"
    assert "latest" in registry.shelf().tags


@pytest.mark.parametrize(
    ("words", "left"),
    [
        ([], {MAIN, TAG}),
        (["--max-age", "2d"], {MAIN}),
        (["--max-age", "50d"], {MAIN, OLD, TAG}),
        (["--keep", "feature/*"], {MAIN, OLD, TAG}),
    ],
)
def test_prune_uses_the_configured_age_unless_one_is_given(
    registry: MemoryRegistry, words: list[str], left: set[str]
) -> None:
    """`prune` uses the `max_age` of the configuration, like `store prune`; a flag overrides it."""
    with Path("bxcache.toml").open("a") as file:
        file.write("max_age = '30d'\n")
    assert run(["registry", "prune", *words]) == 0
    assert scopes(registry) == left


def test_a_named_repository_has_no_configured_age(registry: MemoryRegistry) -> None:
    """The `max_age` of the configuration does not count for a repository named by `--from`."""
    with Path("bxcache.toml").open("a") as file:
        file.write("max_age = '30d'\n")
    assert run(["registry", "prune", "--from", f"{registry.address}/app"]) == 2
    assert scopes(registry) == {MAIN, OLD, TAG}


def test_prune_has_a_json_document(
    registry: MemoryRegistry, capsys: pytest.CaptureFixture[str]
) -> None:
    """The JSON document of `prune` lists removed scopes with reasons, and kept scopes."""
    assert run(["registry", "prune", "--max-age", "30d", "--json"]) == 0
    found = read(capsys)
    assert found.keys() == {"registry", "dry_run", "removed", "kept", "freed_bytes"}
    assert (found["dry_run"], found["freed_bytes"]) == (False, 200)
    (removed,) = found["removed"]
    assert (removed["tag"], removed["reason"]) == (OLD, "unused for 40 days")
    assert [scope["tag"] for scope in found["kept"]] == [MAIN, TAG]
    assert removed.keys() == {*found["kept"][0].keys(), "reason"}
    assert scopes(registry) == {MAIN, TAG}
    assert run(["registry", "prune", "--max-age", "1d", "--json", "--dry-run"]) == 0
    assert read(capsys)["dry_run"]
    assert scopes(registry) == {MAIN, TAG}


def test_rm_removes_scopes_by_name(
    registry: MemoryRegistry, capsys: pytest.CaptureFixture[str]
) -> None:
    """`rm` removes the named scopes and no others; a dry run only reports them."""
    assert run(["registry", "rm", OLD, TAG, "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert f"would be removed: {OLD} (as asked)\nwould be removed: {TAG} (as asked)\n" in out
    assert "250 B not shared with others; 1 would stay" in out
    assert scopes(registry) == {MAIN, OLD, TAG}
    assert run(["registry", "rm", OLD, "--json"]) == 0
    found = read(capsys)
    assert [each["tag"] for each in found["removed"]] == [OLD]
    assert (found["dry_run"], found["freed_bytes"]) == (False, 200)
    assert scopes(registry) == {MAIN, TAG}


@pytest.mark.parametrize(
    ("name", "message"),
    [("imag", f"hint: there are `{MAIN}`, "), (OLD, "another client has overwritten"), ("", "``")],
)
def test_rm_removes_nothing_if_a_name_is_not_its_own(
    registry: MemoryRegistry, name: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """`rm` removes nothing if one of the names is no scope of bxcache."""
    registry.put(OLD, cache_manifest(b"other"))
    assert run(["registry", "rm", MAIN, name]) == 66
    assert message in capsys.readouterr().err
    assert scopes(registry) == {MAIN, OLD, TAG}


@pytest.mark.parametrize(
    ("words", "left"),
    [
        (["--gone"], {MAIN}),
        (["--gone", "--keep", "feature/*"], {MAIN, OLD}),
        (["--gone", "--keep", "feature/*", "--keep", "*tag-v1*"], {MAIN, OLD, TAG}),
        (["--gone", "--max-age", "1h"], set()),
        (["--max-age", "2d"], {MAIN}),
        (["--max-age", "2d", "--keep", "tag:*"], {MAIN, TAG}),
    ],
)
def test_prune_asks_git_only_on_request(
    registry: MemoryRegistry,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    left: set[str],
) -> None:
    """`prune` asks git for branches only with `--gone`, and keeps tags that match a pattern."""
    asked: list[tuple[Path, str]] = []

    def list_refs(directory: Path, remote: str) -> RemoteRefs:
        asked.append((directory, remote))
        return RemoteRefs(frozenset({"main", "other"}), frozenset({"v2"}))

    monkeypatch.setattr("bxcache.cli.actions.registry.list_remote", list_refs)
    assert run(["registry", "prune", "--remote", "upstream", *words]) == 0
    assert scopes(registry) == left
    assert asked == ([(Path.cwd(), "upstream")] if "--gone" in words else [])


def test_a_failure_of_git_removes_nothing(
    registry: MemoryRegistry, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """If git fails, nothing is removed, not even by age, and the exit status is 72."""

    def fail(*_: object) -> None:
        raise PlaceError("git does not answer", hint="ask it")

    monkeypatch.setattr("bxcache.cli.actions.registry.list_remote", fail)
    assert run(["registry", "prune", "--gone", "--max-age", "1d"]) == 72
    output = capsys.readouterr()
    assert "git does not answer" in output.err
    assert "hint: ask it" in output.err
    assert output.out == ""
    assert registry.asked == []


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["prune"], 2, "`--max-age 30d`, `--gone`, or both"),
        (["prune", "--keep", "main"], 2, "choose what to remove"),
        (["prune", "--dry-run"], 2, "choose what to remove"),
        (["prune", "--max-age", "soon"], 2, "`soon` is not an age"),
        (["prune", "--max-age", ""], 2, "is not an age"),
        (["prune", "--max-age", "-1d"], 2, "is not an age"),
        (
            ["prune", "--max-age", "1d", "--from", "No Ref"],
            78,
            "`No Ref` is not an image reference",
        ),
        (["ls", "--from", ""], 78, "it is empty"),
        (["ls", "--from", "https://me:only-for-tests@r/app"], 78, "remove the scheme"),
        (["ls", "--from", "me:only-for-tests@r/app"], 78, ""),
        (["ls", "--config", "nowhere.toml"], 78, "nowhere.toml"),
        (
            ["ls", "--from", "127.0.0.1:1/app"],
            76,
            "`127.0.0.1:1`: listing `app` failed: connection",
        ),
        (["prune", "--max-age", "1d", "--from", "127.0.0.1:1/app"], 76, "connection refused"),
        (["rm"], 2, "Missing argument"),
        (["forget"], 2, "No such command"),
        (["ls", "--all"], 2, "No such option"),
    ],
)
def test_a_failure_is_one_error(
    registry: MemoryRegistry,
    words: list[str],
    status: int,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A failure is one error without a traceback or a secret, and removes nothing."""
    assert run(["registry", *words]) == status
    output = capsys.readouterr()
    assert message in output.err
    assert "Traceback" not in output.err
    assert "only-for-tests" not in output.err
    assert output.out == ""
    assert registry.asked == []


def test_without_a_registry_the_error_says_how_to_name_one(
    registry: MemoryRegistry, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a registry in the configuration, the error says how to name one."""
    Path("bxcache.toml").write_text("[[cache.backends]]\ntype = 'local'\n")
    assert run(["registry", "ls"]) == 78
    assert "`--from`" in capsys.readouterr().err
    assert run(["registry", "ls", "--from", f"{registry.address}/app"]) == 0


def test_a_registry_without_deletes_gives_advice(
    registry: MemoryRegistry, capsys: pytest.CaptureFixture[str]
) -> None:
    """A registry without deletes gives an error with advice, and nothing is removed."""
    registry.deletes = False
    before = dict(registry.shelf().tags)
    assert run(["registry", "prune", "--max-age", "1d"]) == 76
    output = capsys.readouterr()
    assert "nothing was removed" in output.err
    assert "hint: " in output.err
    assert "REGISTRY_STORAGE_DELETE_ENABLED=true" in output.err
    assert output.out == ""
    assert registry.shelf().tags == before


def test_all_configured_registries_are_used(
    registry: MemoryRegistry, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a name, all registries of the configuration are processed in order."""
    with Path("bxcache.toml").open("a") as file:
        ref = f"{registry.address}/other"
        file.write(f"[[cache.backends]]\ntype = 'registry'\nref = '{ref}'\n")
    assert run(["registry", "ls"]) == 0
    first, second = capsys.readouterr().out.split("\n\n")
    assert first.startswith(f"{registry.address}/app:\n")
    assert second == f"{ref}: no scopes\n"
    assert run(["registry", "prune", "--max-age", "30d", "--json"]) == 0
    names = [each["registry"] for each in json.loads(capsys.readouterr().out)["registries"]]
    assert names == [f"{registry.address}/app", ref]


@pytest.mark.parametrize("words", [["ls"], ["prune", "--gone", "--dry-run"]])
def test_a_name_with_control_characters_is_shown_quoted(
    registry: MemoryRegistry,
    words: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A name with control characters is shown quoted."""
    write(registry, "odd", "evil\x1b[2J", NOW, b"x")
    refs = RemoteRefs(frozenset({"main"}), frozenset())
    monkeypatch.setattr("bxcache.cli.actions.registry.list_remote", lambda *_: refs)
    assert run(["registry", *words]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "evil" in out


@pytest.mark.parametrize("words", [["prune", "--max-age", "1d"], ["rm", OLD]])
def test_an_untrusted_file_does_not_choose_what_is_removed(
    registry: MemoryRegistry,
    words: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An untrusted file may name a registry to read, but only a flag or variable one to prune."""
    monkeypatch.setenv("BXCACHE_PLACE_TRUSTED", "false")
    before, prune = scopes(registry), ["registry", *words]
    assert run(["registry", "ls"]) == 0
    assert run([*prune, "--dry-run"]) == 0
    capsys.readouterr()
    assert run(prune) == 78
    assert "`--from`" in capsys.readouterr().err
    assert scopes(registry) == before
    ref = f"{registry.address}/app"
    monkeypatch.setenv("BXCACHE_CACHE_BACKENDS", f"type=registry,ref={ref}")
    assert run(prune) == 0
    assert scopes(registry) < before
