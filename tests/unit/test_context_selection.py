"""Which files decide about a step, and how a large context is shortened."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bxcache.buildx.context.selection import Selection, hash_states
from bxcache.buildx.step_inputs import FileRead
from bxcache.insight.file_tree import FOLDED, fold_alike, fold_files

FILES = {
    "a.py": "f644 1",
    "b.txt": "f644 2",
    "link": "l src/deep",
    "src": "d755",
    "src/deep": "d755",
    "src/deep/c.py": "f644 3",
    "src/deep.txt": "f644 4",
    "src/up": "l ../a.py",
}
SELECTED: dict[str, tuple[FileRead, set[str]]] = {
    "a file": (FileRead("/b.txt"), {"b.txt"}),
    "a folder": (FileRead("/src/deep"), {"src/deep", "src/deep/c.py"}),
    "everything": (FileRead("/"), set(FILES)),
    "a pattern": (FileRead("/*.py", is_pattern=True), {"a.py"}),
    "a pattern for folders": (
        FileRead("/src/d*", is_pattern=True),
        {"src/deep", "src/deep/c.py", "src/deep.txt"},
    ),
    "a link as it is": (FileRead("/link"), {"link"}),
    "a link's target": (FileRead("/link", follows=True), {"src/deep", "src/deep/c.py"}),
    "through a link": (FileRead("/link/c.py", follows=True), {"src/deep/c.py"}),
    "a link upwards": (FileRead("/src/up", follows=True), {"a.py"}),
    "without some": (FileRead("/src", excluded=("deep",)), {"src", "src/deep.txt", "src/up"}),
    "nothing": (FileRead("/nothing"), set()),
}


@pytest.mark.parametrize("name", SELECTED)
def test_a_step_sees_what_it_names(name: str) -> None:
    read, expected = SELECTED[name]
    assert set(Selection(FILES).select(read)) == expected


def test_a_link_in_a_circle_ends() -> None:
    files = {"a": "l b", "b": "l a"}
    assert Selection(files).select(FileRead("/a", follows=True)).keys() <= files.keys()


def test_an_unknown_state_makes_the_hash_unknown() -> None:
    assert hash_states({"a": "f644 1", "b": "?"}) == ""
    assert hash_states({"a": "f644 1"}) != hash_states({"a": "f755 1"})


NAMES = st.lists(st.sampled_from("abcd"), min_size=1, max_size=4).map("/".join)
STATES = st.dictionaries(NAMES, st.sampled_from(["f644 1", "f644 2", "f755 1"]), max_size=30)


def without_conflicts(states: dict[str, str]) -> dict[str, str]:
    """Leave out files in whose place there is a folder."""
    return {
        path: state
        for path, state in states.items()
        if not any(each.startswith(f"{path}/") for each in states)
    }


TREES = STATES.map(without_conflicts)


@given(TREES, st.integers(1, 12))
def test_a_shortened_tree_is_no_longer_than_asked(states: dict[str, str], most: int) -> None:
    folded = fold_files(states, most)
    assert len(folded) <= most or len(states) <= most
    kept = {path for path, state in folded.items() if not state.startswith(FOLDED)}
    assert all(states[path] == folded[path] for path in kept)
    counted = sum(int(s.rpartition(" ")[2]) for s in folded.values() if s.startswith(FOLDED))
    assert counted + len(kept) == len(states)


@given(TREES, TREES, st.integers(1, 12), st.integers(1, 12))
def test_shortened_trees_are_equal_if_the_trees_are(
    one: dict[str, str], other: dict[str, str], most: int, least: int
) -> None:
    """However two trees were shortened, comparing them tells whether they are equal."""
    first, second = fold_files(one, most), fold_files(other, least)
    alike = fold_alike(first, second), fold_alike(second, first)
    again = fold_alike(alike[0], alike[1]), fold_alike(alike[1], alike[0])
    assert (again[0] == again[1]) == (one == other)
