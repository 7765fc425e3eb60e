"""Every operation that changes a store, with a store to run it on and its possible effects."""

from __future__ import annotations

import errno
import io
import multiprocessing
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NoReturn
from unittest import mock

from bxcache.store.staging import draw_name
from bxcache.store.store import Store
from tests.support.cuts import read_entries, read_needed
from tests.support.layouts import blob_file, blobs_of, build, damage, export

BIG = {name: name.encode() * 20_000 for name in "abcd"}
DAY = 86_400


@dataclass(frozen=True)
class Operation:
    """An operation that changes a store.

    Attributes:
        prepare: makes the store in an empty folder.
        run: performs it; running it twice has the same effect as once.
        changes: the scopes that it changes; all others stay unchanged.
        mends: the store is damaged until the operation has finished.
    """

    prepare: Callable[[Path], object]
    run: Callable[[Path], object]
    changes: frozenset[str] = frozenset()
    mends: bool = False


def make_store(path: Path) -> Store:
    """Make three scopes that share layers, with leftovers of an earlier build."""
    store = Store(path)
    build(store, "app", BIG["a"], b"early")
    build(store, "app", BIG["a"], BIG["b"], donor="app", seconds={BIG["a"]: 9.0, BIG["b"]: 8.0})
    build(store, "other", BIG["a"], BIG["c"], seconds={BIG["c"]: 0.5})
    build(store, "old", b"old", b"older")
    for record in (path / ".bxcache" / "scopes").glob("old@*"):
        then = time.time() - 9 * DAY
        os.utime(record, (then, then))
    return store


def _commit(path: Path) -> None:
    build(Store(path), "app", BIG["a"], b"new", donor="app")


def _commit_copied(path: Path) -> None:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise OSError(errno.EPERM, "Operation not permitted")

    with mock.patch.object(os, "link", refuse):
        _commit(path)


def _collect(path: Path) -> None:
    Store(path).collect(max_size=50_000, max_age=DAY)


def _make_broken(path: Path) -> None:
    make_store(path)
    damage(blob_file(path, BIG["c"]), "short")


def _start_build(path: Path) -> None:
    with Store(path).snapshot(draw_name(), ["other"]):
        pass


def _make_changed(path: Path) -> None:
    make_store(path)
    damage(blob_file(path, BIG["b"]), "changed")


def _make_torn(path: Path) -> None:
    make_store(path)
    (path / "index.json").write_bytes((path / "index.json").read_bytes()[:100])


def pack_archive(folder: Path) -> bytes:
    """Return a store with a later version of `app` and a scope `more`, packed as an archive."""
    store = Store(folder)
    build(store, "app", BIG["a"], b"packed")
    build(store, "more", b"more")
    target = io.BytesIO()
    store.pack(target)
    return target.getvalue()


def _make_with_archive(path: Path) -> None:
    (path.parent / "archive").write_bytes(pack_archive(path.parent / "packed"))
    make_store(path)
    for record in (path / ".bxcache" / "scopes").glob("app@*"):
        text = record.read_text()
        record.write_text(text.replace('"saved":1', '"saved":0.1'))


def _unpack(path: Path) -> None:
    with (path.parent / "archive").open("rb") as source:
        Store(path).unpack(source)


def _make_foreign(path: Path) -> None:
    path.mkdir()
    export(path, "latest", b"base", b"old")
    export(path, "latest", b"base", b"new")
    export(path, "next", b"base", b"next")
    (path / "ingest" / "x").mkdir(parents=True)
    (path / "ingest" / "x" / "data").write_bytes(b"part")


def _remember(path: Path) -> None:
    store = Store(path)
    store.add_record("app", b'{"version":1,"of":"the last build"}\n')
    # Wherever a run was cut off before, each line is complete, and the last one exists.
    assert store.read_records("app")[-1].startswith(b'{"version":1,')
    assert all(line.endswith(b"}\n") for line in store.read_records("app"))


