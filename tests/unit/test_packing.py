"""Tests that packing and unpacking a store keeps everything and adds nothing else."""

from __future__ import annotations

import io
import json
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bxcache.errors import StoreError
from bxcache.store.archive import Member, read_archive, write_archive
from bxcache.store.store import Store
from tests.support.layouts import (
    CONFIG_TYPE,
    LAYER_TYPE,
    MANIFEST_TYPE,
    REF_NAME,
    blob_file,
    blobs_of,
    build,
    damage,
    digest_of,
    make_config,
)


def pack(store: Store, *scopes: str) -> bytes:
    target = io.BytesIO()
    store.pack(target, scopes)
    return target.getvalue()


def members_of(data: bytes) -> dict[str, bytes]:
    return {
        entry.name: entry.read(1 << 24) for entry in read_archive(io.BytesIO(data), lambda *_: None)
    }


def archive(members: dict[str, bytes]) -> bytes:
    target = io.BytesIO()
    write_archive(target, [Member(name, len(data), data) for name, data in members.items()])
    return target.getvalue()


def tree(folder: Path) -> dict[str, bytes]:
    """Read every file of a folder except the locks."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in ("lock", "holder")
    }


def test_unpacking_restores_the_packed_store(store: Store, tmp_path: Path) -> None:
    """Unpacking restores blobs, index, records and times of last use."""
    build(store, "app", b"one", b"two", seconds={b"two": 3.0})
    build(store, "other", b"one", b"three")
    for record in (store.path / ".bxcache" / "scopes").iterdir():
        # The end of 14 November 2023: the archive has only the day of the last use.
        os.utime(record, (1_700_006_400, 1_700_006_400))
    other = Store(tmp_path / "other")
    unpacked = other.unpack(io.BytesIO(pack(store)))
    assert unpacked.scopes == ("app", "other")
    assert tree(other.path) == tree(store.path)
    assert [each.last_used for each in other.usage().scopes] == [1_700_006_400] * 2
    assert not other.verify(full=True).damages


def test_the_same_content_gives_the_same_bytes(store: Store, tmp_path: Path) -> None:
    """The same scopes, saved in any order in another store, give the same bytes."""
    build(store, "app", b"one", b"two")
    build(store, "other", b"three")
    first = pack(store)
    assert pack(store) == first
    other = Store(tmp_path / "other")
    other.unpack(io.BytesIO(pack(store, "other")))
    other.unpack(io.BytesIO(pack(store, "app")))
    assert pack(other) == first


def test_a_build_without_changes_keeps_the_archive(store: Store) -> None:
    """Importing, or saving the same cache again within the day, does not change the archive."""
    build(store, "app", b"one", seconds={b"one": 2.0})
    (record,) = (store.path / ".bxcache" / "scopes").iterdir()
    os.utime(record, (1_700_000_000, 1_700_000_000))
    first = pack(store)
    document = json.loads(record.read_text())
    record.write_text(json.dumps({**document, "saved": document["saved"] - 50}))
    build(store, "app", b"one", donor="app")
    assert json.loads(record.read_text())["saved"] == document["saved"] - 50
    assert json.loads(record.read_text())["seconds"] == document["seconds"]
    record.write_text(json.dumps(document))
    os.utime(record, (1_700_006_399, 1_700_006_399))
    assert pack(store) == first


def test_only_the_chosen_scopes_are_packed(store: Store) -> None:
    """Packing some scopes includes everything that they need."""
    build(store, "app", b"one", b"two")
    build(store, "other", b"one", b"three")
    names = {name for name in members_of(pack(store, "other")) if name.startswith("blobs/")}
    assert len(names) == 4
    assert f"blobs/sha256/{digest_of(b'three')[7:]}" in names
    assert f"blobs/sha256/{digest_of(b'two')[7:]}" not in names
    with pytest.raises(StoreError, match="no scope `else`"):
        pack(store, "else")


def test_an_unpacked_archive_is_a_store(store: Store, tmp_path: Path) -> None:
    """An archive unpacked with `zstd -d | tar x` is a store with its records."""
    build(store, "app", b"one")
    for name, data in members_of(pack(store)).items():
        path = tmp_path / "by-hand" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    other = Store(tmp_path / "by-hand")
    other.check()
    assert other.read_scopes() == store.read_scopes()
    assert not other.verify(full=True).damages


def test_unpacking_adds_to_the_store(store: Store, tmp_path: Path) -> None:
    """Unpacking into a store with some of the blobs reports only the others as new."""
    build(store, "app", b"one", b"two")
    data = pack(store)
    other = Store(tmp_path / "other")
    build(other, "mine", b"one")
    unpacked = other.unpack(io.BytesIO(data))
    assert set(other.read_scopes()) == {"app", "mine"}
    assert unpacked.new_bytes == sum(
        len(content)
        for name, content in members_of(data).items()
        if name.startswith("blobs/") and content != b"one"
    )
    assert other.unpack(io.BytesIO(data)).new_bytes == 0


def test_a_later_scope_of_the_store_stays(store: Store, tmp_path: Path) -> None:
    """An old archive does not replace a later scope."""
    build(store, "app", b"old")
    data = pack(store)
    other = Store(tmp_path / "other")
    saved = build(other, "app", b"new")
    (record,) = (other.path / ".bxcache" / "scopes").iterdir()
    document = json.loads(record.read_text())
    record.write_text(json.dumps({**document, "saved": document["saved"] + 100}))
    unpacked = other.unpack(io.BytesIO(data))
    assert (unpacked.scopes, unpacked.kept) == ((), ("app",))
    assert other.read_scopes()["app"].digest == saved.digest


def test_a_broken_store_is_not_packed(store: Store) -> None:
    """Packing a broken store fails with advice."""
    build(store, "app", b"one")
    damage(blob_file(store.path, b"one"), "missing")
    with pytest.raises(StoreError, match="the scope `app` is broken") as caught:
        pack(store)
    assert "repair" in caught.value.hint


Members = dict[str, bytes]


def _named(name: str) -> str:
    return f"blobs/sha256/{name}"


def make_members(
    layers: Iterable[bytes] = (b"one",),
    *,
    scope: str = "app",
    manifest: dict[str, Any] | None = None,
    entry: dict[str, Any] | None = None,
) -> Members:
    """Make an archive's members by hand; `manifest` and `entry` replace parts."""
    layers = list(layers)
    config = make_config([layers])

    def describe(data: bytes, kind: str) -> dict[str, Any]:
        return {"mediaType": kind, "digest": digest_of(data), "size": len(data)}

    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": describe(config, CONFIG_TYPE),
        "layers": [describe(layer, LAYER_TYPE) for layer in layers],
        **(manifest or {}),
    }
    data = json.dumps(document).encode()
    named = {**describe(data, MANIFEST_TYPE), "annotations": {REF_NAME: scope}, **(entry or {})}
    index = {"schemaVersion": 2, "manifests": [named]}
    blobs = [data, config, *layers]
    return {
        "oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
        "index.json": json.dumps(index).encode(),
        **{_named(digest_of(blob)[7:]): blob for blob in blobs},
    }


