"""Tests of stores shared by the users of a group, or by machines that do not share locks."""

from __future__ import annotations

import errno
import logging
import multiprocessing
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from bxcache.errors import StoreError
from bxcache.store import staging as staging_module
from bxcache.store.staging import draw_name
from bxcache.store.store import Store
from tests.support.cuts import read_entries, read_needed
from tests.support.layouts import build
from tests.support.operations import leave_staging, list_left

GROUP, FIRST, SECOND = 47_110, 47_111, 47_112
HOURS = 3600.0
LINE = b'{"version":1}\n'

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


@pytest.fixture
def shared() -> Iterator[Path]:
    """A directory for a group, as an administrator creates it."""
    with TemporaryDirectory(prefix="bxcache-") as name:
        Path(name).chmod(0o755)
        path = Path(name) / "shared"
        path.mkdir()
        os.chown(path, 0, GROUP)
        path.chmod(0o2775)
        yield path


def run_as(user: int, action: Callable[[], object], umask: int = 0o002) -> str:
    """Run an action as a user of the group, and return the error or an empty string."""
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()

    def act() -> None:
        os.setgroups([GROUP])
        os.setgid(user)
        os.setuid(user)
        os.umask(umask)
        try:
            action()
        except (OSError, StoreError) as error:
            queue.put(str(error))
        else:
            queue.put("")

    process = context.Process(target=act)
    process.start()
    process.join(30)
    return "it ended by itself" if queue.empty() else str(queue.get())


@needs_root
@pytest.mark.parametrize("umask", [0o002, 0o022])
def test_a_group_shares_a_store(shared: Path, umask: int) -> None:
    """Each user of a group saves, records, collects and removes what others created."""
    store = Store(shared)

    def use(layer: bytes) -> None:
        build(store, "app", b"one", layer, donor="app")
        build(store, layer.decode(), b"one", layer)
        store.add_record("app", LINE)
        store.repair(full=True)
        store.collect(max_size=10_000, max_age=1000)

    for user, layer in ((FIRST, b"first"), (SECOND, b"second"), (FIRST, b"third")):
        assert run_as(user, lambda layer=layer: use(layer), umask) == ""  # type: ignore[misc]
    assert run_as(SECOND, lambda: store.remove("first"), umask) == ""
    assert read_needed(shared).keys() == {"app", "second", "third"}
    for folder in [each for each in shared.rglob("*") if each.is_dir()]:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o2775, folder
        assert folder.stat().st_gid == GROUP


@needs_root
def test_leftovers_of_another_user_of_a_group_are_removed(shared: Path) -> None:
    """Another user's build removes a killed build's layout."""
    store = Store(shared)
    assert run_as(FIRST, lambda: leave_staging(store, draw_name())) == ""
    assert len(list_left(shared)) == 2
    assert run_as(SECOND, store.collect) == ""
    assert list_left(shared) == []


@pytest.mark.parametrize(("root", "file"), [(0o755, 0o644), (0o700, 0o600), (0o2770, 0o660)])
def test_modes_follow_the_folder_of_the_store(tmp_path: Path, root: int, file: int) -> None:
    """New files get the folder's group permissions, as in git's `core.sharedRepository`."""
    path = tmp_path / "store"
    path.mkdir()
    path.chmod(root)
    store = Store(path)
    build(store, "app", b"one")
    store.add_record("app", LINE)
    for each in path.rglob("*"):
        mode = stat.S_IMODE(each.stat().st_mode)
        expected = root if each.is_dir() else 0o444 if "sha256" in each.parts else file
        assert mode == expected & ~(0o022 if each.name == "lock" else 0), each


@needs_root
def test_an_error_names_the_file(shared: Path) -> None:
    """A permission error names the file, not only the store."""
    store = Store(shared)
    build(store, "app", b"one")
    records = shared / ".bxcache" / "records"
    records.chmod(0o755)
    error = run_as(SECOND, lambda: store.add_record("app", LINE))
    assert f"Permission denied: `{records}/app.jsonl`" in error


