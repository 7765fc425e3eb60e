"""Tests of stores from anywhere: a CI cache, another user or a broken disk."""

from __future__ import annotations

import io
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bxcache.errors import StoreError
from bxcache.oci.documents import parse_index
from bxcache.store.staging import draw_name
from bxcache.store.store import Store
from tests.support.layouts import REF_NAME, blob_file, build, digest_of, make_config


def make_store(path: Path) -> Store:
    store = Store(path)
    build(store, "app", b"one", b"two", chains=[(b"one", b"three")])
    build(store, "other", b"one", b"four")
    return store


def operate(store: Store) -> None:
    """Try every operation of a store; only a StoreError may be raised."""
    every: list[Callable[[], object]] = [
        store.check,
        store.read_scopes,
        store.usage,
        store.verify,
        lambda: store.verify(full=True),
        lambda: store.collect(dry_run=True, max_size=10),
        lambda: store.pack(io.BytesIO()),
        lambda: build(store, "app", b"one", b"five", donor="app"),
        lambda: store.collect(max_size=1500),
        lambda: store.repair(full=True),
    ]
    for operation in every:
        try:
            operation()
        except StoreError as error:
            assert error.message  # noqa: PT017  # both outcomes are valid


PARTS = st.sampled_from(["index.json", "record", "manifest", "config", "layer", "version"])


def find_part(store: Store, part: str) -> Path:
    scopes = store.path / ".bxcache" / "scopes"
    entry = store.read_scopes()["app"]
    return {
        "index.json": store.path / "index.json",
        "record": next(scopes.glob("app@*")),
        "manifest": store.path / "blobs" / "sha256" / entry.digest[7:],
        "config": blob_file(store.path, make_config([(b"one", b"two"), (b"one", b"three")])),
        "layer": blob_file(store.path, b"one"),
        "version": store.path / ".bxcache" / "version",
    }[part]


def replace(path: Path, data: bytes) -> None:
    path.unlink()
    path.write_bytes(data)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("pristine") / "store").path


@settings(max_examples=60)
@given(changes=st.lists(st.tuples(PARTS, st.integers(0, 400), st.binary(max_size=8)), max_size=3))
@example(changes=[("index.json", 0, b"\xff")])
@example(changes=[("record", 0, b"")])
@example(changes=[("config", 0, b"{"), ("layer", 0, b"")])
@example(changes=[("index.json", 0, b""), ("record", 0, b"")])
def test_a_store_survives_any_change_of_its_files(
    pristine: Path,
    tmp_path_factory: pytest.TempPathFactory,
    changes: list[tuple[str, int, bytes]],
) -> None:
    """After any overwritten, inserted or cut bytes, only StoreErrors occur, and `repair` works."""
    store = Store(tmp_path_factory.mktemp("fuzz") / "store")
    shutil.copytree(pristine, store.path)
    for part, at, data in changes:
        path = find_safely(store, part)
        if path is not None:
            old = path.read_bytes()
            kept, rest = old[: at % (len(old) + 1)], old[at % (len(old) + 1) + len(data) :]
            replace(path, kept + data + (rest if len(data) > 1 else b""))
    operate(store)
    (store.path / ".bxcache" / "version").write_text("1\n")
    store.repair(full=True)
    store.collect()
    assert not store.verify(full=True).damages
    build(store, "app", b"one", b"two")
    assert "app" in store.read_scopes()


def find_safely(store: Store, part: str) -> Path | None:
    """Return the part, or None if an earlier change hides it."""
    try:
        path = find_part(store, part)
    except (StoreError, StopIteration, KeyError):
        return None
    return path if path.is_file() else None


@pytest.mark.parametrize("how", ["fifo", "folder", "link", "link to itself"])
@pytest.mark.parametrize("part", ["index.json", "record", "manifest", "config", "layer"])
def test_a_file_that_is_not_regular_is_neither_followed_nor_awaited(
    part: str, how: str, tmp_path: Path
) -> None:
    """A link's target is neither changed nor read, and a pipe does not block."""
    store = make_store(tmp_path / "store")
    secret = tmp_path / "secret"
    secret.write_bytes(b"one")
    path = find_part(store, part)
    path.unlink()
    if how == "fifo":
        os.mkfifo(path)
    elif how == "folder":
        path.mkdir()
    else:
        path.symlink_to(secret if how == "link" else path)
    operate(store)
    assert secret.read_bytes() == b"one"
    assert not secret.is_symlink()
    if part in ("manifest", "config", "layer"):
        assert not store.verify(full=True).damages
        assert not path.is_symlink()


@pytest.mark.parametrize("name", ["blobs", "blobs/sha256", ".bxcache/scopes", ".bxcache/staging"])
def test_a_folder_that_is_a_link_is_refused(name: str, tmp_path: Path) -> None:
    """A store does not write through a folder that is a link."""
    store = make_store(tmp_path / "store")
    (store.path / name).rename(tmp_path / "outside")
    (store.path / name).symlink_to(tmp_path / "outside")
    with pytest.raises(StoreError, match="is a link"):
        store.check()


@pytest.mark.parametrize("name", [".bxcache/holder", "index.json.damaged"])
def test_a_written_file_does_not_follow_a_link(name: str, tmp_path: Path) -> None:
    """A planted link is not followed when a file is written."""
    store = make_store(tmp_path / "store")
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (store.path / name).unlink(missing_ok=True)
    (store.path / name).symlink_to(victim)
    (store.path / "index.json").write_text("{")
    store.repair()
    store.collect()
    assert victim.read_text() == "mine"


def test_an_oversized_manifest_is_not_read(tmp_path: Path) -> None:
    """A sparse file of a terabyte in a manifest's place needs little memory."""
    store = make_store(tmp_path / "store")
    path = find_part(store, "manifest")
    index = json.loads((store.path / "index.json").read_text())
    index["manifests"][0]["size"] = 1 << 40
    (store.path / "index.json").write_text(json.dumps(index))
    path.chmod(0o644)
    os.truncate(path, 1 << 40)
    with store.snapshot(draw_name(), ["app"]) as staging:
        assert not staging.donors
        assert "larger than 16 MiB" in staging.notes[0]


def test_a_link_in_place_of_a_layer_is_reported(tmp_path: Path) -> None:
    """A link in place of a layer is reported as not a regular file."""
    store = make_store(tmp_path / "store")
    blob = blob_file(store.path, b"one")
    (tmp_path / "elsewhere").write_bytes(b"one")
    blob.unlink()
    blob.symlink_to(tmp_path / "elsewhere")
    (damage,) = store.verify().damages
    assert damage.digest == digest_of(b"one")
    assert "is not a regular file" in damage.why


def test_a_duplicate_name_is_found_in_linear_time() -> None:
    """A duplicate name among many names is found in linear time."""
    entry = {"mediaType": "m", "digest": digest_of(b"x"), "size": 1}
    names = [*map(str, range(50_000)), "twice", "twice"]
    entries = [{**entry, "annotations": {REF_NAME: name}} for name in names]
    begun = time.process_time()
    with pytest.raises(ValueError, match="`twice` twice"):
        parse_index(json.dumps({"manifests": entries}).encode())
    assert time.process_time() - begun < 5
