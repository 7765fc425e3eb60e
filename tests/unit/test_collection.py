"""Tests that a collection keeps a store within its limits without losing needed blobs."""

from __future__ import annotations

import json
import os
import time

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

DAY = 86_400


def live_set(store: Store) -> set[str]:
    """Return the blobs that the index needs, by the OCI format."""
    found = set()
    for entry in json.loads((store.path / "index.json").read_text())["manifests"]:
        manifest = json.loads((store.path / "blobs" / "sha256" / entry["digest"][7:]).read_text())
        found.add(entry["digest"][7:])
        found |= {each["digest"][7:] for each in (manifest["config"], *manifest["layers"])}
    return found


def size_of(store: Store) -> int:
    """Return the size of the store's files, without its marks and locks."""
    own = ("version", "lock", "holder", "reserve")
    return sum(
        path.stat().st_size
        for path in store.path.rglob("*")
        if path.is_file()
        and path.name not in ("CACHEDIR.TAG", ".gitignore", "oci-layout")
        and not (path.parent.name == ".bxcache" and path.name in own)
    )


def age(store: Store, scope: str, seconds: float) -> None:
    """Make a scope unused for some time."""
    (record,) = (store.path / ".bxcache" / "scopes").glob(f"{scope}@*")
    then = time.time() - seconds
    os.utime(record, (then, then))


def test_a_collection_leaves_exactly_the_live_set(store: Store) -> None:
    """A collection removes what only an earlier build of the scope needed."""
    build(store, "app", b"one", b"two")
    build(store, "other", b"one", b"three")
    build(store, "app", b"one", b"four", donor="app")
    assert blob_file(store.path, b"two").exists()
    collected = store.collect()
    assert blobs_of(store.path) == live_set(store)
    # The layer, the config and the manifest.
    assert collected.blobs == 3
    assert not collected.dropped
    assert set(store.read_scopes()) == {"app", "other"}


def test_a_collection_of_a_clean_store_changes_nothing(store: Store) -> None:
    """A collection of a clean store does not even rewrite the index."""
    build(store, "app", b"one")

    def look() -> tuple[int, int, int]:
        # The access time may change.
        found = (store.path / "index.json").stat()
        return found.st_ino, found.st_mtime_ns, found.st_size

    before = look()
    assert store.collect(max_size=10**9, max_age=DAY).blobs == 0
    assert look() == before


def test_a_scope_ages_from_its_last_use(store: Store) -> None:
    """A scope's age counts from its last use, not from when it was saved."""
    for name in ("old", "used", "new"):
        build(store, name, b"shared", name.encode())
    for name in ("old", "used"):
        age(store, name, 15 * DAY)
    with store.snapshot(draw_name(), ["used"]):
        pass
    collected = store.collect(max_age=14 * DAY)
    assert collected.dropped == {"old": "unused for 15 days"}
    assert set(store.read_scopes()) == {"used", "new"}
    assert blobs_of(store.path) == live_set(store)
    assert blob_file(store.path, b"shared").exists()


def test_over_budget_the_least_valuable_layers_are_evicted(store: Store) -> None:
    """Eviction stops within the budget, so valuable layers still hit."""
    cheap, dear = b"c" * 50_000, b"d" * 50_000
    build(store, "app", cheap, seconds={cheap: 0.1})
    build(store, "other", dear, seconds={dear: 60.0})
    collected = store.collect(max_size=80_000)
    assert collected.evicted == {"app": 1}
    assert set(store.read_scopes()) == {"app", "other"}
    assert not blob_file(store.path, cheap).exists()
    assert blob_file(store.path, dear).exists()
    assert size_of(store) <= 80_000
    assert collected.bytes >= size_of(store)
    assert blobs_of(store.path) == live_set(store)
    assert not store.verify(full=True).damages


def test_a_reused_layer_keeps_its_value(store: Store) -> None:
    """A layer that this build reused has the value from the donor's record."""
    dear, cheap = b"d" * 50_000, b"c" * 50_000
    build(store, "main", dear, seconds={dear: 60.0})
    build(store, "branch", dear, cheap, donor="main", seconds={cheap: 1.0})
    store.remove("main")
    assert store.collect(max_size=80_000).evicted == {"branch": 1}
    assert blob_file(store.path, dear).exists()


