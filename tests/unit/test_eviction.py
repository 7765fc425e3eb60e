"""Tests of the layers that a store over its budget evicts: hand-calculated cases and properties."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from bxcache.oci.chains import BOTTOM, find_lost, list_chains
from bxcache.oci.documents import CacheConfig
from bxcache.store.eviction import Holding, choose_evicted


def holding(scope: str, *chains: str, used: float = 0.0, **costs: tuple[int, float]) -> Holding:
    """Return a scope with chains, such as `abc` from the bottom; `costs` are bytes and seconds."""
    links: list[tuple[str, int]] = []
    known: dict[str, int] = {}
    for chain in chains:
        for length in range(1, len(chain) + 1):
            head = chain[:length]
            if head not in known:
                known[head] = len(links)
                links.append((head[-1], known.get(head[:-1], BOTTOM)))
    sizes = {blob: costs.get(blob, (1, 0.0))[0] for blob, _ in links}
    seconds = {blob: costs[blob][1] for blob, _ in links if blob in costs}
    return Holding(scope, used, links, seconds, sizes)


def sized(scope: str, *chains: str, used: float = 0.0, **sizes: int) -> Holding:
    """Return a scope whose durations are unknown."""
    costs = {blob: (size, 0.0) for blob, size in sizes.items()}
    return replace(holding(scope, *chains, used=used, **costs), seconds={})


@pytest.mark.parametrize(
    ("holdings", "excess", "expected"),
    [
        pytest.param(
            # 10 s in 100 bytes, 10 s in 1000 bytes, 1 s in 10 bytes.
            [holding("s", "a", "b", "c", a=(100, 10), b=(1000, 10), c=(10, 1))],
            500,
            {"s": {"b"}},
            id="the fewest seconds per byte go first",
        ),
        pytest.param(
            # a, with b on it, saves 101 s in 110 bytes, c 2 s in 100 bytes.
            [holding("s", "ab", "c", a=(100, 1), b=(10, 100), c=(100, 2))],
            50,
            {"s": {"c"}},
            id="a cheap layer is kept for what stands on it",
        ),
        pytest.param(
            [holding("s", "ab", "c", a=(100, 1), b=(10, 1), c=(100, 50))],
            50,
            {"s": {"a", "b"}},
            id="a layer takes along what stands on it",
        ),
        pytest.param(
            [holding("s", "abc", a=(10, 9), b=(10, 2), c=(10, 1))],
            15,
            {"s": {"b", "c"}},
            id="no more than needed",
        ),
        pytest.param(
            # 1 s in 100 bytes and 30 s in 100 bytes: the average is 0.155 s per byte.
            [holding("s", "a", "b", a=(100, 1), b=(100, 30)), sized("t", "c", used=9.0, c=100)],
            50,
            {"s": {"a"}},
            id="what is unknown is worth as much as usual",
        ),
        pytest.param(
            [holding("s", "a", used=1.0, a=(100, 1)), sized("t", "cd", used=2.0, c=1, d=99)],
            1,
            {"s": {"a"}},
            id="where it is worth the same, the ages decide",
        ),
        pytest.param(
            [holding("s", "a", used=1.0, a=(100, 0.0)), holding("t", "b", b=(100, 0.1))],
            1,
            {"s": {"a"}},
            id="nothing is known to be less than something",
        ),
        pytest.param(
            [holding("old", "a", used=1.0), holding("new", "b", used=2.0)],
            1,
            {"old": {"a"}},
            id="where nothing is known the longest unused goes first",
        ),
        pytest.param(
            [holding("s", "abc")],
            1,
            {"s": {"c"}},
            id="and from the top",
        ),
        pytest.param(
            [
                holding("one", "ab", a=(10, 10), b=(10, 1)),
                holding("two", "abc", a=(10, 10), b=(10, 1), c=(10, 1)),
            ],
            20,
            {"one": {"b"}, "two": {"b", "c"}},
            id="what several scopes share goes from all",
        ),
        pytest.param(
            # x has 10 bytes and is in two chains: only dropping both frees them.
            [holding("s", "ax", "bx", a=(1, 100), b=(1, 100), x=(10, 1))],
            5,
            {"s": {"x"}},
            id="a blob in two chains becomes free with the last",
        ),
        pytest.param(
            [holding("s", "ab", "c")], 1000, {"s": {"a", "b", "c"}}, id="all when all is too little"
        ),
        pytest.param([holding("s", "ab")], 0, {}, id="nothing when nothing is too much"),
        pytest.param([], 10, {}, id="an empty store"),
    ],
)
def test_the_least_valuable_layers_are_evicted_first(
    holdings: list[Holding], excess: int, expected: dict[str, set[str]]
) -> None:
    """The least valuable layers are evicted first, as calculated by hand."""
    assert choose_evicted(holdings, excess) == expected


BLOBS = st.sampled_from("abcdefgh")


@st.composite
def stores(draw: st.DrawFn) -> list[Holding]:
    costs = {blob: (draw(st.integers(0, 50)), draw(st.integers(0, 50)) / 10) for blob in "abcdefgh"}
    chain = st.lists(BLOBS, min_size=1, max_size=5, unique=True).map("".join)
    scopes = draw(st.lists(st.lists(chain, min_size=1, max_size=4), min_size=1, max_size=4))
    unknown = draw(st.sets(BLOBS))
    found = [
        holding(str(number), *chains, used=draw(st.integers(0, 3)), **costs)
        for number, chains in enumerate(scopes)
    ]
    known = [{k: v for k, v in each.seconds.items() if k not in unknown} for each in found]
    return [replace(each, seconds=own) for each, own in zip(found, known, strict=True)]


def live_bytes(holdings: list[Holding], evicted: dict[str, set[str]]) -> int:
    sizes: dict[str, int] = {}
    for each in holdings:
        gone = evicted.get(each.scope, set())
        sizes |= {blob: size for blob, size in each.sizes.items() if blob not in gone}
    return sum(sizes.values())


@given(stores(), st.integers(0, 400))
def test_enough_space_is_freed(holdings: list[Holding], excess: int) -> None:
    """Eviction frees at least the excess, or everything if that is less."""
    before = live_bytes(holdings, {})
    after = live_bytes(holdings, choose_evicted(holdings, excess))
    assert after <= max(0, before - excess)


@given(stores(), st.integers(0, 400))
def test_nothing_above_an_evicted_layer_is_kept(holdings: list[Holding], excess: int) -> None:
    """A layer above an evicted one is evicted, too, since it would be useless."""
    evicted = choose_evicted(holdings, excess)
    for each in holdings:
        gone = evicted.get(each.scope, set())
        assert find_lost(each.links, gone) == gone


def measure_trees(holdings: list[Holding]) -> list[int]:
    """Return the total size above and including each bottom layer, over all scopes."""
    trees: dict[str, dict[str, int]] = {}
    for each in holdings:
        bottoms: list[str] = []
        for blob, below in each.links:
            bottoms.append(blob if below < 0 else bottoms[below])
            trees.setdefault(bottoms[-1], {})[blob] = each.sizes[blob]
    return [sum(sizes.values()) for sizes in trees.values()]


# Two scopes with the same chain except for the top: cutting both frees both tops.
EMPTY: dict[str, Any] = dict.fromkeys("abc", (0, 0.0))
SHARED = [
    holding("0", "abcde", used=0.0, d=(1, 0.0), e=(1, 0.1), **EMPTY),
    holding("1", "abcdf", used=0.0, d=(1, 0.0), f=(1, 0.1), **EMPTY),
]


@given(stores(), st.integers(1, 400))
@example(SHARED, 1)
def test_no_layer_is_evicted_without_need(holdings: list[Holding], excess: int) -> None:
    """Without its last eviction, of a layer and all layers above it, too little space is freed."""
    evicted = choose_evicted(holdings, excess)
    if live_bytes(holdings, {}) >= excess:
        freed = live_bytes(holdings, {}) - live_bytes(holdings, evicted)
        assert freed < excess + max(measure_trees(holdings))


def config(*links: tuple[str, int | None]) -> CacheConfig:
    layers: list[dict[str, Any]] = [
        {"blob": digest(blob)} | ({} if parent is None else {"parent": parent})
        for blob, parent in links
    ]
    return CacheConfig.model_validate({"layers": layers})


def digest(letter: str) -> str:
    return "sha256:" + letter * 64


def shown(links: list[tuple[str, int]]) -> list[tuple[str, int]]:
    return [(blob[7], below) for blob, below in links]


@pytest.mark.parametrize(
    ("found", "layers", "expected"),
    [
        (config(("a", -1), ("b", None)), "ab", [("a", -1), ("b", 0)]),
        (config(("b", 1), ("a", -1)), "ab", [("a", -1), ("b", 0)]),
        (config(("a", -1), ("b", 0), ("c", 1)), "ac", [("a", -1), ("c", -1)]),
        (config(("a", 1), ("b", 0)), "ab", [("a", -1), ("b", -1)]),
        (config(("a", None)), "a", [("a", -1)]),
        (config(("a", 7), ("b", -5)), "ab", [("a", -1), ("b", -1)]),
        (config(), "a", [("a", -1)]),
    ],
    ids=[
        "an absent parent is the first link",
        "a parent may come later",
        "what stands on something missing is by itself",
        "two that stand on each other",
        "one that stands on itself",
        "parents that are none",
        "a layer in no chain",
    ],
)
def test_chains_are_read_as_buildkit_writes_them(
    found: CacheConfig, layers: str, expected: list[tuple[str, int]]
) -> None:
    """Chains are read in BuildKit's format: lower links come first, and every parent exists."""
    assert shown(list_chains(found, [digest(each) for each in layers])) == expected


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(-2, 8)), max_size=12))
def test_any_config_is_read(links: list[tuple[str, int]]) -> None:
    """For any parents, each layer is in a chain, and each link is above an earlier one."""
    every = [digest(each) for each in "abcdef"]
    found = list_chains(config(*links), every)
    assert {blob for blob, _ in found} == set(every)
    assert all(BOTTOM <= below < at for at, (_, below) in enumerate(found))
    assert max(Counter(found).values()) <= max(1, len(links))
