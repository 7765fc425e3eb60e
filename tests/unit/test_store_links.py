"""Tests that nothing outside of a store changes, whatever it contains or receives meanwhile."""

from __future__ import annotations

import io
import os
import shutil
import signal
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import pytest

from bxcache.errors import StoreError
from bxcache.store.staging import draw_name
from bxcache.store.store import Store
from tests.support.layouts import blob_file, build, export
from tests.support.operations import leave_staging, quick_folder

LINE = b'{"version":1}\n'
LEFT = ".bxcache/staging/0123456789ab"
LONGEST = 20


def make_archive(folder: Path) -> bytes:
    store = Store(folder)
    build(store, "app", b"one", b"packed")
    store.add_record("app", LINE)
    target = io.BytesIO()
    store.pack(target)
    return target.getvalue()


def save(store: Store) -> None:
    """Save a build that exports twice, without docker, which would follow links in its path."""
    with store.snapshot(draw_name(), ["app", "other"], every=True) as staging:
        opened = Path(f"/proc/self/fd/{staging.folder.handle}")
        export(opened, "app", b"one")
        staging.empty()
        digest = export(opened, "app", b"one", b"five")
        staging.layout.remove_ingest()
        store.commit(staging, "app", digest)


METHODS: dict[str, Callable[[Store, bytes], object]] = {
    "check": lambda store, _: store.check(),
    "find_denied": lambda store, _: store.find_denied(),
    "find_whole": lambda store, _: store.find_whole(["app"]),
    "exists": lambda store, _: store.exists(),
    "read_scopes": lambda store, _: store.read_scopes(),
    "staging_path": lambda store, _: store.staging_path(draw_name()),
    "read_state": lambda store, _: store.read_state("app"),
    "renew": lambda store, _: store.renew("app", store.read_scopes()["app"].digest, "state"),
    "read_records": lambda store, _: store.read_records("app"),
    "read_last_records": lambda store, _: store.read_last_records(["app"]),
    "list_last_builds": lambda store, _: store.list_last_builds(["app"]),
    "usage": lambda store, _: store.usage(),
    "verify": lambda store, _: store.verify(full=True),
    "pack": lambda store, _: store.pack(io.BytesIO()),
    "snapshot": lambda store, _: store.snapshot(draw_name(), ["app"]).__enter__(),
    "commit": lambda store, _: save(store),
    "add_record": lambda store, _: store.add_record("app", LINE),
    "unpack": lambda store, archive: store.unpack(io.BytesIO(archive)),
    "collect": lambda store, _: store.collect(max_size=1500, max_age=1000),
    "repair": lambda store, _: store.repair(full=True),
    "remove": lambda store, _: store.remove("other"),
    "adopt": lambda store, _: store.adopt(),
}
CHANGING = [
    *("commit", "renew", "add_record", "unpack", "collect", "repair", "remove", "adopt", "pack"),
]
FOLDERS = [
    *(".bxcache", ".bxcache/staging", LEFT, f"{LEFT}/blobs", ".bxcache/scopes"),
    *(".bxcache/records", "blobs", "blobs/sha256", "ingest", "ingest/part"),
]
PLANTS = ["folder", "file", "nothing", "itself", "pipe", "a full folder"]


def make_store(path: Path) -> None:
    """Make a store with an entry of every kind, including the leftovers of a killed build."""
    store = Store(path)
    build(store, "app", b"one", b"two", chains=[(b"one", b"three")])
    build(store, "other", b"one", b"four")
    store.add_record("app", LINE)
    leave_staging(store, Path(LEFT).name)
    (path / "ingest" / "part").mkdir(parents=True)
    (path / "ingest" / "part" / "data").write_bytes(b"part")
    for name in (".index.json.7.tmp", ".bxcache/.version.7.tmp", "index.json.damaged"):
        (path / name).touch()
    blob_file(path, b"dead").write_bytes(b"dead")