def test_a_layer_of_two_steps_has_the_higher_value(store: Store) -> None:
    """A layer of a reused RUN and an executed COPY keeps the value of the RUN."""
    both, other = b"b" * 50_000, b"o" * 50_000
    build(store, "app", both, seconds={both: 60.0})
    build(store, "app", both, other, donor="app", seconds={both: 0.1, other: 1.0})
    assert store.collect(max_size=80_000).evicted == {"app": 1}
    assert blob_file(store.path, both).exists()


def test_a_restored_layer_keeps_its_value(store: Store) -> None:
    """An evicted layer that the engine restores unexecuted keeps its value."""
    dear, cheap = b"d" * 50_000, b"c" * 50_000
    build(store, "app", dear, seconds={dear: 60.0})
    assert store.collect(max_size=10_000).evicted == {"app": 1}
    build(store, "app", dear, chains=[(cheap,)], donor="app", seconds={cheap: 1.0})
    store.collect(max_size=80_000)
    assert blob_file(store.path, dear).exists()
    assert not blob_file(store.path, cheap).exists()


def test_a_scope_loses_its_layers_before_it_is_dropped(store: Store) -> None:
    """Scopes are dropped, least recently used first, only if their manifests exceed the budget."""
    build(store, "one", b"1" * 5000)
    build(store, "two", b"2" * 5000)
    age(store, "one", DAY)
    assert store.collect(max_size=4000).evicted == {"one": 1, "two": 1}
    assert set(store.read_scopes()) == {"one", "two"}
    assert layers_of(store.path, store.read_scopes()["one"].digest) == []
    room = size_of(store) - 100
    assert list(store.collect(max_size=room).dropped) == ["one"]
    assert list(store.collect(max_size=1).dropped) == ["two"]
    assert store.read_scopes() == {}
    assert blobs_of(store.path) == set()


def test_eviction_keeps_the_rest_of_a_manifest(store: Store) -> None:
    """Eviction keeps a manifest's annotations, unknown keys and config."""
    build(store, "app", b"1" * 5000, b"2" * 5000)
    store.collect(max_size=8000)
    entry = store.read_scopes()["app"]
    manifest = json.loads((store.path / "blobs" / "sha256" / entry.digest[7:]).read_text())
    assert manifest["schemaVersion"] == 2
    assert manifest["config"]["digest"] == digest_of(make_config([(b"1" * 5000, b"2" * 5000)]))
    assert [each["digest"] for each in manifest["layers"]] == [digest_of(b"1" * 5000)]
    path = store.path / "blobs" / "sha256" / entry.digest[7:]
    assert digest_of(path.read_bytes()) == entry.digest
    assert path.stat().st_mode & 0o777 == 0o444


def test_a_dry_run_changes_nothing_and_reports_the_same(store: Store) -> None:
    """A dry run reports every figure except the remaining size, which depends on cut manifests."""
    for name in ("one", "two", "three"):
        build(store, name, b"shared" * 1000, name.encode() * 1000)
    build(store, "one", b"shared" * 1000, b"else", donor="one")
    age(store, "two", 20 * DAY)

    def snapshot() -> dict[str, tuple[int, int]]:
        return {
            str(path): (path.stat().st_size, path.stat().st_mtime_ns)
            for path in store.path.rglob("*")
        }

    before = snapshot()
    preview = store.collect(max_size=9000, max_age=14 * DAY, dry_run=True)
    assert snapshot() == before
    done = store.collect(max_size=9000, max_age=14 * DAY)
    assert (preview.dropped, preview.evicted) == (done.dropped, done.evicted)
    assert preview.freed_bytes == done.freed_bytes
    assert preview.blobs == done.blobs


