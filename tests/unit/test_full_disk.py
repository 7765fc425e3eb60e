"""Tests that an operation on a full disk fails with a clear error and loses nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from bxcache.store.store import Store
from tests.support.cuts import GROWING, kind_of, read_entries, run_cut
from tests.support.operations import (
    OPERATIONS,
    check_clean,
    check_usable,
    copy_store,
    list_left,
    quick_folder,
)
from tests.support.sampling import Effort, choose

EVERY = 9


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with quick_folder(tmp_path) as made:
        yield made


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_disk_may_fill_up_at_any_call(
    name: str,
    folder: Path,
    effort: Effort,
) -> None:
    """A disk that fills up at any call gives one error and whole scopes; a retry then succeeds."""
    operation = OPERATIONS[name]
    operation.prepare(folder / "before")
    before = read_entries(folder / "before") if not operation.mends else {}
    whole = copy_store(folder, "whole")
    done = run_cut(partial(operation.run, whole), 0, "traced")
    after = read_entries(whole)
    for number, (call, path) in choose(done.calls, kind_of, EVERY, effort=effort):
        if call not in GROWING:
            continue
        store = copy_store(folder, "full")
        ran = run_cut(partial(operation.run, store), number, "full")
        # BuildKit and the archive's reader report their own errors.
        errors = ("", "StoreError", "OSError") if "/staging/" in path else ("", "StoreError")
        assert ran.error in errors, (number, ran.message)
        assert not ran.error or os.strerror(28) in ran.message
        assert list_left(store) == [], (number, path)
        if not operation.mends:
            entries = read_entries(store)
            for scope in before.keys() | after.keys() | entries.keys():
                assert entries.get(scope) in {before.get(scope), after.get(scope)}, number
            if Store(store).exists():
                check_usable(store)
        operation.run(store)
        assert read_entries(store) == after
        check_clean(store)