def _descriptor(**fields: Any) -> dict[str, Any]:  # noqa: ANN401
    plain = {"mediaType": LAYER_TYPE, "digest": digest_of(b"one"), "size": 3}
    return {**plain, **fields}


def _with(name: str, data: bytes = b"x") -> Members:
    return {**make_members(), name: data}


def _without(data: bytes) -> Members:
    return {k: v for k, v in make_members().items() if k != _named(digest_of(data)[7:])}


def _changed() -> Members:
    return {k: b"eno" if v == b"one" else v for k, v in make_members().items()}


def _layers(*layers: dict[str, Any]) -> Members:
    return make_members(manifest={"layers": list(layers)})


def _two_of_a_name() -> Members:
    members = make_members()
    index = json.loads(members["index.json"])
    return {**members, "index.json": json.dumps({"manifests": index["manifests"] * 2}).encode()}


def _self_named() -> Members:
    """Make a manifest that lists its own digest, which therefore cannot match."""
    digest = "sha256:" + "5" * 64
    members = make_members(manifest={"layers": [_descriptor(digest=digest)]})
    manifest = next(v for k, v in members.items() if b'"layers"' in v and k != "index.json")
    index = json.loads(members["index.json"])
    index["manifests"][0] |= {"digest": digest}
    return {
        "index.json": json.dumps(index).encode(),
        _named("5" * 64): manifest,
    }


