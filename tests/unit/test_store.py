"""Tests of the local store, with injected faults, on layouts written by hand to the OCI format."""

from __future__ import annotations

import errno
import hashlib
import json
import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from bxcache.errors import StoreError
from bxcache.store.folders import Folder
from bxcache.store.locks import claim_lock
from bxcache.store.staging import draw_name
from bxcache.store.store import Store
from tests.support.layouts import (
    REF_NAME,
    blob_file,
    blobs_of,
    build,
    digest_of,
    export,
)
from tests.support.operations import leave_staging


@pytest.mark.parametrize("as_index", [False, True])
def test_a_commit_makes_a_valid_layout(store: Store, as_index: bool) -> None:  # noqa: FBT001
    """A commit leaves `oci-layout`, an index with the scope, and each blob under its digest."""
    saved = build(store, "app", b"one", b"two", as_index=as_index)
    assert json.loads((store.path / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    index = json.loads((store.path / "index.json").read_text())
    assert index["schemaVersion"] == 2
    assert [(m["digest"], m["annotations"][REF_NAME]) for m in index["manifests"]] == [
        (saved.digest, "app")
    ]
    for name in blobs_of(store.path):
        data = (store.path / "blobs" / "sha256" / name).read_bytes()
        assert hashlib.sha256(data).hexdigest() == name
    assert saved.layers == 2


def test_sizes_count_each_blob_once(store: Store) -> None:
    """A layer that BuildKit lists several times is counted once."""
    saved = build(store, "app", b"one", b"one", b"three")
    on_disk = sum(path.stat().st_size for path in (store.path / "blobs" / "sha256").iterdir())
    assert saved.bytes == saved.new_bytes == on_disk
    assert saved.layers == 2


def test_scopes_are_kept_side_by_side(store: Store) -> None:
    """Scopes are kept side by side and share common blobs."""
    one = build(store, "one", b"shared", b"1")
    other = build(store, "other", b"shared", b"2")
    assert {name: entry.digest for name, entry in store.read_scopes().items()} == {
        "one": one.digest,
        "other": other.digest,
    }
    assert other.new_bytes == other.bytes - len(b"shared")


def test_saving_the_same_cache_again_changes_nothing(store: Store) -> None:
    """Committing the same cache again does not even rewrite the index."""
    first = build(store, "app", b"one")
    before = (store.path / "index.json").stat()
    again = build(store, "app", b"one", donor="app")
    assert (again.digest, again.unchanged, again.new_bytes) == (first.digest, True, 0)
    assert (store.path / "index.json").stat().st_ino == before.st_ino


def test_a_donor_is_linked_and_not_copied(store: Store) -> None:
    """The staging layout has exactly the donor's blobs, as hard links."""
    saved = build(store, "app", b"one", b"two")
    build(store, "other", b"three")
    with store.snapshot(draw_name(), ["app"]) as staging:
        assert staging.donors
        assert staging.donors[0].digest == saved.digest
        names = blobs_of(staging.path)
        assert len(names) == 4
        for name in names:
            path = Path("blobs") / "sha256" / name
            assert (staging.path / path).samefile(store.path / path)


def test_without_hard_links_blobs_are_copied(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a file system without hard links, blobs are copied read-only."""

    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    build(store, "app", b"one")
    monkeypatch.setattr(Path, "hardlink_to", refuse)
    with store.snapshot(draw_name(), ["app"]) as staging:
        assert len(blobs_of(staging.path)) == 3
    saved = build(store, "app", b"one", b"two", donor="app")
    assert saved.new_bytes > 0
    assert {
        path.stat().st_mode & 0o777 for path in (store.path / "blobs" / "sha256").iterdir()
    } == {0o444}


def test_staging_is_removed_at_the_end(store: Store) -> None:
    """The staging layout is removed at the end, even of a failed build."""

    def names() -> list[str]:
        return sorted(path.name for path in (store.path / ".bxcache" / "staging").iterdir())

    build(store, "app", b"one")
    assert names() == []
    with pytest.raises(RuntimeError), store.snapshot(draw_name(), ["app"]):
        raise RuntimeError
    assert names() == []


def test_only_staging_without_a_lock_is_removed(store: Store) -> None:
    """Only staging layouts without a held lock are removed."""
    alive, dead, again, other = (draw_name() for _ in range(4))
    leave_staging(store, dead)
    with store.snapshot(alive) as first:
        assert first.swept == (dead,)
        leave_staging(store, again)
        with store.snapshot(other) as second:
            assert second.swept == (again,)
            folder = store.path / ".bxcache" / "staging"
            kept = {alive, f"{alive}.lock", other, f"{other}.lock"}
            assert {path.name for path in folder.iterdir()} == kept


def test_an_incomplete_commit_changes_nothing(store: Store) -> None:
    """An export with a missing or short blob changes nothing."""
    first = build(store, "app", b"one")
    for damage in ("missing", "short"):
        with store.snapshot(draw_name(), ["app"]) as staging:
            digest = export(staging.path, "app", b"one", b"two")
            victim = blob_file(staging.path, b"two")
            victim.unlink()
            if damage == "short":
                victim.write_bytes(b"t")
            with pytest.raises(StoreError, match="incomplete"):
                store.commit(staging, "app", digest)
        assert store.read_scopes()["app"].digest == first.digest


def test_a_missing_export_is_an_error(store: Store) -> None:
    """A missing export is an error and leaves the scope unchanged."""
    first = build(store, "app", b"one")
    with (
        store.snapshot(draw_name(), ["app"]) as staging,
        pytest.raises(StoreError, match="did not export"),
    ):
        store.commit(staging, "app", None)
    assert store.read_scopes()["app"].digest == first.digest


def test_the_exported_digest_precedes_the_index(store: Store) -> None:
    """The reported digest takes precedence over the index, which may have another export's."""
    with store.snapshot(draw_name()) as staging:
        digest = export(staging.path, "app", b"one")
        index = json.loads((staging.path / "index.json").read_text())
        index["manifests"][0] |= {"digest": "sha256:" + "0" * 64, "size": 7}
        (staging.path / "index.json").write_text(json.dumps(index))
        assert store.commit(staging, "app", digest).digest == digest
    assert store.read_scopes()["app"].digest == digest


@pytest.mark.parametrize("point", ["write", "replace", "sync"])
def test_an_interrupted_commit_leaves_the_old_scope(
    store: Store, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit that dies in any system call leaves the old scope."""
    first = build(store, "app", b"one")

    def cut(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    targets: dict[str, tuple[object, str]] = {
        "write": (os, "fsync"),
        "replace": (os, "replace"),
        "sync": (Folder, "sync"),
    }
    with store.snapshot(draw_name(), ["app"]) as staging:
        digest = export(staging.path, "app", b"one", b"two")
        with monkeypatch.context() as patch:
            patch.setattr(*targets[point], cut)
            with pytest.raises(KeyboardInterrupt):
                store.commit(staging, "app", digest)
    scopes = Store(store.path).read_scopes()
    whole = {first.digest} if point != "sync" else {first.digest, digest}
    assert scopes["app"].digest in whole
    assert not [path for path in store.path.iterdir() if path.name.endswith(".tmp")]
    assert build(store, "app", b"one", donor="app").digest == first.digest


def test_a_full_disk_is_a_clear_error(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk gives one error and leaves the old scope."""
    first = build(store, "app", b"one")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with store.snapshot(draw_name(), ["app"]) as staging:
        digest = export(staging.path, "app", b"one", b"two")
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(StoreError, match="No space left on device"):
                store.commit(staging, "app", digest)
    assert store.read_scopes()["app"].digest == first.digest


def test_unknown_keys_of_an_index_are_kept(store: Store) -> None:
    """Foreign annotations and unknown keys of an index are kept."""
    build(store, "app", b"one")
    index = json.loads((store.path / "index.json").read_text())
    index["annotations"] = {"x": "y"}
    index["manifests"][0]["artifactType"] = "z"
    (store.path / "index.json").write_text(json.dumps(index))
    build(store, "other", b"two")
    after = json.loads((store.path / "index.json").read_text())
    assert after["annotations"] == {"x": "y"}
    assert after["manifests"][0]["artifactType"] == "z"
    assert len(after["manifests"]) == 2


def _commit_some(path: str, number: int) -> None:
    for turn in range(5):
        build(Store(Path(path)), f"scope-{number}", b"shared", f"{number}.{turn}".encode())


def test_many_processes_share_a_store(store: Store) -> None:
    """Many processes can save at once, and each one's scope is whole in the end."""
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_commit_some, args=(str(store.path), n)) for n in range(6)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 6
    assert set(store.read_scopes()) == {f"scope-{number}" for number in range(6)}
    for number in range(6):
        with store.snapshot(draw_name(), [f"scope-{number}"]) as staging:
            assert not staging.notes
            assert staging.donors


def test_a_check_writes_nothing(tmp_path: Path) -> None:
    """A check does not write, not even the directory."""
    Store(tmp_path / "a" / "b").check()
    assert not list(tmp_path.iterdir())


def test_a_store_that_is_a_file_is_refused(tmp_path: Path) -> None:
    """A file in the place of the store or above it is refused."""
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="is not a directory"):
        Store(tmp_path / "file").check()
    with pytest.raises(StoreError, match="is not a directory"):
        Store(tmp_path / "file" / "below").check()


def test_a_directory_with_other_content_is_refused(tmp_path: Path) -> None:
    """A directory with other content is refused, and nothing is written to it."""
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(StoreError, match=r"is not a bxcache store: it contains `thesis.txt`"):
        Store(tmp_path).check()


@pytest.mark.parametrize("step", ["exists", "iterdir"])
def test_a_store_that_another_build_creates_is_accepted(
    tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that another build creates during the check is accepted."""
    directory, asked = tmp_path / "cache", getattr(Path, step)
    directory.mkdir()

    def make_before(path: Path) -> object:
        monkeypatch.undo()
        build(Store(directory), "app", b"one")
        return asked(path)

    monkeypatch.setattr(Path, step, make_before)
    Store(directory).check()
    assert list(Store(directory).read_scopes()) == ["app"]


def test_builds_can_create_a_store_at_once(tmp_path: Path) -> None:
    """Builds that create a store at once do not refuse each other's files."""
    for number in range(40):
        directory, begin = tmp_path / str(number), Barrier(4)

        def use(scope: str, directory: Path = directory, begin: Barrier = begin) -> None:
            begin.wait()
            store = Store(directory)
            store.check()
            build(store, scope, b"one")

        scopes = ["api", "docs", "web", "worker"]
        with ThreadPoolExecutor(len(scopes)) as pool:
            list(pool.map(use, scopes))
        assert sorted(Store(directory).read_scopes()) == scopes


def test_the_root_of_a_volume_is_accepted(tmp_path: Path) -> None:
    """The file system's own folder in a volume's root is ignored."""
    (tmp_path / "lost+found").mkdir()
    Store(tmp_path).check()
    assert build(Store(tmp_path), "app", b"one").layers == 1


def test_git_ignores_a_store(store: Store) -> None:
    """git ignores a store anywhere in a work tree."""
    build(store, "app", b"one")
    assert (store.path / ".gitignore").read_text() == "*\n"


def test_a_store_of_a_later_version_is_refused(store: Store) -> None:
    """A store of a later version is refused."""
    build(store, "app", b"one")
    (store.path / ".bxcache" / "version").write_text("2\n")
    with pytest.raises(StoreError, match="has version `2`"):
        store.check()


def ask_as_nobody(store: Store, question: Callable[[], str]) -> str:
    """Return the result as another user, since root may do everything."""
    for folder in store.path.parents:
        if folder.stat().st_mode & 0o077 == 0:
            folder.chmod(0o755)
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()

    def ask() -> None:
        os.setuid(65534)
        try:
            queue.put(question())
        except StoreError as error:
            queue.put(f"refused: {error.message}")

    process = context.Process(target=ask)
    process.start()
    process.join(30)
    answer: str = queue.get()
    return answer


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


@needs_root
def test_an_unreadable_store_is_refused(store: Store) -> None:
    """A store that the user may not read is refused, and the error names the owner."""
    build(store, "app", b"one")
    store.path.chmod(0o700)

    def check() -> str:
        store.check()
        return "accepted"

    answer = ask_as_nobody(store, check)
    assert answer.startswith("refused: ")
    assert "no permission" in answer
    assert "owner: user id 0" in answer


@needs_root
def test_a_read_only_store_is_read(store: Store) -> None:
    """A store that is not writable can be read, but not changed."""
    saved = build(store, "app", b"one")

    def look() -> str:
        store.check()
        assert "no permission to read and write" in (store.find_denied() or "")
        found = store.find_whole(["else", "app"])
        return found.digest if found else ""

    assert ask_as_nobody(store, look) == saved.digest
    assert ask_as_nobody(store, lambda: str(store.collect())).startswith("refused: ")


def test_only_a_whole_scope_is_read_in_place(store: Store) -> None:
    """Only a whole scope is imported in place: BuildKit would fail on a broken one."""
    build(store, "app", b"one")
    other = build(store, "other", b"two")
    blob_file(store.path, b"one").unlink()
    found = store.find_whole(["app", "other"])
    assert found is not None
    assert found.digest == other.digest
    assert store.find_whole(["app"]) is None


def test_a_lock_has_one_holder(tmp_path: Path) -> None:
    """A second process cannot take a held lock, and the attempt returns at once."""
    folder = Folder(tmp_path)
    first = claim_lock(folder, "a", make=True)
    assert first is not None
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    process = context.Process(target=lambda: queue.put(claim_lock(folder, "a") is None))
    process.start()
    process.join(30)
    assert queue.get()


def test_only_sound_layers_are_saved(store: Store) -> None:
    """Layers above an unsound one are left out, unless a sound chain has them, too."""
    with store.snapshot(draw_name()) as staging:
        chains = [(b"bad", b"both"), (b"bad", b"above"), (b"good", b"both")]
        digest = export(staging.path, "app", b"good", b"top", chains=chains)
        sound = {digest_of(each) for each in (b"good", b"top", b"both", b"above")}
        saved = store.commit(staging, "app", digest, sound=sound)
    kept = {digest_of(each) for each in (b"good", b"top", b"both")}
    assert saved.contents == kept
    [entry] = json.loads((store.path / "index.json").read_text())["manifests"]
    manifest = json.loads((store.path / "blobs" / "sha256" / entry["digest"][7:]).read_text())
    assert {each["digest"] for each in manifest["layers"]} == kept
    assert not blob_file(store.path, b"bad").exists()
    assert not blob_file(store.path, b"above").exists()
    assert store.verify(full=True).broken == {}
