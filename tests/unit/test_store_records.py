"""Tests that a store's records of builds are whole and bounded, and removed with the cache."""

from __future__ import annotations

import io
import os
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bxcache.errors import StoreError
from bxcache.oci.documents import MOST_RECORDS
from bxcache.store.folders import Folder
from bxcache.store.journal import LARGEST_FILE, Records
from bxcache.store.store import Store
from tests.support.layouts import build

if TYPE_CHECKING:
    from pathlib import Path

DAY = 86_400


def line(number: int, size: int = 0) -> bytes:
    return f'{{"version":1,"number":{number},"filling":"{"x" * size}"}}\n'.encode()


def file_of(store: Store, scope: str) -> Path:
    (found,) = (store.path / ".bxcache" / "records").glob(f"{scope}*.jsonl")
    return found


def test_the_last_builds_are_kept_in_order(store: Store) -> None:
    """The promised number of records is kept, the last build's at the end."""
    for number in range(MOST_RECORDS + 3):
        store.add_record("app", line(number))
    assert store.read_records("app") == tuple(line(n) for n in range(3, MOST_RECORDS + 3))
    assert store.read_records("other") == ()


def test_large_records_push_out_older_ones(store: Store) -> None:
    """Large records displace older ones, so the file stays readable."""
    size = LARGEST_FILE // 3
    for number in range(4):
        store.add_record("app", line(number, size))
    assert store.read_records("app") == tuple(line(n, size) for n in (2, 3))
    assert file_of(store, "app").stat().st_size <= LARGEST_FILE


@pytest.mark.parametrize("damage", [b"", b"\n\n", b"\xff" * 40 + b"\n", b"{" * 100, b"x" * 9])
def test_a_damaged_file_takes_new_records(store: Store, damage: bytes) -> None:
    """A new record is added, whole and last, to a damaged file."""
    store.add_record("app", line(1))
    file_of(store, "app").write_bytes(damage)
    store.add_record("app", line(2))
    assert store.read_records("app")[-1] == line(2)


def test_a_file_that_cannot_be_read_is_replaced(store: Store) -> None:
    """A link in the file's place is not followed, and a file that is too large is replaced."""
    store.add_record("app", line(1))
    path = file_of(store, "app")
    path.write_bytes(b"x" * (LARGEST_FILE + 1))
    assert store.read_records("app") == ()
    path.unlink()
    path.symlink_to("/etc/passwd")
    assert store.read_records("app") == ()
    store.add_record("app", line(2))
    assert store.read_records("app") == (line(2),)
    assert not path.is_symlink()


def test_records_are_removed_with_the_scope(store: Store) -> None:
    """Records are removed with their scope, whether it is removed, too old or evicted."""
    for scope in ("a", "b", "c"):
        build(store, scope, scope.encode())
        store.add_record(scope, line(1))
    store.remove("a")
    assert store.read_records("a") == ()
    (page,) = (store.path / ".bxcache" / "scopes").glob("b@*")
    os.utime(page, (1, 1))
    store.collect(max_age=DAY)
    assert store.read_records("b") == ()
    assert store.read_records("c") == (line(1),)
    store.collect(max_size=0)
    assert list((store.path / ".bxcache" / "records").iterdir()) == []


def test_records_stay_with_a_scope_that_loses_layers(store: Store) -> None:
    """A scope that loses layers keeps its records."""
    build(store, "app", b"one", b"x" * 100_000, seconds={b"one": 100.0})
    store.add_record("app", line(1))
    collected = store.collect(max_size=90_000)
    assert collected.evicted == {"app": 1}
    assert store.read_records("app") == (line(1),)


def test_records_without_a_cache_are_removed_after_a_month(store: Store) -> None:
    """Records of a scope that never had a cache are removed after a month, not sooner."""
    store.add_record("app", line(1))
    store.collect()
    assert store.read_records("app") == (line(1),)
    then = time.time() - 31 * DAY
    os.utime(file_of(store, "app"), (then, then))
    store.collect()
    assert store.read_records("app") == ()


def test_records_count_against_the_budget(store: Store) -> None:
    """The store including its records stays within its limit."""
    build(store, "app", b"x" * 40_000)
    build(store, "other", b"y" * 40_000)
    store.add_record("app", line(1, 30_000))
    before = store.collect(dry_run=True).bytes
    assert before > 110_000
    most = 100_000
    assert store.collect(max_size=most).bytes <= most
    sizes = [path.stat().st_size for path in (store.path / "blobs" / "sha256").iterdir()]
    assert sum(sizes) + 30_000 <= most


def test_records_are_part_of_an_archive(store: Store, tmp_path: Path) -> None:
    """Records of packed scopes are added after the records that the other store had."""
    for scope in ("app", "other"):
        build(store, scope, scope.encode())
        store.add_record(scope, line(1))
    store.add_record("app", line(2))
    target = io.BytesIO()
    store.pack(target, ["app"])
    there = Store(tmp_path / "there")
    there.add_record("app", line(0))
    there.add_record("app", line(1))
    there.unpack(io.BytesIO(target.getvalue()))
    assert there.read_records("app") == (line(0), line(1), line(2))
    assert there.read_records("other") == ()


def test_records_of_a_skipped_scope_are_not_unpacked(store: Store, tmp_path: Path) -> None:
    """A store with a later version of a scope keeps only its own records."""
    build(store, "app", b"old")
    store.add_record("app", line(1))
    target = io.BytesIO()
    store.pack(target)
    there = Store(tmp_path / "there")
    build(there, "app", b"new")
    there.add_record("app", line(2))
    (page,) = (there.path / ".bxcache" / "scopes").glob("app@*")
    text = page.read_text()
    page.write_text(text.replace('"saved":', f'"saved":{time.time() + 100},"before":'))
    assert there.unpack(io.BytesIO(target.getvalue())).kept == ("app",)
    assert there.read_records("app") == (line(2),)


def test_a_records_folder_that_is_a_file_is_an_error(store: Store, tmp_path: Path) -> None:
    """A store that is not writable raises a StoreError."""
    build(store, "app", b"one")
    records = store.path / ".bxcache" / "records"
    records.rmdir()
    records.write_text("in the way")
    with pytest.raises(StoreError, match="is not a folder"):
        store.add_record("app", line(1))
    assert not (tmp_path / "elsewhere").exists()


SCOPES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=130)


@given(st.lists(SCOPES, min_size=1, max_size=6, unique=True))
def test_no_two_scopes_share_a_file(
    tmp_path_factory: pytest.TempPathFactory, names: list[str]
) -> None:
    """Two scopes, with any names, have different files."""
    records = Records(Folder(tmp_path_factory.mktemp("records")))
    for number, name in enumerate(names):
        records.add(name, [line(number)])
    for number, name in enumerate(names):
        assert records.read(name) == (line(number),)
