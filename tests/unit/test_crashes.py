"""Tests that a process interrupted anywhere leaves a valid store whose earlier caches still hit."""

from __future__ import annotations

import multiprocessing
import os
import random
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from bxcache.store.store import Store
from tests.support.cuts import kind_of, read_entries, read_needed, run_cut
from tests.support.layouts import build, digest_of
from tests.support.operations import (
    OPERATIONS,
    check_clean,
    check_usable,
    copy_store,
    make_store,
    quick_folder,
)
from tests.support.sampling import Effort, choose

KILLS = {"sample": 60, "thorough": 300}
EVERY = 9
TORN = ["empty", "half"]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with quick_folder(tmp_path) as made:
        yield made


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_process_can_be_killed_at_any_call(
    name: str,
    folder: Path,
    effort: Effort,
) -> None:
    """Killed before any call that changes a file, a process leaves each scope whole, old or new."""
    operation = OPERATIONS[name]
    operation.prepare(folder / "before")
    before = read_entries(folder / "before") if not operation.mends else {}
    whole = copy_store(folder, "whole")
    done = run_cut(partial(operation.run, whole), 0, "traced")
    assert not done.error, done.message
    after = read_entries(whole)
    assert name == "a packing" or len(done.calls) > 5
    for number, call in choose(done.calls, kind_of, EVERY, effort=effort):
        store = copy_store(folder, "cut")
        assert run_cut(partial(operation.run, store), number, "killed").killed
        if not operation.mends:
            entries = read_entries(store)
            for scope in before.keys() | after.keys() | entries.keys():
                possible = {before.get(scope), after.get(scope)}
                assert entries.get(scope) in possible, (number, call)
            if Store(store).exists():
                check_usable(store)
        operation.run(store)
        assert read_entries(store) == after, (number, call)
        check_clean(store)


def _work(path: str, seed: int) -> None:
    """Save and collect repeatedly, with a budget so small that each round evicts."""
    drawn = random.Random(seed)
    store = Store(path)
    while True:
        layers = [drawn.randbytes(drawn.randrange(1, 9000)) for _ in range(3)]
        scope = f"app-{drawn.randrange(4)}"
        times = {each: drawn.random() for each in layers}
        build(store, scope, b"shared", *layers, donor=scope, seconds=times)
        store.collect(max_size=60_000)


def test_a_store_outlives_hundreds_of_kills(folder: Path, effort: Effort) -> None:
    """After kills at random instants, the store is valid and its valuable scope is whole."""
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    drawn = random.Random(seed)
    path = folder / "store"
    dear = [b"d" * 5000, b"e" * 5000]
    kept = build(Store(path), "kept", *dear, seconds=dict.fromkeys(dear, 1e6)).digest
    context = multiprocessing.get_context("fork")
    seen = set()
    for number in range(KILLS[effort]):
        process = context.Process(target=_work, args=(str(path), seed + number))
        process.start()
        time.sleep(drawn.uniform(0, 0.05))
        process.kill()
        process.join()
        process.close()
        assert not Store(path).verify(full=True).damages, number
        assert read_entries(path)["kept"] == kept, number
        assert {digest_of(each)[7:] for each in dear} < read_needed(path)["kept"], number
        seen.add(tuple(read_entries(path).items()))
        if number % 5 == 0:
            check_usable(path)
    check_usable(path)
    check_clean(path)
    assert len(seen) > KILLS[effort] // 20


@pytest.mark.parametrize("how", TORN)
def test_files_that_are_not_synced_do_not_matter(how: str, folder: Path) -> None:
    """After a power cut, files that were never synced may be empty or torn without harm."""
    store = make_store(folder / "store")
    store.add_record("app", b'{"version":1,"of":1}\n')
    own = store.path / ".bxcache"
    for path in [*(own / "scopes").iterdir(), *(own / "records").iterdir(), own / "holder"]:
        os.truncate(path, 0 if how == "empty" else path.stat().st_size // 2)
    before = read_entries(store.path)
    check_usable(store.path)
    check_clean(store.path)
    assert read_entries(store.path) == before
    assert [scope.damage for scope in store.usage().scopes] == [""] * 3
    build(store, "app", b"next", donor="app")
    store.add_record("app", b'{"version":1,"of":2}\n')
    assert store.read_records("app")[-1] == b'{"version":1,"of":2}\n'
    assert not store.collect(max_size=10**9, max_age=10**6).dropped
    check_usable(store.path)


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_index_is_synced_after_all_it_names(name: str, folder: Path) -> None:
    """Blob names, index content and index name are synced in this order, before any removal."""
    operation = OPERATIONS[name]
    store = folder / "store"
    operation.prepare(store)
    old = set().union(*read_needed(store).values()) if not operation.mends else set()
    calls = run_cut(partial(operation.run, store), 0, "traced").calls
    blobs, index = f"{store}/blobs/sha256", f"{store}/index.json"
    replaced = [at for at, call in enumerate(calls) if call == ("os.rename", index)]
    leaves_it = name in ("a packing", "an adoption", "a record")
    assert not replaced if leaves_it else replaced
    for at in replaced:
        before, after = calls[:at], calls[at:]
        temporary = max(n for n, (what, _) in enumerate(before) if what == "write")
        written = before[temporary][1]
        assert Path(written).name.startswith(".index.json.")
        assert ("os.fsync", written) in before[temporary:]
        put = [n for n, each in enumerate(before) if _puts(each, blobs)]
        synced = [n for n, each in enumerate(before) if each == ("os.fsync", blobs)]
        assert not put or max(synced) > max(put)
        assert ("os.fsync", str(store)) in after
    for at, (what, path) in enumerate(calls):
        if what == "os.remove" and path in {f"{blobs}/{each}" for each in old}:
            assert any(each < at for each in replaced)
            assert ("os.fsync", str(store)) in calls[max(r for r in replaced if r < at) : at]


def _puts(call: tuple[str, str], blobs: str) -> bool:
    what, path = call
    return what in ("os.link", "os.rename") and path.startswith(f"{blobs}/")


def test_every_copied_blob_is_synced_before_it_is_named(folder: Path) -> None:
    """Without hard links, a blob's content is synced before it gets its name."""
    store = folder / "store"
    operation = OPERATIONS["a commit that copies"]
    operation.prepare(store)
    calls = run_cut(partial(operation.run, store), 0, "traced").calls
    blobs = f"{store}/blobs/sha256/"
    named = [at for at, call in enumerate(calls) if _puts(call, blobs[:-1])]
    assert named
    for at in named:
        last = max(n for n, (what, _) in enumerate(calls[:at]) if what == "write")
        assert calls[last][1].startswith(blobs)
        assert ("os.fsync", calls[last][1]) in calls[last:at]