def test_a_collection_repairs_incomplete_scopes(store: Store) -> None:
    """After a collection, the index lists only complete scopes."""
    build(store, "app", b"one", b"two")
    gone = build(store, "gone", b"three")
    damage(blob_file(store.path, b"two"), "missing")
    damage(store.path / "blobs" / "sha256" / gone.digest[7:], "short")
    collected = store.collect()
    assert list(collected.dropped) == ["gone"]
    assert collected.evicted == {"app": 1}
    assert not store.verify(full=True).damages
    assert blobs_of(store.path) == live_set(store)


def test_a_running_build_keeps_what_it_imports(store: Store) -> None:
    """A collection removes a blob from the store, but not from a staging layout."""
    build(store, "app", b"one")
    with store.snapshot(draw_name(), ["app"]) as staging:
        store.remove("app")
        store.collect()
        assert blobs_of(store.path) == set()
        assert blob_file(staging.path, b"one").read_bytes() == b"one"


def test_leftover_files_are_removed_and_foreign_files_kept(store: Store) -> None:
    """A collection removes a killed process's temporary files, and no files of others."""
    build(store, "app", b"one")
    blobs = store.path / "blobs" / "sha256"
    (blobs / f"{'a' * 64}.0123456789ab.tmp").write_bytes(b"part")
    (blobs / "README").write_text("mine")
    (store.path / ".index.json.1.tmp").write_text("part")
    (store.path / ".bxcache" / "scopes" / ".app@1.json.1.tmp").write_text("part")
    store.collect()
    assert blobs_of(store.path) - live_set(store) == {"README"}
    assert not list(store.path.rglob("*.tmp"))


def test_each_scope_has_one_record(store: Store) -> None:
    """A collection removes the pages of dropped scopes, and creates missing pages."""
    build(store, "app", b"one")
    build(store, "other", b"two")
    records = store.path / ".bxcache" / "scopes"
    (other,) = records.glob("other@*")
    other.unlink()
    (records / "gone@000000000000.json").write_text("{}")
    store.collect()
    assert sorted(path.name.partition("@")[0] for path in records.iterdir()) == ["app", "other"]


def test_removing_an_unknown_scope_lists_the_known_ones(store: Store) -> None:
    """Removing an unknown scope lists the known ones and removes nothing."""
    build(store, "app", b"one")
    with pytest.raises(StoreError, match="no scope `ap`") as caught:
        store.remove("app", "ap")
    assert "`app`" in caught.value.hint
    assert set(store.read_scopes()) == {"app"}


def test_usage_reports_own_and_shared_bytes(store: Store) -> None:
    """Usage is as counted by hand: 100 bytes shared; 10, 20, manifests and configs not shared."""
    build(store, "one", b"s" * 100, b"1" * 10)
    build(store, "two", b"s" * 100, b"2" * 20)
    (store.path / "blobs" / "sha256" / ("0" * 64)).write_bytes(b"dead")
    usage = store.usage()
    assert usage.shared_bytes == 100
    assert usage.dead_bytes == 4
    assert usage.bytes == sum(
        (store.path / "blobs" / "sha256" / name).stat().st_size for name in live_set(store)
    )
    one, two = usage.scopes
    assert (one.name, one.layers, one.steps, one.shared_bytes) == ("one", 2, 2, 100)
    documents = [
        sum(
            len((store.path / "blobs" / "sha256" / digest[7:]).read_bytes())
            for digest in (scope.digest, digest_of(make_config([(b"s" * 100, layer)])))
        )
        for scope, layer in ((one, b"1" * 10), (two, b"2" * 20))
    ]
    assert one.own_bytes == 10 + documents[0]
    assert two.own_bytes == 20 + documents[1]
    assert one.bytes == one.own_bytes + 100


def test_usage_reads_only_the_head_of_a_page(store: Store) -> None:
    """A page whose list of layers is damaged still reports its steps and the time of saving."""
    build(store, "one", b"1" * 10)
    (page,) = (store.path / ".bxcache" / "scopes").iterdir()
    document = json.loads(page.read_text()) | {"seconds": {"sha256:x": "damaged"}}
    page.write_text(json.dumps(document))
    (scope,) = store.usage().scopes
    assert (scope.steps, scope.saved) == (document["steps"], document["saved"])
    assert scope.steps
