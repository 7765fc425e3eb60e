"""Tests that a store repairs itself: broken layers are removed, and a damaged index is rebuilt."""

from __future__ import annotations

import json
import os

import pytest

from bxcache.errors import StoreError
from bxcache.store.staging import draw_name
from bxcache.store.store import Store
from tests.support.layouts import (
    blob_file,
    blobs_of,
    build,
    damage,
    digest_of,
    layers_of,
    make_config,
)

DAMAGED = [
    "",
    "{",
    "[]",
    "{}",
    '{"manifests": 1}',
    '{"manifests": [{"mediaType": "x", "digest": "sha256:xyz", "size": 1}]}',
    '{"manifests": [{"mediaType": "x", "digest": "../../../etc/passwd", "size": 1}]}',
    '{"manifests": [{"mediaType": "x", "digest": "sha256:' + "0" * 64 + '", "size": -1}]}',
    '{"manifests": [{"mediaType": "x", "digest": "sha256:'
    + "0" * 64
    + '", "size": 1}]}'.replace(
        "}]", '}, {"mediaType": "y", "digest": "sha256:' + "1" * 64 + '", "size": 1}]'
    ),
    "[" * 100_000,
]


@pytest.mark.parametrize("how", ["missing", "short"])
def test_a_broken_layer_is_dropped_with_the_layers_above_it(store: Store, how: str) -> None:
    """Only the broken layer and the layers above it are dropped; the other chain stays."""
    build(store, "app", b"base", b"deps", b"app", chains=[(b"base", b"docs")])
    damage(blob_file(store.path, b"deps"), how)
    with store.snapshot(draw_name(), ["app"]) as staging:
        assert staging.donors
        left = {digest_of(b"base"), digest_of(b"docs")}
        assert set(layers_of(staging.path, staging.donors[0].digest)) == left
        assert blobs_of(staging.path) == {
            *(digest[7:] for digest in left),
            staging.donors[0].digest[7:],
            digest_of(make_config([(b"base", b"deps", b"app"), (b"base", b"docs")]))[7:],
        }
        assert str(blob_file(store.path, b"deps")) in staging.notes[0]
        assert "1 layer of the scope `app`" in staging.notes[0]
    assert store.read_scopes()["app"].digest == staging.donors[0].digest
    with store.snapshot(draw_name(), ["app"]) as staging:
        assert not staging.notes


def test_a_cache_in_the_form_of_an_index_is_repaired(store: Store) -> None:
    """A cache of BuildKit before 0.21, with everything in `manifests`, is repaired, too."""
    build(store, "app", b"base", b"deps", b"app", as_index=True)
    damage(blob_file(store.path, b"deps"), "missing")
    with store.snapshot(draw_name(), ["app"]) as staging:
        assert staging.donors
        path = staging.path / "blobs" / "sha256" / staging.donors[0].digest[7:]
        manifests = json.loads(path.read_text())["manifests"]
    config = digest_of(make_config([(b"base", b"deps", b"app")]))
    assert [each["digest"] for each in manifests] == [digest_of(b"base"), config]


def test_a_layer_in_two_chains_stays_while_one_is_whole(store: Store) -> None:
    """A layer in two chains, which BuildKit lists twice, stays while one chain is whole."""
    build(store, "app", b"one", b"both", chains=[(b"other", b"both")])
    damage(blob_file(store.path, b"one"), "missing")
    with store.snapshot(draw_name(), ["app"]) as staging:
        assert staging.donors
        layers = set(layers_of(staging.path, staging.donors[0].digest))
        assert layers == {digest_of(b"other"), digest_of(b"both")}


@pytest.mark.parametrize("how", ["missing", "short", "changed"])
@pytest.mark.parametrize("part", ["manifest", "config"])
def test_without_its_manifest_or_config_a_scope_is_dropped(
    store: Store, part: str, how: str
) -> None:
    """The build imports the next donor, and a note gives the reason for the dropped scope."""
    saved = build(store, "app", b"one")
    build(store, "other", b"two")
    config = blob_file(store.path, make_config([(b"one",)]))
    damage(config if part == "config" else store.path / "blobs/sha256" / saved.digest[7:], how)
    with store.snapshot(draw_name(), ["app", "other"]) as staging:
        assert staging.donors
        assert staging.donors[0].ref_name == "other"
        assert "the scope `app` was dropped" in staging.notes[0]
    assert set(store.read_scopes()) == {"other"}


def test_a_broken_layer_that_is_saved_again_is_whole(store: Store) -> None:
    """A layer's file of the wrong size is replaced when the layer is saved again."""
    build(store, "app", b"one", b"two")
    damage(blob_file(store.path, b"two"), "short")
    build(store, "other", b"one", b"two")
    assert blob_file(store.path, b"two").read_bytes() == b"two"