def list_places() -> list[str]:
    """List every entry of this store, with digests replaced."""
    files = ["version", "lock", "holder", "reserve", ".version.7.tmp", "records/app.jsonl"]
    layout = ["index.json", "oci-layout", "CACHEDIR.TAG", ".gitignore", "index.json.damaged"]
    left = [f"{LEFT}.lock", f"{LEFT}/index.json", f"{LEFT}/oci-layout", f"{LEFT}/blobs/sha256"]
    blobs = ["page", "manifest", "layer", "dead blob", ".index.json.7.tmp", "ingest/part/data"]
    return [*FOLDERS, *(f".bxcache/{each}" for each in files), *layout, *left, *blobs]


def find_place(path: Path, place: str) -> Path:
    """Return the path of an entry."""
    if place == "page":
        return next((path / ".bxcache" / "scopes").glob("app@*"))
    if place == "manifest":
        return path / "blobs" / "sha256" / Store(path).read_scopes()["app"].digest[7:]
    if place in ("layer", "dead blob"):
        return blob_file(path, b"one" if place == "layer" else b"dead")
    return path / place


def plant(path: Path, how: str, twin: Path, file: Path) -> None:
    """Replace an entry; `twin` is the entry in another store."""
    remove(path)
    if how == "pipe":
        os.mkfifo(path)
    elif how == "a full folder":
        (path / "of somebody").mkdir(parents=True)
    else:
        folder = twin if twin.is_dir() else file.parent
        target = {"folder": folder, "file": file, "nothing": file.parent / "none", "itself": path}
        path.symlink_to(target[how])


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def describe(folder: Path) -> dict[str, tuple[object, ...]]:
    """Return the status of every file in a tree; the change time reveals new links and modes."""
    found: dict[str, tuple[object, ...]] = {}
    for path in [folder, *folder.rglob("*")]:
        status = path.lstat()
        data = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
        found[str(path)] = (status.st_mode, status.st_mtime_ns, status.st_ctime_ns, data)
    return found


class Scene:
    """Stores to try operations on, and an outside twin that must not change."""

    def __init__(self, folder: Path) -> None:
        self.archive = make_archive(folder / "packed")
        self.twin = folder / "outside" / "twin"
        self.file = folder / "outside" / "file"
        self.file.parent.mkdir()
        self.file.write_bytes(b"one")
        self.path = folder / "store"
        make_store(self.twin)
        self.outside = describe(folder / "outside")

    def make(self) -> Store:
        """Create a store like the twin."""
        shutil.rmtree(self.path, ignore_errors=True)
        shutil.copytree(self.twin, self.path, symlinks=True)
        return Store(self.path)

    def check(self, what: object) -> None:
        """Check that nothing outside has changed."""
        assert describe(self.file.parent) == self.outside, what

    def run(self, store: Store, method: str) -> None:
        """Run a method, which may only raise a StoreError, in time."""
        signal.alarm(LONGEST)
        try:
            with suppress(StoreError):
                METHODS[method](store, self.archive)
        finally:
            signal.alarm(0)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    def stop(*_: object) -> NoReturn:
        pytest.fail("it waits")

    before = signal.signal(signal.SIGALRM, stop)
    with quick_folder(tmp_path_factory.mktemp("links")) as folder:
        yield Scene(folder)
    signal.signal(signal.SIGALRM, before)


def test_every_method_is_tried() -> None:
    """Every public method of the class is tried."""
    assert METHODS.keys() == {name for name in vars(Store) if not name.startswith("_")}


def test_every_kind_of_entry_is_tried(scene: Scene) -> None:
    """Every kind of entry in a store, besides blobs, is tried."""
    tried = {find_place(scene.twin, place) for place in list_places()}
    blobs = ("blobs/sha256", f"{LEFT}/blobs/sha256")
    for path in scene.twin.rglob("*"):
        similar = path.match("scopes/*") or str(path.parent.relative_to(scene.twin)) in blobs
        assert similar or path in tried, path


