"""Tests of the output and the exit status of `bxcache store` and `bxcache key`."""

from __future__ import annotations

import io
import json
import os
import shlex
import time
from pathlib import Path

import pytest
import yaml

from bxcache.cli.main import run
from bxcache.insight.record import Record
from bxcache.insight.record_parts import RecordedScope
from bxcache.place.scope import Owner, Scope
from bxcache.registry.labels import Label, render_label
from bxcache.store.store import Store
from tests.support.layouts import blob_file, blobs_of, build, damage, digest_of, export
from tests.support.registries import MemoryRegistry, cache_manifest

DAY = 86_400
COLUMNS = ["SCOPE", "BRANCH", "SIZE", "LAYERS", "STEPS", "SAVED", "LAST", "USED"]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Return the store of the project in the working directory."""
    project = tmp_path / "project"
    (project / ".git").mkdir(parents=True)
    monkeypatch.chdir(project)
    (project / "bxcache.toml").write_text(
        f"[[cache.backends]]\ntype = 'local'\ndir = '{tmp_path}/store'\n"
        "max_size = '100kB'\nmax_age = '14d'\n"
    )
    return Store(tmp_path / "store")


def fill(store: Store) -> None:
    build(store, "app", b"s" * 1000, b"1" * 500)
    build(store, "other", b"s" * 1000, b"2" * 200)
    (record,) = (store.path / ".bxcache" / "scopes").glob("other@*")
    then = time.time() - 3 * DAY
    os.utime(record, (then, then))


def test_ls_shows_each_scope(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """`ls` shows size, layers, steps, age and last use, last used first."""
    fill(store)
    assert run(["store", "ls"]) == 0
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.split() == COLUMNS
    assert first.split()[0] == "app"
    assert first.split()[1] == "?"
    assert first.split()[4:6] == ["2", "2"]
    assert second.split()[0] == "other"
    assert second.endswith("3 days ago")


def test_du_reports_own_and_shared_sizes(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """`du` reports own and shared sizes, and the sum against the limit."""
    fill(store)
    assert run(["store", "du"]) == 0
    out = capsys.readouterr().out
    app, other = out.splitlines()[1:3]
    assert app.split()[0] == "app"
    assert "1.0 kB" in app
    assert "1.0 kB" in other
    assert "of 100.0 kB in 2 scopes, 1.0 kB of it shared" in out


@pytest.mark.parametrize("command", ["ls", "du"])
def test_ls_and_du_have_a_json_document(
    store: Store, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The JSON document has a version, and sizes in bytes."""
    fill(store)
    assert run(["store", command, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["version"] == "1"
    assert document["shared_bytes"] == 1000
    assert [scope["name"] for scope in document["scopes"]] == ["app", "other"]
    assert document["scopes"][0]["shared_bytes"] == 1000


def test_collect_uses_the_limits_of_the_configuration(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    """`collect` uses the configuration's limits, and flags take precedence; a dry run reports."""
    fill(store)
    assert run(["store", "prune", "--max-age", "2d", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "would have dropped other: unused for 3 days" in out
    assert set(store.read_scopes()) == {"app", "other"}
    assert run(["store", "prune"]) == 0
    assert "freed 0 B in 0 blobs" in capsys.readouterr().out
    assert run(["store", "prune", "--max-age", "2d"]) == 0
    assert "dropped other: unused for 3 days" in capsys.readouterr().out
    assert run(["store", "prune", "--max-size", "1400", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["evicted"] == {"app": 2}
    assert document["bytes"] <= 1400


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--max-size", "lots"], "`lots` is not a size"),
        (["--max-age", "soon"], "`soon` is not an age"),
        (["--maxsize", "1"], "No such option"),
    ],
)
def test_an_invalid_limit_is_a_usage_error(
    store: Store, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """An invalid limit is a usage error, and nothing is collected."""
    fill(store)
    assert run(["store", "prune", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert len(store.read_scopes()) == 2


def test_verify_reports_by_its_status(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """`verify` exits with 74 if something is broken, and with 0 after a repair."""
    fill(store)
    assert run(["store", "verify"]) == 0
    assert "`--full`" in capsys.readouterr().out
    damage(blob_file(store.path, b"1" * 500), "changed")
    assert run(["store", "verify"]) == 0
    assert run(["store", "verify", "--full"]) == 74
    assert "broken in app" in capsys.readouterr().out
    assert run(["store", "verify", "--full", "--json"]) == 74
    (found,) = json.loads(capsys.readouterr().out)["damages"]
    assert found["digest"] == digest_of(b"1" * 500)
    assert run(["store", "repair", "--full", "--dry-run", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["dry_run"]
    assert "broken in app" in document["notes"][0]
    assert run(["store", "repair", "--full"]) == 0
    assert "1 layer of the scope `app` is broken" in capsys.readouterr().out
    assert run(["store", "repair", "--full"]) == 0
    assert capsys.readouterr().out == "nothing was broken\n"
    assert run(["store", "verify", "--full"]) == 0


def test_pack_and_unpack_move_a_store(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`pack` and `unpack` move a store into a new directory."""
    fill(store)
    file = str(tmp_path / "cache.tar.zst")
    assert run(["store", "pack", file]) == 0
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("packed 2 scopes, 7 blobs")
    assert run(["store", "unpack", file, "--from", str(tmp_path / "b")]) == 0
    assert "unpacked 2 scopes" in capsys.readouterr().out
    assert blobs_of(tmp_path / "b") == blobs_of(store.path)


def test_pack_goes_through_a_pipe(
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    """`-` means stdout and stdin, and stdout gets only the archive."""
    fill(store)
    assert run(["store", "pack", "-", "--scope", "app"]) == 0
    data = capsysbinary.readouterr().out
    stdin = io.TextIOWrapper(io.BytesIO(data))
    monkeypatch.setattr("sys.stdin", stdin)
    assert run(["store", "unpack", "-", "--from", str(tmp_path / "b")]) == 0
    assert set(Store(tmp_path / "b").read_scopes()) == {"app"}


def test_a_closed_stdin_is_a_usage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`unpack -` explains that stdin is closed, as some supervisors leave it."""
    monkeypatch.setattr("sys.stdin", None)
    assert run(["store", "unpack", "-", "--from", str(tmp_path / "b")]) == 2
    assert "stdin, which is closed" in capsys.readouterr().err


def test_a_pack_that_fails_leaves_no_file(store: Store, tmp_path: Path) -> None:
    """A failed pack leaves no new file, and keeps an existing archive."""
    fill(store)
    file = tmp_path / "cache.tar.zst"
    file.write_bytes(b"before")
    damage(blob_file(store.path, b"1" * 500), "missing")
    assert run(["store", "pack", str(file)]) == 74
    assert file.read_bytes() == b"before"
    assert not list(tmp_path.glob(".cache*"))


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["ls", "--from", "nowhere"], 74, "there is no store at"),
        (["pack", "nowhere/x.tar.zst"], 74, "No such file or directory: `nowhere/"),
        (["unpack", "nowhere.tar.zst"], 74, "No such file or directory: `nowhere.tar.zst`"),
        (["unpack", "bxcache.toml"], 74, "zstd"),
        (["pack", "x.tar.zst", "--scope", "ap"], 74, "it has `app`, `other`"),
        (["rm", "ap"], 74, "it has `app`, `other`"),
        (["rm"], 2, "Missing argument"),
        (["adopt", "."], 74, "it contains `.git`"),
        (["adopt", "nowhere"], 74, "has no index.json"),
        (["ls", "--config", "nowhere.toml"], 78, "nowhere.toml"),
    ],
)
def test_a_failure_is_one_error(
    store: Store,
    arguments: list[str],
    status: int,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A failure is one error with advice and without a traceback."""
    fill(store)
    assert run(["store", *arguments]) == status
    output = capsys.readouterr()
    assert message in output.err
    assert "Traceback" not in output.err
    assert output.out == ""
    assert not Path("nowhere").exists()
    assert set(store.read_scopes()) == {"app", "other"}


def test_without_a_local_store_the_error_says_how_to_name_one(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a local store in the configuration, the error says how to name one."""
    Path("bxcache.toml").write_text("[[cache.backends]]\ntype = 'registry'\nref = 'r/app'\n")
    assert run(["store", "ls"]) == 78
    assert "`--from`" in capsys.readouterr().err
    fill(store)
    assert run(["store", "ls", "--from", str(store.path)]) == 0


def test_rm_removes_scopes_and_their_own_layers(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    """`rm` removes scopes and their own layers, but not shared layers."""
    fill(store)
    assert run(["store", "rm", "app", "--dry-run"]) == 0
    assert "would have dropped app: as asked\nwould free " in capsys.readouterr().out
    assert set(store.read_scopes()) == {"app", "other"}
    assert run(["store", "rm", "app", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["dropped"], document["dry_run"]) == ({"app": "as asked"}, False)
    assert set(store.read_scopes()) == {"other"}
    assert blob_file(store.path, b"s" * 1000).exists()
    assert not blob_file(store.path, b"1" * 500).exists()


def test_adopt_names_the_scopes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`adopt` reports the scopes, and how much a collection will drop."""
    folder = tmp_path / "cache"
    folder.mkdir()
    export(folder, "latest", b"old" * 1000)
    export(folder, "latest", b"new")
    assert run(["store", "adopt", str(folder)]) == 0
    out = capsys.readouterr().out
    assert "is a store now; its scopes: latest" in out
    assert "are unused; the next build removes them" in out


def test_a_name_with_control_characters_is_shown_quoted(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    """A name with control characters, possible in plain buildx's tags, is shown quoted."""
    fill(store)
    export(store.path, "evil\x1b[2J", b"x")
    for command in ("ls", "du"):
        assert run(["store", command]) == 0
        out = capsys.readouterr().out
        assert "\x1b" not in out
        assert "evil" in out


def test_the_key_changes_only_with_the_content(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    """The key changes only with the content, so an unchanged cache is not uploaded again."""

    def key(*arguments: str) -> list[str]:
        assert run(["key", *arguments]) == 0
        return capsys.readouterr().out.splitlines()

    empty, prefix = key()
    assert empty == f"{prefix}empty"
    fill(store)
    first, _ = key()
    assert first.startswith(prefix)
    assert first != empty
    with store.snapshot("x", ["app"]):
        pass
    assert key()[0] == first
    build(store, "app", b"else")
    assert key()[0] != first
    branched = key("--branch", "feature/x")
    assert branched[1:] == [f"{prefix}feature_x~", prefix]
    assert branched[0].startswith(branched[1])


def test_the_default_branch_comes_before_any_other(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its store is the next best, in each system's own spelling of branches."""
    fill(store)
    with Path("bxcache.toml").open("a") as file:
        file.write('[place]\ndefault = "Main/1.2"\n')

    def show(style: str) -> str:
        assert run(["key", "--style", style, "--branch", "topic"]) == 0
        return capsys.readouterr().out

    _, own, default, project = show("plain").splitlines()
    assert own == f"{project}topic~"
    assert default.startswith(project)
    assert default.endswith("~")
    restore, _ = yaml.safe_load(show("circleci"))
    keys = ("{{ .Branch }}~", "Main/1.2~", "")
    assert restore["restore_cache"]["keys"] == [f"{project}{each}" for each in keys]
    cache = yaml.safe_load(show("gitlab"))["cache"]
    assert cache["key"] == f"{project}$CI_COMMIT_REF_SLUG"
    assert cache["fallback_keys"] == [f"{project}main-1-2"]


def test_no_branch_restores_from_one_whose_name_is_longer(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    """The prefix of `release-1` is not the beginning of a key of `release-1.2`."""
    fill(store)
    keys = {}
    for branch in ("release-1", "release-1.2", "release-1.", "release"):
        assert run(["key", "--branch", branch]) == 0
        keys[branch] = capsys.readouterr().out.splitlines()
    for one, (_, prefix, *_) in keys.items():
        assert [other for other, (key, *_) in keys.items() if key.startswith(prefix)] == [one]


def test_github_saves_only_a_changed_store(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    """The printed steps are valid, restore what was saved, and save under a new key if it changed.

    https://github.com/actions/cache/blob/v4/restore/README.md
    """
    fill(store)
    assert run(["key", "--style", "github"]) == 0
    before, restore, after, save = yaml.safe_load(capsys.readouterr().out)
    assert before["run"] == after["run"]
    assert restore["with"]["path"] == save["with"]["path"]
    assert store.path.samefile(Path(restore["with"]["path"]).expanduser())
    for step, source in ((restore, before), (save, after)):
        assert step["with"]["key"] == f"${{{{ steps.{source['id']}.outputs.key }}}}"
    content = f"steps.{after['id']}.outputs.content"
    matched = f"steps.{restore['id']}.outputs.cache-matched-key"
    assert save["if"] == f"{content} != 'empty' && !endsWith( {matched}, {content})"


def test_gitlab_keeps_a_store_below_the_project(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    """GitLab keeps only files below the project, so a store elsewhere moves there by a variable."""
    fill(store)
    cases: tuple[tuple[list[str], bool], ...] = (
        (["--from", ".cache/store"], True),
        ([], True),
        ([], False),
    )
    for words, variables in cases:
        if not variables:
            Path("bxcache.toml").write_text("[[cache.backends]]\ntype = 'local'\ndir = 'kept'\n")
        assert run(["key", "--style", "gitlab", *words]) == 0
        printed = yaml.safe_load(capsys.readouterr().out)
        [path] = printed["cache"]["paths"]
        assert not Path(path).is_absolute()
        assert ("variables" in printed) == variables
        if variables:
            assert printed["variables"]["BXCACHE_CACHE_BACKENDS"] == f"type=local,dir={path}"


@pytest.mark.parametrize("style", ["github", "circleci"])
def test_a_store_that_no_build_would_use_comes_with_the_variable(
    store: Store, style: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--from` names the store for the steps; the text says how the build is told of it."""
    Path("bxcache.toml").write_text("[[cache.backends]]\ntype = 'local'\ndir = 'kept'\n")
    assert not store.exists()
    for folder, told in (("./other", True), ("./kept", False)):
        assert run(["key", "--style", style, "--from", folder]) == 0
        out = capsys.readouterr().out
        assert (
            f"BXCACHE_CACHE_BACKENDS with\n# the value type=local,dir={folder[2:]}\n" in out
        ) == told
        assert (f"List `{folder[2:]}` in .dockerignore" in out) == told


def test_the_path_in_steps_is_from_the_top_of_the_checkout(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder inside prints what the top does, whether file or option names the store."""
    Path("bxcache.toml").write_text("[[cache.backends]]\ntype = 'local'\ndir = '.bxcache'\n")
    printed = []
    for folder, there, words in (
        (".", "kept", ["--config", "bxcache.toml"]),
        ("src", "../kept", ["--config", "../bxcache.toml"]),
    ):
        Path(folder).mkdir(exist_ok=True)
        monkeypatch.chdir(folder)
        for each in ([], ["--from", there], words):
            assert run(["key", "--style", "github", *each]) == 0
            printed.append(capsys.readouterr().out)
    assert not store.exists()
    assert printed[:3] == printed[3:]
    paths = [yaml.safe_load(text)[1]["with"]["path"] for text in printed[:3]]
    assert paths == [".bxcache", "kept", ".bxcache"]


def test_a_path_of_this_machine_is_called_one(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Steps with a path outside of the checkout say that it has to be the job's, too."""
    assert run(["key", "--style", "github"]) == 0
    assert f"# `{store.path}` is a path of this machine" in capsys.readouterr().out
    Path(".git").rmdir()
    (tmp_path / "project" / "bxcache.toml").write_text(
        "[[cache.backends]]\ntype = 'local'\ndir = '.bxcache'\n"
    )
    assert run(["key", "--style", "github"]) == 0
    assert str(tmp_path) not in capsys.readouterr().out


def test_a_registry_alone_has_no_key(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """Where no local store is declared, the error says what a job declares."""
    Path("bxcache.toml").write_text("[[cache.backends]]\ntype = 'registry'\nref = 'r.io/a'\n")
    assert not store.exists()
    assert run(["key", "--style", "github"]) == 78
    error = " ".join(capsys.readouterr().err.split())
    assert "BXCACHE_CACHE_BACKENDS=type=local,dir=.bxcache" in error
    assert 'type = "local"' in error
    assert "--from" not in error


@pytest.mark.parametrize("style", ["github", "circleci", "gitlab"])
def test_the_default_store_moves_into_the_checkout(
    store: Store, style: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The default store's path is this machine's own, so the printed one is in the checkout."""
    Path("bxcache.toml").unlink()
    monkeypatch.setenv("XDG_CACHE_HOME", str(store.path.parent))
    assert run(["key", "--style", style]) == 0
    out = capsys.readouterr().out
    assert str(store.path.parent) not in out
    assert "BXCACHE_CACHE_BACKENDS" in out
    assert "type=local,dir=.bxcache" in out
    assert yaml.safe_load(out)


def test_the_keys_of_two_images_differ(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """No key starts with another image's prefix."""
    assert store.read_scopes() == {}
    with Path("bxcache.toml").open("a") as file:
        file.write("[images.app]\nfile = 'a'\n[images.app-web]\nfile = 'b'\n")
    prefixes = []
    for image in ("app", "app-web"):
        assert run(["key", "--image", image]) == 0
        prefixes.append(capsys.readouterr().out.splitlines()[1])
    assert not prefixes[1].startswith(prefixes[0])
    assert not prefixes[0].startswith(prefixes[1])


def test_a_store_of_all_images_has_a_key_of_its_own(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without `--image` the key is that of all images, and begins like no image's own."""
    fill(store)
    assert run(["key"]) == 0
    alone = capsys.readouterr().out.splitlines()[-1]
    with Path("bxcache.toml").open("a") as file:
        file.write("[images.app]\nfile = 'a'\n[images.image]\nfile = 'b'\n")
    prefixes = [alone]
    for words in ([], ["--image", "app"], ["--image", "image"]):
        assert run(["key", *words]) == 0
        prefixes.append(capsys.readouterr().out.splitlines()[-1])
    assert prefixes[1].startswith("bxcache-1.images.")
    # An image of this name is the one that has none.
    assert prefixes[3] == alone
    assert len({*prefixes}) == 3


def test_the_steps_of_an_image_ask_for_its_key(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    """The commands in printed steps choose the same image, store and file."""
    fill(store)
    Path("other.toml").write_text("[images.app]\nfile = 'a'\n")
    words = ["--image", "app", "--from", "my store", "--config", "other.toml"]
    assert run(["key", "--style", "github", *words]) == 0
    before, *_ = yaml.safe_load(capsys.readouterr().out)
    command, _, target = before["run"].partition(" >> ")
    assert target == '"$GITHUB_OUTPUT"'
    assert shlex.split(command) == ["bxcache", "key", "--style", "github-output", *words]
    assert run(shlex.split(command)[1:]) == 0


@pytest.mark.parametrize(
    ("style", "expected"),
    [("circleci", "newest store of any branch"), ("gitlab", "from nothing"), ("github", "")],
)
def test_an_unknown_default_branch_is_noted(
    store: Store, style: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A note says what it means that the printed steps lack the default branch, and what to do."""
    fill(store)
    assert run(["key", "--style", style]) == 0
    note = capsys.readouterr().err
    assert expected in note
    assert ("[place]" in note) == bool(expected)
    with Path("bxcache.toml").open("a") as file:
        file.write('[place]\ndefault = "main"\n')
    assert run(["key", "--style", style]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("style", "expected"),
    [
        ("github-output", ["key=", "content=", "restore-keys<<bxcache"]),
        ("github", ["actions/cache/restore@", "actions/cache/save@", "outputs.restore-keys"]),
        ("circleci", ["- restore_cache:", "- save_cache:", '{{ checksum "', "{{ .Branch }}~"]),
        ("gitlab", ["cache:", "  paths:", "$CI_COMMIT_REF_SLUG"]),
    ],
)
def test_each_ci_system_has_a_style(
    store: Store, style: str, expected: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The key is printed in the form of each CI system, to paste or to write to its file."""
    fill(store)
    assert run(["key", "--style", style]) == 0
    out = capsys.readouterr().out
    for text in expected:
        assert text in out


def test_ls_shows_whose_each_scope_is(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """`ls` reads the branch from a scope's name, or from its record if the name is hashed."""
    plain = Scope("image", "test", ("linux/amd64",), Owner.of_branch("feature/x"))
    hashed = Scope("image", None, ("linux/amd64",), Owner.of_branch("fix_login"))
    for scope in (plain, hashed):
        build(store, scope.name, b"1")
    build(store, f"{hashed.stem}.other-0123456789abcdef", b"1")
    known = RecordedScope(
        name=hashed.name, image="image", platforms=("linux/amd64",), branch="fix_login"
    )
    record = Record(version=1, scope=known, started=1.0, seconds=1.0)
    store.add_record(hashed.name, record.to_json())
    assert run(["store", "ls", "--json"]) == 0
    found = {each["name"]: each for each in json.loads(capsys.readouterr().out)["scopes"]}
    assert [each["branch"] for each in found.values()] == ["fix_login", None, "feature/x"]
    shown = found[plain.name]
    assert (shown["image"], shown["target"], shown["platforms"]) == (
        *("image", "test"),
        ["linux/amd64"],
    )
    assert run(["store", "ls"]) == 0
    branches = [line.split()[1] for line in capsys.readouterr().out.splitlines()[1:]]
    assert sorted(branches) == ["?", "feature/x", "fix_login"]


@pytest.mark.parametrize(
    "record",
    [b"[]", b"{}", b'{"scope": {"image": 1}}', b'{"scope": {"image": "a", "platforms": 1}}'],
)
def test_a_damaged_record_says_nothing(
    store: Store, record: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    """A damaged record of a scope leaves its branch unknown, and is no error."""
    build(store, "odd", b"1")
    store.add_record("odd", record + b"\n")
    assert run(["store", "ls", "--json"]) == 0
    (scope,) = json.loads(capsys.readouterr().out)["scopes"]
    assert (scope["image"], scope["branch"]) == (None, None)


def test_a_store_and_a_registry_are_listed_alike(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    """`store ls` and `registry ls` have the same columns, and the same keys in documents."""
    name, heads, keys = "image.linux-amd64.main", [], []
    build(store, name, b"1")
    with MemoryRegistry() as registry:
        scope = Scope("image", None, ("linux/amd64",), Owner.of_branch("main"))
        digest = registry.put(name, cache_manifest(b"1"))
        registry.put(f"{name}.bxcache", render_label(Label(scope, digest, 1.0, 1.0)))
        for words in (["store", "ls"], ["registry", "ls", "--from", f"{registry.address}/app"]):
            assert run(words) == 0
            lines = capsys.readouterr().out.splitlines()
            heads += [line.split() for line in lines if line.startswith("SCOPE")]
            assert run([*words, "--json"]) == 0
            document = json.loads(capsys.readouterr().out)
            keys += [[*each] for each in document.get("registries", [document])[0]["scopes"]]
    assert heads[0] == heads[1]
    assert keys[0] == keys[1]
