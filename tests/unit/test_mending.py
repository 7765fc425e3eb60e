"""A store mends itself: what is broken is cut out, and a damaged index is made anew."""

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
def test_a_broken_layer_goes_with_what_builds_on_it(store: Store, how: str) -> None:
    """And with nothing else: the other chain and the layer below stay."""
    build(store, "app", b"base", b"deps", b"app", chains=[(b"base", b"docs")])
    damage(blob_file(store.path, b"deps"), how)
    with store.snapshot(draw_name(), ["app"]) as staging:
        assert staging.donor is not None
        left = {digest_of(b"base"), digest_of(b"docs")}
        assert set(layers_of(staging.path, staging.donor.digest)) == left
        assert blobs_of(staging.path) == {
            *(digest[7:] for digest in left),
            staging.donor.digest[7:],
            digest_of(make_config([(b"base", b"deps", b"app"), (b"base", b"docs")]))[7:],
        }
        assert str(blob_file(store.path, b"deps")) in staging.notes[0]
        assert "1 layer of the scope `app`" in staging.notes[0]
    assert store.read_scopes()["app"].digest == staging.donor.digest
    with store.snapshot(draw_name(), ["app"]) as staging:
        assert not staging.notes


def test_a_cache_in_the_form_of_an_index_is_mended_too(store: Store) -> None:
    """BuildKit before 0.21 writes one: layers and config are all in `manifests`."""
    build(store, "app", b"base", b"deps", b"app", as_index=True)
    damage(blob_file(store.path, b"deps"), "missing")
    with store.snapshot(draw_name(), ["app"]) as staging:
        assert staging.donor is not None
        path = staging.path / "blobs" / "sha256" / staging.donor.digest[7:]
        manifests = json.loads(path.read_text())["manifests"]
    config = digest_of(make_config([(b"base", b"deps", b"app")]))
    assert [each["digest"] for each in manifests] == [digest_of(b"base"), config]


def test_a_layer_that_stands_in_two_chains_stays_while_one_is_whole(store: Store) -> None:
    """BuildKit lists one blob several times when several steps made it."""
    build(store, "app", b"one", b"both", chains=[(b"other", b"both")])
    damage(blob_file(store.path, b"one"), "missing")
    with store.snapshot(draw_name(), ["app"]) as staging:
        assert staging.donor is not None
        layers = set(layers_of(staging.path, staging.donor.digest))
        assert layers == {digest_of(b"other"), digest_of(b"both")}


@pytest.mark.parametrize("how", ["missing", "short", "changed"])
@pytest.mark.parametrize("part", ["manifest", "config"])
def test_without_its_manifest_or_config_a_scope_is_dropped(
    store: Store, part: str, how: str
) -> None:
    """The build starts from the next donor, and the note says why."""
    saved = build(store, "app", b"one")
    build(store, "other", b"two")
    config = blob_file(store.path, make_config([(b"one",)]))
    damage(config if part == "config" else store.path / "blobs/sha256" / saved.digest[7:], how)
    with store.snapshot(draw_name(), ["app", "other"]) as staging:
        assert staging.donor is not None
        assert staging.donor.ref_name == "other"
        assert "the scope `app` was dropped" in staging.notes[0]
    assert set(store.read_scopes()) == {"other"}


def test_a_broken_layer_that_is_saved_again_is_whole(store: Store) -> None:
    """A file of the wrong size is not taken for the blob."""
    build(store, "app", b"one", b"two")
    damage(blob_file(store.path, b"two"), "short")
    build(store, "other", b"one", b"two")
    assert blob_file(store.path, b"two").read_bytes() == b"two"


def test_repair_finds_what_only_reading_can_tell(store: Store) -> None:
    """A changed bit: cut out, the file removed, and the next build saves it anew."""
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


def test_a_repair_is_no_use_of_a_scope(store: Store) -> None:
    """It grows old all the same."""
    build(store, "app", b"one", b"two")
    (record,) = (store.path / ".bxcache" / "scopes").iterdir()
    os.utime(record, (1_700_000_000, 1_700_000_000))
    damage(blob_file(store.path, b"two"), "missing")
    assert store.repair()
    assert [scope.last_used for scope in store.usage().scopes] == [1_700_000_000]


def test_repair_mends_every_scope_with_the_broken_layer(store: Store) -> None:
    """Also those that were not asked for."""
    build(store, "one", b"shared", b"1")
    build(store, "two", b"shared", b"2")
    damage(blob_file(store.path, b"shared"), "changed")
    assert len(store.repair(full=True, scopes=["one"])) == 2
    assert not store.verify(full=True).damages
    assert set(store.read_scopes()) == {"one", "two"}


@pytest.mark.parametrize("text", [*DAMAGED, None])
def test_a_damaged_index_is_made_anew_from_the_records(store: Store, text: str | None) -> None:
    """All scopes are back; the damaged one is kept beside it, and a note says so."""
    saved = {name: build(store, name, name.encode()).digest for name in ("one", "two")}
    if text is None:
        (store.path / "index.json").unlink()
    else:
        (store.path / "index.json").write_text(text)
    assert {name: entry.digest for name, entry in store.read_scopes().items()} == saved
    with store.snapshot(draw_name(), ["one"]) as staging:
        assert staging.donor is not None
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
    """It may be all that is known of the scopes; only `repair` sets it aside."""
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


def test_a_record_that_is_torn_is_no_scope(store: Store) -> None:
    """A power cut can leave one; the others are made anew all the same."""
    build(store, "one", b"1")
    build(store, "two", b"2")
    (torn,) = (store.path / ".bxcache" / "scopes").glob("two@*")
    torn.write_text('{"version": 1, "sco')
    (store.path / "index.json").unlink()
    assert set(store.read_scopes()) == {"one"}


def test_of_two_records_of_a_scope_the_newer_holds(store: Store) -> None:
    """A save that was cut off before the index leaves both."""
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