def _make_remembered(path: Path) -> None:
    store = make_store(path)
    for number in range(3):
        store.add_record("app", b'{"version":1,"of":%d}\n' % number)


def _remove(path: Path) -> None:
    store = Store(path)
    if "old" in store.read_scopes():
        store.remove("old")


OPERATIONS = {
    "the first commit": Operation(
        lambda _: None,
        _first := lambda path: build(Store(path), "app", b"one", b"two"),
        frozenset({"app"}),
    ),
    "a commit": Operation(make_store, _commit, frozenset({"app"})),
    "a commit that copies": Operation(make_store, _commit_copied, frozenset({"app"})),
    "a collection": Operation(make_store, _collect, frozenset({"app", "other", "old"})),
    "a build that mends": Operation(_make_broken, _start_build, frozenset({"other"}), mends=True),
    "a repair": Operation(
        _make_changed, lambda path: Store(path).repair(full=True), frozenset({"app"}), mends=True
    ),
    "a recovery of the index": Operation(
        _make_torn, lambda path: Store(path).collect(), mends=True
    ),
    "an unpacking": Operation(_make_with_archive, _unpack, frozenset({"app", "more"})),
    "an adoption": Operation(_make_foreign, lambda path: Store(path).adopt()),
    "a record": Operation(_make_remembered, _remember),
    "a removal": Operation(make_store, _remove, frozenset({"old"})),
    "a packing": Operation(make_store, lambda path: Store(path).pack(io.BytesIO())),
}


def check_usable(path: Path) -> None:
    """Check that the store is valid, each scope can be imported whole, and nothing is left over."""
    store = Store(path)
    store.check()
    assert not store.verify(full=True).damages
    needed = read_needed(path)
    used = {each: each.stat().st_mtime for each in (path / ".bxcache" / "scopes").glob("*")}
    with store.snapshot(draw_name()):
        pass
    for scope, blobs in needed.items():
        with store.snapshot(draw_name(), [scope]) as staging:
            assert not staging.notes
            assert staging.donors
            assert blobs_of(staging.path) == blobs
    assert list_left(path) == []
    for record, then in used.items():
        if record.exists():
            os.utime(record, (then, then))


def check_clean(path: Path) -> None:
    """Check that a collection leaves only the live set and one record per scope."""
    before = read_entries(path)
    Store(path).collect()
    assert read_entries(path) == before
    assert blobs_of(path) == set().union(*read_needed(path).values())
    records = [each.name.partition("@")[0] for each in (path / ".bxcache" / "scopes").iterdir()]
    assert sorted(records) == sorted(before)
    assert list_left(path) == []
    assert not list(path.rglob("*.tmp"))


def leave_staging(store: Store, name: str) -> None:
    """Leave a staging layout behind, as a killed build does."""

    def begin() -> None:
        with store.snapshot(name) as staging:
            export(staging.path, "app", b"one")
            os._exit(0)

    process = multiprocessing.get_context("fork").Process(target=begin)
    process.start()
    process.join(30)
    assert (store.staging_path(name) / "index.json").exists()


def list_left(path: Path) -> list[str]:
    """List the existing staging layouts and their locks."""
    folder = path / ".bxcache" / "staging"
    return sorted(each.name for each in folder.iterdir()) if folder.exists() else []


def copy_store(folder: Path, name: str) -> Path:
    """Copy the store `before` to this name, replacing any previous copy."""
    shutil.rmtree(folder / name, ignore_errors=True)
    if (folder / "before").exists():
        shutil.copytree(folder / "before", folder / name, symlinks=True)
    return folder / name


@contextmanager
def quick_folder(otherwise: Path) -> Iterator[Path]:
    """Make an empty folder in memory if possible, where syncing costs nothing."""
    memory = Path("/dev/shm")
    usable = memory.is_dir() and os.access(memory, os.W_OK)
    with TemporaryDirectory(dir=memory if usable else otherwise) as name:
        yield Path(name)