HOSTILE: dict[str, Callable[[], Members]] = {
    "a path upwards": lambda: _with("../../evil"),
    "a path upwards in the blobs": lambda: _with("blobs/sha256/../../../evil"),
    "an absolute path": lambda: _with("/etc/evil"),
    "a file of bxcache's own": lambda: _with(".bxcache/version", b"2"),
    "a staging layout": lambda: _with(".bxcache/staging/x.lock"),
    "a record of no scope": lambda: _with(".bxcache/scopes/evil@0123456789ab.json"),
    "a blob that nothing lists": lambda: _with(_named("0" * 64)),
    "a blob whose name is no digest": lambda: _with(_named("evil")),
    "a blob of another algorithm": lambda: _with("blobs/sha512/" + "0" * 128),
    "no index": lambda: {"oci-layout": b"{}"},
    "nothing": dict,
    "something before the index": lambda: {_named("0" * 64): b"x", **make_members()},
    "an index that is no index": lambda: {"index.json": b"{"},
    "an index of lists in lists": lambda: {"index.json": b"[" * 100_000},
    "an index of tables in tables": lambda: {
        "index.json": b'{"manifests":' * 50_000 + b"1" + b"}" * 50_000
    },
    "a name twice": _two_of_a_name,
    "a name that is no tag": lambda: make_members(scope="../evil"),
    "a name that is too long": lambda: make_members(scope="a" * 129),
    "a name with control characters": lambda: make_members(scope="a\x1b[2J"),
    "a digest that is none": lambda: make_members(entry={"digest": "sha256:evil"}),
    "a digest that is a path": lambda: make_members(entry={"digest": "../../../evil"}),
    "a digest in capitals": lambda: make_members(entry={"digest": "sha256:" + "A" * 64}),
    "a negative size": lambda: make_members(entry={"size": -1}),
    "a manifest of another size": lambda: make_members(entry={"size": 1}),
    "a manifest of petabytes": lambda: make_members(entry={"size": 1 << 55}),
    "a layer that is missing": lambda: _without(b"one"),
    "a config that is missing": lambda: _without(make_config([[b"one"]])),
    "a layer with other content": _changed,
    "a layer of another size": lambda: _layers(_descriptor(size=4)),
    "a layer of petabytes": lambda: _layers(_descriptor(digest=digest_of(b"big"), size=1 << 55)),
    "a layer with a size beyond reason": lambda: _layers(_descriptor(size=1 << 70)),
    "a layer listed with two sizes": lambda: _layers(_descriptor(), _descriptor(size=4)),
    "a layer of an unknown type": lambda: _layers(_descriptor(mediaType="text/html")),
    "a manifest of an unknown type": lambda: make_members(manifest={"mediaType": "text/html"}),
    "a manifest that names itself": _self_named,
    "an image instead of a cache": lambda: make_members(
        manifest={"config": _descriptor(mediaType="application/vnd.oci.image.config.v1+json")}
    ),
    "a manifest without a config": lambda: make_members(manifest={"config": None}),
    "a manifest that is a list": lambda: {**make_members(), "index.json": b"[]"},
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_archive_is_a_clear_error(case: str, tmp_path: Path) -> None:
    """A hostile archive is an error; the store is unchanged, and nothing is written elsewhere."""
    store = Store(tmp_path / "deep" / "store")
    build(store, "mine", b"one")
    before = tree(tmp_path)
    with pytest.raises(StoreError) as caught:
        store.unpack(io.BytesIO(archive(HOSTILE[case]())))
    assert len(str(caught.value)) < 1000
    assert str(caught.value).isprintable() or "\n" in str(caught.value)
    assert "\x1b" not in str(caught.value)
    assert tree(tmp_path) == before
    assert not Path("/etc/evil").exists()


def test_the_plain_archive_of_these_tests_is_accepted(store: Store) -> None:
    """The plain archive is accepted, so each hostile one is refused only for its own fault."""
    assert store.unpack(io.BytesIO(archive(make_members()))).scopes == ("app",)
    assert not store.verify(full=True).damages


def test_a_layer_may_be_listed_twice(store: Store) -> None:
    """BuildKit lists a layer once for each chain, which is accepted."""
    members = make_members(manifest={"layers": [_descriptor(), _descriptor()]})
    assert store.unpack(io.BytesIO(archive(members))).scopes == ("app",)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=80),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner),
    max_leaves=8,
)
KEYS = st.sampled_from(
    ["mediaType", "digest", "size", "annotations", "config", "layers", "manifests", REF_NAME]
)