@pytest.mark.parametrize("how", PLANTS)
@pytest.mark.parametrize("place", list_places())
def test_nothing_outside_of_a_store_changes(scene: Scene, place: str, how: str) -> None:
    """With any entry replaced in any way, a method ends or raises a StoreError."""
    store = scene.make()
    path, twin = find_place(scene.path, place), find_place(scene.twin, place)
    plant(path, how, twin, scene.file)
    planted = path.lstat().st_ino
    for method in METHODS:
        if not path.parent.exists() or not os.path.lexists(path) or path.lstat().st_ino != planted:
            scene.make()
            plant(path, how, twin, scene.file)
            planted = path.lstat().st_ino
        scene.run(store, method)
    scene.check(how)
    if how == "a full folder" and os.path.lexists(path):
        assert (path / "of somebody").is_dir() or place in ("ingest", LEFT)


class Swap:
    """Replaces a folder with a link right before a system call."""

    def __init__(self) -> None:
        self.left = -1
        self.seen = 0
        self.act: Callable[[], None] = lambda: None
        # A hook cannot be removed: https://peps.python.org/pep-0578/
        sys.addaudithook(self._hear)

    def _hear(self, event: str, _: object) -> None:
        if self.left < 0 or not (event == "open" or event.startswith("os.")):
            return
        self.seen += 1
        self.left -= 1
        if self.left < 0:
            self.act()

    def run(self, operation: Callable[[], None], at: int, act: Callable[[], None]) -> int:
        """Run an operation with `act` before system call `at`, and return the number of calls."""
        self.seen, self.act, self.left = 0, act, at
        try:
            operation()
        finally:
            self.left = -1
        return self.seen


SWAP = Swap()
SWAPS = 8


@pytest.mark.parametrize("method", CHANGING)
@pytest.mark.parametrize("place", [*FOLDERS, f"{LEFT}/blobs/sha256"])
def test_nothing_outside_changes_when_a_folder_is_swapped_meanwhile(
    scene: Scene, place: str, method: str
) -> None:
    """A link to another store's folder, placed between any two calls, is not followed."""

    def swap() -> None:
        if os.path.lexists(scene.path / place):
            (scene.path / place).rename(scene.path.parent / "aside")
            (scene.path / place).symlink_to(scene.twin / place)

    store = scene.make()
    calls = SWAP.run(lambda: scene.run(store, method), sys.maxsize, lambda: None)
    assert calls > SWAPS
    for at in range(0, calls, max(calls // SWAPS, 1)):
        store = scene.make()
        shutil.rmtree(scene.path.parent / "aside", ignore_errors=True)
        SWAP.run(lambda store=store: scene.run(store, method), at, swap)  # type: ignore[misc]
        scene.check(at)


def test_a_foreign_folder_among_the_staging_layouts_stays(scene: Scene) -> None:
    """Only a folder with a valid name, a lock and a layout is removed as a killed build's."""
    store = scene.make()
    staging = scene.path / ".bxcache" / "staging"
    kept = ["thesis", "0123456789", "abcdefabcdef", "cafecafecafe"]
    for name in kept:
        (staging / name / "blobs").mkdir(parents=True)
        (staging / name / "thesis.txt").write_text("mine")
    shutil.copy(scene.path / f"{LEFT}.lock", staging / "cafecafecafe.lock")
    store.collect()
    assert not (scene.path / LEFT).exists()
    assert all((staging / name / "thesis.txt").read_text() == "mine" for name in kept)


def test_the_path_of_a_store_may_be_a_link(scene: Scene) -> None:
    """The store's own path, which the user chose, may be a link."""
    scene.make()
    link = scene.path.parent / "link"
    link.symlink_to(scene.path)
    assert build(Store(link), "app", b"one", b"six", donor="app").layers == 2
    assert not Store(link).verify(full=True).damages