def test_a_full_repair_finds_a_changed_bit(store: Store) -> None:
    """A full repair cuts out a layer with a changed bit and removes its file."""
    build(store, "app", b"one", b"two")
    damage(blob_file(store.path, b"two"), "changed")
    assert not store.verify().damages
    (found,) = store.verify(full=True).damages
    assert (found.digest, found.scopes) == (digest_of(b"two"), ("app",))
    assert not store.repair()
    (note,) = store.repair(full=True)
    assert str(blob_file(store.path, b"two")) in note
    assert not store.verify(full=True).damages
    build(store, "app", b"one", b"two")
    assert blob_file(store.path, b"two").read_bytes() == b"two"


def test_a_repair_does_not_count_as_use(store: Store) -> None:
    """A repair does not change when a scope was last used."""
    build(store, "app", b"one", b"two")
    (record,) = (store.path / ".bxcache" / "scopes").iterdir()
    os.utime(record, (1_700_000_000, 1_700_000_000))
    damage(blob_file(store.path, b"two"), "missing")
    assert store.repair()
    assert [scope.last_used for scope in store.usage().scopes] == [1_700_000_000]


def test_a_repair_covers_every_scope_with_the_broken_layer(store: Store) -> None:
    """A repair of one scope also repairs other scopes with the broken layer."""
    build(store, "one", b"shared", b"1")
    build(store, "two", b"shared", b"2")
    damage(blob_file(store.path, b"shared"), "changed")
    assert len(store.repair(full=True, scopes=["one"])) == 2
    assert not store.verify(full=True).damages
    assert set(store.read_scopes()) == {"one", "two"}


@pytest.mark.parametrize("text", [*DAMAGED, None])
def test_a_damaged_index_is_rebuilt_from_the_records(store: Store, text: str | None) -> None:
    """All scopes are restored, and the damaged index is kept beside the new one, with a note."""
    saved = {name: build(store, name, name.encode()).digest for name in ("one", "two")}
    if text is None:
        (store.path / "index.json").unlink()
    else:
        (store.path / "index.json").write_text(text)
    assert {name: entry.digest for name, entry in store.read_scopes().items()} == saved
    with store.snapshot(draw_name(), ["one"]) as staging:
        assert staging.donors
        assert "2 scopes are back" in staging.notes[0]
    assert {e["digest"] for e in json.loads((store.path / "index.json").read_text())["manifests"]}
    assert not store.verify(full=True).damages
    if text is not None:
        assert (store.path / "index.json.damaged").read_text() == text


@pytest.mark.parametrize("records", ["gone", "torn"])
@pytest.mark.parametrize("text", DAMAGED)
def test_a_damaged_index_without_records_is_an_error_and_stays(
    store: Store, text: str, records: str
) -> None:
    """Only `repair` sets aside a damaged index that cannot be rebuilt."""
    build(store, "app", b"one")
    for record in (store.path / ".bxcache" / "scopes").iterdir():
        if records == "gone":
            record.unlink()
        else:
            record.write_text("{")
    (store.path / "index.json").write_text(text)
    for attempt in (
        store.read_scopes,
        store.collect,
        lambda: build(store, "app", b"one"),
    ):
        with pytest.raises(StoreError, match="is not a valid index"):
            attempt()
        assert (store.path / "index.json").read_text() == text
    assert "is not a valid index" in store.verify().damages[0].why
    (note,) = store.repair()
    assert "set aside" in note
    assert (store.path / "index.json.damaged").read_text() == text
    assert store.read_scopes() == {}


def test_a_torn_page_is_skipped(store: Store) -> None:
    """A page torn by a power cut is skipped, and the other scopes are restored."""
    build(store, "one", b"1")
    build(store, "two", b"2")
    (torn,) = (store.path / ".bxcache" / "scopes").glob("two@*")
    torn.write_text('{"version": 1, "sco')
    (store.path / "index.json").unlink()
    assert set(store.read_scopes()) == {"one"}


def test_the_newer_of_two_pages_of_a_scope_counts(store: Store) -> None:
    """If an interrupted save left two pages of a scope, the newer one counts."""
    first = build(store, "app", b"one")
    (old,) = (store.path / ".bxcache" / "scopes").iterdir()
    text = old.read_bytes()
    second = build(store, "app", b"two")
    old.write_bytes(text)
    (new,) = set((store.path / ".bxcache" / "scopes").iterdir()) - {old}
    os.utime(old, (1, 1))
    (store.path / "index.json").unlink()
    assert store.read_scopes()["app"].digest == second.digest
    new.unlink()
    assert store.read_scopes()["app"].digest == first.digest