@st.composite
def mutations(draw: st.DrawFn) -> Members:
    """Make a good archive with one changed document, and a matching digest and index."""
    change = draw(st.dictionaries(KEYS, JSON, min_size=1, max_size=2))
    where = draw(st.sampled_from(["manifest", "entry", "layer", "index", "config", "record"]))
    if where == "manifest":
        return make_members(manifest=change)
    if where == "entry":
        return make_members(entry=change)
    if where == "layer":
        return _layers(_descriptor(**change))
    members = make_members()
    if where == "index":
        index = {**json.loads(members["index.json"]), **change}
        return {**members, "index.json": json.dumps(index).encode()}
    if where == "config":
        return {**members, _named(digest_of(b"?")[7:]): json.dumps(change).encode()}
    name = f".bxcache/scopes/app@{digest_of(members['index.json'])[7:19]}.json"
    return {**members, name: json.dumps(change).encode()}


@settings(max_examples=100)
@given(mutations())
def test_a_changed_document_causes_an_error_or_a_whole_store(
    tmp_path_factory: pytest.TempPathFactory, members: Members
) -> None:
    """A changed document gives a good archive and a whole store, or an error and no change."""
    folder = tmp_path_factory.mktemp("fuzz")
    store = Store(folder / "store")
    build(store, "mine", b"mine")
    before = tree(folder)
    try:
        store.unpack(io.BytesIO(archive(members)))
    except StoreError:
        assert tree(folder) == before
    else:
        assert not store.verify(full=True).damages
        assert set(store.read_scopes()) >= {"mine"}
        assert blobs_of(store.path) >= {digest_of(b"mine")[7:]}


def date_page(path: Path, saved: float) -> None:
    """Set the time when a page's scope was saved and used."""
    (page,) = (path / ".bxcache" / "scopes").iterdir()
    page.write_text(json.dumps({**json.loads(page.read_text()), "saved": saved}))
    os.utime(page, (saved, saved))


@pytest.mark.parametrize("ahead", ["the archive's", "the store's"])
def test_a_clock_that_was_ahead_does_not_win_forever(
    store: Store, tmp_path: Path, ahead: str
) -> None:
    """A page whose clock was ahead is replaced by a later archive."""
    build(store, "app", b"ahead")
    date_page(store.path, time.time() + 400 * 86_400)
    other = store
    if ahead == "the archive's":
        other = Store(tmp_path / "other")
        other.unpack(io.BytesIO(pack(store)))
    sound = Store(tmp_path / "sound")
    later = build(sound, "app", b"sound").digest
    date_page(sound.path, time.time() + 60)
    assert other.unpack(io.BytesIO(pack(sound))).scopes == ("app",)
    assert other.read_scopes()["app"].digest == later


def test_a_scope_that_was_used_in_the_future_ages_from_now_on(store: Store) -> None:
    """The age of a scope with a last use in the future counts from now."""
    build(store, "app", b"ahead")
    date_page(store.path, time.time() + 400 * 86_400)
    store.collect(max_age=1000)
    (page,) = (store.path / ".bxcache" / "scopes").iterdir()
    assert page.stat().st_mtime <= time.time()
