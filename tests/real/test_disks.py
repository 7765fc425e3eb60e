"""Stores on real file systems, including full ones."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from bxcache.errors import StoreError
from bxcache.store.store import Store
from tests.real.conftest import STEPS, MakeMachine
from tests.real.kills import prune
from tests.real.machines import count
from tests.support.cuts import read_entries
from tests.support.disks import DiskError, Kind, filled, small_disk
from tests.support.layouts import build
from tests.support.operations import (
    OPERATIONS,
    check_clean,
    check_usable,
    copy_store,
    list_left,
    make_store,
)
from tests.support.sampling import Effort, more

KINDS: list[Kind] = ["ext4", "tmpfs"]
FULL = os.strerror(errno.ENOSPC)
FILLING = ["a commit", "a commit that copies", "a collection", "an unpacking"]
MOST_LEFT = 128 << 10
ROUNDS: dict[Effort, int] = {"sample": 6, "thorough": 16}
BUILDS_LEFT = [0, 24 << 10, 72 << 10, 1 << 20]
MakeDisk = Callable[[Kind, int], Path]


@pytest.fixture
def disks(tmp_path: Path) -> Iterator[MakeDisk]:
    """Creates empty disks: `disks("ext4", 8 << 20)`."""
    with ExitStack() as stack:

        def make(kind: Kind, size: int) -> Path:
            try:
                return stack.enter_context(small_disk(kind, tmp_path, size))
            except DiskError as error:
                if os.environ.get("CI"):
                    pytest.fail(f"a small disk is needed in CI: {error}")
                pytest.skip(str(error))

        yield make


def local(store: Path) -> tuple[str, str]:
    """The backend of a store."""
    return "--backend", f"type=local,dir={store}"


@pytest.mark.parametrize("kind", ["ext4", *more("tmpfs")])
def test_a_store_works_on_a_disk_of_its_own(
    kind: Kind, machines: MakeMachine, project: Path, disks: MakeDisk
) -> None:
    """A store works on another device than home and temporary files, even as the disk's root."""
    first, second = machines(), machines()
    disk = disks(kind, 32 << 20)
    assert disk.stat().st_dev not in {Path(each).stat().st_dev for each in (first.home, project)}
    for store in (disk / "below" / "store", disk):
        cold = first.build(*local(store), "--no-cache", folder=project)
        assert count(cold) == (0, STEPS)
        warm = second.build(*local(store), folder=project)
        assert count(warm) == (STEPS, 0)
        assert [*cold["warnings"], *warm["warnings"]] == []
        assert not Store(store).verify(full=True).damages
        prune(second)
        shutil.rmtree(disk / "below", ignore_errors=True)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "name", ["a commit", "a commit that copies", "a collection", "an unpacking"]
)
def test_a_full_disk_loses_nothing(name: str, kind: Kind, disks: MakeDisk, effort: Effort) -> None:
    """With any free space left, there is at most one error, and with more space work continues."""
    disk = disks(kind, 4 << 20)
    operation = OPERATIONS[name]
    operation.prepare(disk / "before")
    before = read_entries(disk / "before")
    operation.run(copy_store(disk, "whole"))
    after = read_entries(disk / "whole")
    outcomes = []
    for left in range(0, MOST_LEFT, MOST_LEFT // ROUNDS[effort]):
        store = copy_store(disk, "full")
        with filled(disk, left):
            outcomes.append(attempt(partial(operation.run, store)))
            entries = read_entries(store)
        for scope in before.keys() | after.keys() | entries.keys():
            assert entries.get(scope) in {before.get(scope), after.get(scope)}
        assert list_left(store) == []
        check_usable(store)
        operation.run(store)
        assert read_entries(store) == after
        check_clean(store)
    assert all(FULL in said or "are free" in said for said in filter(None, outcomes))
    # A collection makes its own room.
    assert outcomes[0] or name == "a collection"
    assert not outcomes[-1]


def attempt(run: Callable[[], object]) -> str:
    """The error of an operation, if any."""
    try:
        run()
    except (StoreError, OSError) as error:
        return str(error)
    return ""


@pytest.mark.parametrize("kind", KINDS)
def test_garbage_can_be_collected_on_a_full_disk(kind: Kind, disks: MakeDisk) -> None:
    """On a disk without a free byte, a collection makes room, also for evictions after it."""
    disk = disks(kind, 4 << 20)
    store = make_store(disk / "store")
    build(store, "gone", b"g" * 40_000)
    store.remove("gone")
    with filled(disk, 0):
        with pytest.raises(StoreError, match=FULL):
            build(store, "more", b"more")
        collected = store.collect(max_size=50_000)
        assert collected.freed_bytes > 40_000
        assert collected.evicted
    check_usable(store.path)
    check_clean(store.path)


@pytest.mark.parametrize("kind", KINDS)
def test_a_full_disk_can_be_made_less_full(kind: Kind, disks: MakeDisk) -> None:
    """On a full disk without garbage, evicting and removing use the reserved space."""
    disk = disks(kind, 4 << 20)
    store = make_store(disk / "store")
    build(store, "large", b"l" * 400_000)
    store.collect()
    with filled(disk, 0):
        assert store.collect(max_size=100_000).freed_bytes >= 400_000
    build(store, "large", b"l" * 400_000)
    store.collect()
    with filled(disk, 0):
        store.remove("large")
        assert store.collect().freed_bytes >= 400_000
    check_usable(store.path)
    check_clean(store.path)


@pytest.mark.parametrize("kind", ["ext4", *more("tmpfs")])
def test_a_full_disk_does_not_fail_a_build(
    kind: Kind, machines: MakeMachine, project: Path, disks: MakeDisk
) -> None:
    """On a full disk, the image is built with a warning, and the saved cache still hits."""
    machine = machines()
    disk = disks(kind, 8 << 20)
    store = disk / "store"
    source = project / "src" / "main.c"
    machine.build(*local(store), folder=project)
    saved, entries = source.read_text(), read_entries(store)
    for left in BUILDS_LEFT:
        source.write_text(f"// {left}\n")
        with filled(disk, left):
            built = machine.build(*local(store), folder=project)
            assert built["image"]["digest"]
        if not built["warnings"]:
            assert read_entries(store) != entries
            saved, entries = source.read_text(), read_entries(store)
        assert read_entries(store) == entries
        assert not Store(store).verify(full=True).damages
        assert not built["warnings"] or FULL.lower() in built["warnings"][0].lower()
        source.write_text(saved)
        assert prune(machine)
        warm = machine.build(*local(store), "--write", "never", folder=project)
        assert count(warm) == (STEPS, 0)
        assert list_left(store) == []
    assert saved == f"// {BUILDS_LEFT[-1]}\n"


def test_a_disk_that_refuses_an_output_is_named(
    machines: MakeMachine, tmp_path: Path, disks: MakeDisk
) -> None:
    """The error of a build names the path on a full disk, and one to which access is denied."""
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY large /\n")
    (tmp_path / "large").write_bytes(os.urandom(3 << 20))
    machine, disk = machines("classic"), disks("ext4", 4 << 20)

    def fail(output: Path) -> str:
        line = ("build", "-o", f"type=tar,dest={output}")
        with machine.start(*line, folder=tmp_path) as process:
            _, err = process.communicate()
        # The status depends on buildx: 1, or one for the kind of error.
        assert process.returncode
        return err

    full, denied = disk / "full.tar", disk / "denied.tar"
    with filled(disk, 1 << 20):
        assert f"ERROR: the disk of `{full}` is full: failed to " in fail(full)
    subprocess.run(["chattr", "+i", disk], check=True)
    try:
        assert f"ERROR: access to `{denied}` is denied: failed to " in fail(denied)
    finally:
        subprocess.run(["chattr", "-i", disk], check=True)