def test_a_page_that_cannot_be_touched_is_not_an_error(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page that cannot be touched stops neither an import nor a save."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    build(store, "app", b"one")
    monkeypatch.setattr(os, "utime", refuse)
    assert build(store, "app", b"one", b"two", donor="app").layers == 2
    assert not store.collect(max_age=1000).dropped


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP])
def test_folders_that_cannot_be_synced_are_used(
    store: Store, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """File systems without fsync for folders (https://bugs.python.org/issue39917) are usable."""
    sync = os.fsync

    def refuse(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(code, os.strerror(code))
        sync(handle)

    monkeypatch.setattr(os, "fsync", refuse)
    build(store, "app", b"one")
    assert not store.verify(full=True).damages


def age(path: Path, seconds: float) -> None:
    """Set a killed build's last change back in time."""
    folder = path / ".bxcache" / "staging"
    for each in folder.rglob("*"):
        then = each.stat().st_mtime - seconds
        os.utime(each, (then, then))


@pytest.mark.parametrize(("hours", "left"), [(0, True), (20, True), (25, False)])
def test_a_layout_of_another_machine_stays_for_a_day(
    store: Store,
    hours: int,
    left: bool,  # noqa: FBT001  # what is expected
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A layout of another machine, whose lock may be invisible here, is kept for a day."""
    build(store, "app", b"one")
    leave_staging(store, draw_name())
    age(store.path, hours * HOURS)
    monkeypatch.setattr(staging_module, "_read_boot", lambda: b"another machine")
    store.collect()
    assert bool(list_left(store.path)) == left


def test_a_recently_written_layout_stays(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recently changed layout is kept, however old its build is."""
    build(store, "app", b"one")
    name = draw_name()
    leave_staging(store, name)
    age(store.path, 30 * HOURS)
    (store.staging_path(name) / "ingest").mkdir()
    monkeypatch.setattr(staging_module, "_read_boot", lambda: b"another machine")
    store.collect()
    assert len(list_left(store.path)) == 2


def test_a_layout_names_the_machine_of_its_build(store: Store) -> None:
    """A layout's lock has the machine's boot ID and name."""
    with store.snapshot("0123456789ab"):
        lines = (store.path / ".bxcache" / "staging" / "0123456789ab.lock").read_text().split()
    assert lines[1] == os.uname().nodename
    boot = Path("/proc/sys/kernel/random/boot_id")
    assert not boot.exists() or lines[0] == boot.read_text().strip()


LOST = [[".bxcache", ".gitignore"], [".bxcache"], [".bxcache", ".gitignore", "oci-layout"]]


@pytest.mark.parametrize("names", LOST)
def test_a_store_without_its_dot_files_is_used(
    store: Store, names: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """After `cp -r store/* elsewhere`, all caches are usable, with one warning."""
    for scope in ("app", "other"):
        build(store, scope, b"one", scope.encode())
    before = read_entries(store.path)
    for name in names:
        path = store.path / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    again = Store(store.path)
    with caplog.at_level(logging.WARNING):
        again.check()
        assert again.exists()
        assert [scope.name for scope in again.usage().scopes] == ["app", "other"]
        with again.snapshot(draw_name(), ["app"]) as staging:
            assert staging.donors
    assert read_entries(store.path) == before
    (record,) = caplog.records
    assert "names that start with a dot" in record.getMessage()
    caplog.clear()
    Store(store.path).check()
    Store(store.path).collect()
    assert not caplog.records
    assert read_entries(store.path) == before


def test_missing_dot_files_are_created_again(store: Store) -> None:
    """Missing dot files are created again."""
    build(store, "app", b"one")
    for name in ("version", "lock", "holder", "reserve"):
        (store.path / ".bxcache" / name).unlink()
    for name in ("staging", "records", "scopes"):
        shutil.rmtree(store.path / ".bxcache" / name)
    Store(store.path).check()
    assert build(Store(store.path), "app", b"one", donor="app").unchanged
    assert (store.path / ".bxcache" / "version").read_text() == "1\n"


def test_a_directory_with_other_files_is_not_a_store(store: Store) -> None:
    """A store's files in a folder with other content do not make it a store."""
    build(store, "app", b"one")
    shutil.rmtree(store.path / ".bxcache")
    (store.path / "thesis.txt").touch()
    with pytest.raises(StoreError, match=r"contains `thesis\.txt`"):
        Store(store.path).check()


@pytest.mark.parametrize("name", ["version", "lock", "holder", "reserve"])
def test_a_pipe_never_blocks(store: Store, name: str) -> None:
    """A pipe in a file's place is replaced or reported, and never blocks."""
    build(store, "app", b"one")
    path = store.path / ".bxcache" / name
    path.unlink()
    os.mkfifo(path)
    if name in ("version", "lock"):
        with pytest.raises(StoreError, match=rf"{name}` is not a regular file"):
            store.collect()
    else:
        store.collect()
    if name == "version":
        with pytest.raises(StoreError, match="is not a regular file"):
            store.check()
