"""Tests that a save keeps the results of a build's steps that BuildKit exported without layers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bxcache.errors import StoreError
from bxcache.oci.documents import CacheManifest
from bxcache.oci.graph import Cache
from bxcache.oci.succession import Successor, choose_successor
from bxcache.oci.union import NOTHING, unite_caches
from bxcache.registry.scopes import keep_results
from bxcache.store.staging import draw_name
from tests.support.layouts import (
    CONFIG_TYPE,
    LAYER_TYPE,
    MANIFEST_TYPE,
    blob_file,
    damage,
    digest_of,
    put_blob,
    write_index,
)

if TYPE_CHECKING:
    from pathlib import Path

    from bxcache.registry.repository import Repository
    from bxcache.store.store import Store
    from tests.support.registries import MemoryRegistry

Record = tuple[str, list[list[int] | None], str]
"""A key, the positions of its inputs, and the chain of its result, such as `ab`."""

COPY: Record = ("copy", [[1]], "a")
SOURCE: Record = ("source", [], "")
RUN: Record = ("run", [[0]], "ab")
OTHER_SOURCE: Record = ("edited source", [], "")
WHOLE = [COPY, SOURCE, RUN]


def bare(record: Record) -> Record:
    """Return a record as BuildKit exports it if it did not load the result."""
    return record[0], record[1], ""


def make(records: list[Record], *, lacking: str = "") -> Cache:
    """Make a cache of records; the manifest lacks some of its layers."""
    layers: dict[str, dict[str, Any]] = {}
    for _, _, chain in records:
        for at, letter in enumerate(chain):
            parent = [*layers].index(chain[:at]) if at else -1
            link = {"blob": digest_of(letter.encode()), "parent": parent}
            layers.setdefault(chain[: at + 1], link if parent else {"blob": link["blob"]})
    written: list[dict[str, Any]] = [
        {
            "digest": key,
            **({"layers": [{"layer": [*layers].index(chain)}]} if chain else {}),
            "inputs": [[{"link": each} for each in ways] if ways else None for ways in inputs],
        }
        for key, inputs, chain in records
    ]
    config = json.dumps({"layers": [*layers.values()], "records": written}).encode()
    letters = sorted({letter for chain in layers for letter in chain} - set(lacking))
    blobs = [(LAYER_TYPE, each.encode()) for each in letters]
    named = [
        {"mediaType": kind, "digest": digest_of(data), "size": len(data)}
        for kind, data in [*blobs, (CONFIG_TYPE, config)]
    ]
    document = {"mediaType": MANIFEST_TYPE, "config": named[-1], "layers": named[:-1]}
    return CacheManifest.model_validate(document), config


def save(before: Cache, after: Cache, *, executed: bool = True) -> Cache:
    """Return what is saved, as BuildKit reads it."""
    chosen = choose_successor(before, after, executed=executed)
    if chosen.is_before:
        return before
    if chosen.merged is None:
        return after
    manifest = CacheManifest.model_validate_json(chosen.merged.manifest)
    assert manifest.cache_config is not None
    assert manifest.cache_config.digest == digest_of(chosen.merged.config)
    return manifest, chosen.merged.config


def read(cache: Cache) -> set[tuple[str, str]]:
    """Return the results of a cache that a lookup finds, each as its key with keys of inputs."""
    document = json.loads(cache[1])
    letters = {digest_of(each.encode()): each for each in "abcdefghijklmnopqrstuvwxyz"}

    def chain(at: int) -> str:
        layer = document["layers"][at]
        parent = layer.get("parent", 0)
        assert layer["blob"] in cache[0].layer_sizes
        return (chain(parent) if parent >= 0 else "") + letters[layer["blob"]]

    def key(at: int) -> str:
        record = document["records"][at]
        inputs = record.get("inputs") or []
        assert all(inputs), "BuildKit refuses to import a cache with such a record"
        return str(record["digest"]) + "".join(
            f"({key(ways[0].get('link', 0))})" for ways in inputs
        )

    return {
        (key(at), chain(result["layer"]))
        for at, record in enumerate(document["records"])
        for result in record.get("layers", ())
    }


COPIED, RAN = ("copy(source)", "a"), ("run(copy(source))", "ab")
CASES = [
    ("a result is lost", WHOLE, [bare(COPY), SOURCE, RUN], {COPIED, RAN}),
    ("all are lost", WHOLE, [bare(COPY), SOURCE, bare(RUN)], {COPIED, RAN}),
    ("nothing is lost", WHOLE, WHOLE, {COPIED, RAN}),
    (
        "the source was edited",
        WHOLE,
        [COPY, OTHER_SOURCE, ("run", [[0]], "")],
        {("copy(edited source)", "a")},
    ),
    (
        "a result is new",
        WHOLE,
        [bare(COPY), SOURCE, ("run", [[0]], "ac")],
        {COPIED, ("run(copy(source))", "ac")},
    ),
    (
        "an input lost its key",
        WHOLE,
        [COPY, SOURCE, ("run", [None], "ab")],
        {COPIED, RAN},
    ),
    (
        "an input without a key is unknown",
        [COPY, SOURCE],
        [COPY, SOURCE, ("run", [None], "ab")],
        {COPIED},
    ),
    (
        "one of two equal keys has the result",
        WHOLE,
        [*WHOLE[:2], RUN, bare(RUN)],
        {COPIED, RAN},
    ),
]


@pytest.mark.parametrize(
    ("before", "after", "kept"), [row[1:] for row in CASES], ids=[row[0] for row in CASES]
)
def test_results_of_the_builds_keys_are_kept(
    before: list[Record], after: list[Record], kept: set[tuple[str, str]]
) -> None:
    """After a build that executed a step, the cache has its results and the lost ones, no more."""
    saved = save(make(before), make(after))
    assert read(saved) == kept
    needed = {letter for _, chain in kept for letter in chain}
    assert {digest_of(each.encode()) for each in needed} <= saved[0].layer_sizes.keys()


def test_the_layers_of_dead_results_are_dropped() -> None:
    """A save takes no layer from the earlier cache that only dead results need."""
    before = make([COPY, SOURCE, RUN, ("old", [[2]], "abc")])
    saved, _ = save(before, make([bare(COPY), SOURCE, bare(RUN)]))
    assert saved.layer_sizes.keys() == {digest_of(b"a"), digest_of(b"b")}


def test_a_result_without_its_layer_is_not_restored() -> None:
    """A result whose layer was cut from the earlier manifest stays lost."""
    before = make(WHOLE, lacking="b")
    assert read(save(before, make([bare(COPY), SOURCE, bare(RUN)]))) == {COPIED}


@pytest.mark.parametrize("after", [WHOLE, [COPY, SOURCE, bare(RUN)], [bare(COPY), SOURCE]])
def test_an_unchanged_build_leaves_the_cache(after: list[Record]) -> None:
    """If no step was executed and nothing is new, the earlier cache stays as it is."""
    assert choose_successor(make(WHOLE), make(after), executed=False) == Successor(is_before=True)


def test_a_result_from_the_builder_is_added() -> None:
    """A result that only the builder had is saved, though no step was executed."""
    before, after = make(WHOLE[:2]), make([bare(COPY), SOURCE, RUN])
    assert read(save(before, after, executed=False)) == {COPIED, RAN}


@pytest.mark.parametrize(
    "config",
    [
        b"",
        b"[]",
        b'{"records": [{}]}',
        b'{"layers": [{}], "records": [{"digest": "x", "layers": [{}]}]}',
        b'{"records": [{"digest": "x", "inputs": [[{}]]}]}',
        b'{"records": [{"digest": "x", "inputs": [[{"link": 5}]]}]}',
    ],
)
def test_an_unknown_format_is_an_error(config: bytes) -> None:
    """A config that is not in BuildKit's format is an error, also one whose keys form a loop."""
    manifest, _ = make(WHOLE)
    with pytest.raises(StoreError, match="BuildKit's format"):
        choose_successor((manifest, config), make(WHOLE), executed=True)


@st.composite
def graphs(draw: st.DrawFn) -> list[Record]:
    """Draw records, each of which refers only to those before it."""
    count = draw(st.integers(1, 8))
    records: list[Record] = []
    for at in range(count):
        below = draw(st.lists(st.integers(0, at - 1), max_size=2)) if at else []
        chain = "abcdefgh"[: draw(st.integers(0, 3))] if at else ""
        records.append((draw(st.sampled_from("xyz")) + str(at), [[each] for each in below], chain))
    return records


@given(graphs(), st.data())
def test_no_result_of_a_known_key_is_ever_lost(records: list[Record], data: st.DataObject) -> None:
    """Whatever results an export lacks, the save has all of them, and saving again changes none."""
    lost = data.draw(st.sets(st.integers(0, len(records) - 1)))
    before = make(records)
    after = make([bare(each) if at in lost else each for at, each in enumerate(records)])
    saved = save(before, after)
    assert read(saved) == read(before)
    assert save(before, saved) == saved


def unite(before: Cache, after: Cache) -> Cache:
    """Return what is saved of a failed build, as BuildKit reads it."""
    united = unite_caches(before, after)
    if united.merged is None:
        assert united.is_before
        return before
    return CacheManifest.model_validate_json(united.merged.manifest), united.merged.config


@given(graphs(), graphs())
def test_a_failed_build_adds_all_its_results(old: list[Record], new: list[Record]) -> None:
    """The scope has all results of the export and no others than both, and no more at once."""
    before, after = make(old), make(new)
    united = unite(before, after)
    assert read(after) <= read(united) <= read(before) | read(after)
    assert unite(united, after) == united


@given(graphs(), graphs())
def test_a_failed_build_takes_nothing_away(old: list[Record], new: list[Record]) -> None:
    """The results of other keys than those of the export stay."""
    before, after = make(old), make([(f"other {key}", links, chain) for key, links, chain in new])
    assert read(unite(before, after)) == read(before) | read(after)


def test_another_version_of_a_key_is_left_out() -> None:
    """A copy of changed files replaces that of the earlier ones, with what was built from those."""
    base: Record = ("base", [], "a")
    copy: Record = ("copy", [[0], [1]], "ab")
    old: list[Record] = [base, ("files", [], ""), copy, ("run", [[2]], "abc")]
    new: list[Record] = [base, ("changed files", [], ""), copy]
    united = unite(make([*old, ("other", [[0]], "ad")]), make(new))
    assert read(united) == {
        ("base", "a"),
        ("copy(base)(changed files)", "ab"),
        ("other(base)", "ad"),
    }


def list_links(cache: Cache) -> dict[str, set[str]]:
    """Return the keys that each key of a cache refers to."""
    records = json.loads(cache[1])["records"]
    return {
        each["digest"]: {
            records[way["link"]]["digest"] for ways in each.get("inputs") or () for way in ways
        }
        for each in records
    }


def test_one_key_refers_to_all_ends_of_a_cache() -> None:
    """BuildKit follows keys from one end to the others; another union ties new ends, not old."""
    base: Record = ("base", [], "a")
    old: list[Record] = [base, ("files", [], ""), ("copy", [[0], [1]], "ab"), ("x", [[0]], "ac")]
    new: list[Record] = [base, ("changed", [], ""), ("copy", [[0], [1]], "ad"), ("y", [[2]], "ade")]
    united = unite(make(old), make(new))
    more = unite(united, make([*new, ("z", [[0]], "af")]))
    for cache, ends in ((united, {"x", "y"}), (more, {"x", "y", "z"})):
        links = list_links(cache)
        used = set().union(*links.values())
        assert [links[key] for key in links.keys() - used if links[key]] == [ends]
    assert read(more) == read(united) | {("z(base)", "af")}


def test_an_input_without_a_key_makes_no_cache_unreadable() -> None:
    broken = unite_caches(None, make([COPY, SOURCE, RUN, ("more", [None, [2]], "abc")]))
    assert broken.merged is not None
    assert read((make(WHOLE)[0], broken.merged.config)) == {COPIED, RAN}


def test_two_steps_that_lost_their_keys_are_not_one() -> None:
    """BuildKit takes equal keys without inputs for one, and mixes the results of what needs it."""
    copied: Record = ("copied", [[1]], "ac")
    first, second = (
        make([SOURCE, ("run", [None], ""), (*copied[:2], chain)]) for chain in ("ac", "ad")
    )
    one = unite_caches(None, first)
    assert one.merged is not None
    both = unite(
        (CacheManifest.model_validate_json(one.merged.manifest), one.merged.config), second
    )
    assert read(both) == set()


def test_a_cache_does_not_grow_with_what_is_left_out() -> None:
    base: Record = ("base", [], "a")
    rest: list[Record] = [("copy", [[0], [1]], "ab"), ("run", [[2]], "abc")]
    united = make([base, ("files", [], ""), *rest, ("last", [[3]], "abcd")])
    for number in range(4):
        united = unite(united, make([base, (f"edit {number}", [], ""), *rest]))
        assert len(json.loads(united[1])["records"]) == 4


def test_the_stage_that_reaches_all_others_leaves_no_key() -> None:
    """What a failed build exports has the keys and results of its own steps alone."""
    manifest, config = make([COPY, SOURCE, RUN, ("reach", [[2]], "c")])
    document = json.loads(config)
    selector = digest_of(NOTHING.encode())
    document["records"][3]["inputs"][0][0]["selector"] = selector
    united = unite_caches(None, (manifest, json.dumps(document).encode()))
    assert united.merged is not None
    assert read((manifest, united.merged.config)) == {COPIED, RAN}
    assert "reach" not in {
        key for key, links in list_links((manifest, united.merged.config)).items() if links
    }


LOST = [bare(COPY), SOURCE, bare(RUN)]


@pytest.mark.parametrize(
    ("executed", "expected"), [(True, {COPIED, RAN}), (False, {COPIED, RAN}), (None, set())]
)
@pytest.mark.usefixtures("nobody")
def test_a_tag_keeps_lost_results(
    registry: MemoryRegistry,
    repository: Repository,
    executed: bool | None,  # noqa: FBT001
    expected: set[tuple[str, str]],
) -> None:
    """A tag gets lost results back, or its manifest; not from a cache whose config is gone."""

    def put(cache: Cache) -> str:
        manifest, config = cache
        registry.shelf().blobs |= {digest_of(data): data for data in (config, b"a", b"b")}
        return registry.put("main", manifest.to_json())

    first = put(make(WHOLE))
    before = repository.read_manifest("main")
    assert before is not None
    if executed is None:
        del registry.shelf().blobs[digest_of(make(WHOLE)[1])]
    exported = put(make(LOST))
    saved = keep_results(repository, "main", exported, before, executed=executed is not False)
    assert saved == repository.read_manifest("main")
    assert saved is not None
    kept = [saved.digest == first, saved.digest == exported]
    assert kept == [executed is False, executed is None]
    content = saved.parse()
    assert content is not None
    assert content.cache_config is not None
    assert read((content, registry.shelf().blobs[content.cache_config.digest])) == expected


def export(layout: Path, cache: Cache) -> str:
    """Export a cache into a layout as BuildKit does, and return its digest."""
    manifest, config = cache
    put_blob(layout, config, CONFIG_TYPE)
    for letter in "abcd":
        if digest_of(letter.encode()) in manifest.layer_sizes:
            put_blob(layout, letter.encode())
    entry = put_blob(layout, manifest.to_json(), MANIFEST_TYPE)
    write_index(layout, {"app": entry})
    return str(entry["digest"])


OTHER: Record = ("other", [], "cd")
"""A result that makes an export as large as what it lost."""


@pytest.mark.parametrize("how", ["", "changed"])
def test_a_store_keeps_lost_results(store: Store, how: str) -> None:
    """A scope in a store keeps lost results with their layers, unless one of those is damaged."""
    with store.snapshot(draw_name()) as staging:
        store.commit(staging, "app", export(staging.path, make(WHOLE)))
    with store.snapshot(draw_name(), ["app"]) as staging:
        if how:
            damage(blob_file(staging.path, b"b"), how)
        saved = store.commit(staging, "app", export(staging.path, make([*LOST, OTHER])))
    kept = b"cd" if how else b"abcd"
    assert saved.contents == {digest_of(bytes([letter])) for letter in kept}
    store.collect()
    assert store.verify(full=True).damages == ()


def test_an_unchanged_build_leaves_the_scope_of_a_store(store: Store) -> None:
    """A build that executed nothing leaves a scope in a store, whatever BuildKit exports."""
    with store.snapshot(draw_name()) as staging:
        first = store.commit(staging, "app", export(staging.path, make(WHOLE)))
    with store.snapshot(draw_name(), ["app"]) as staging:
        exported = export(staging.path, make(LOST))
        saved = store.commit(staging, "app", exported, executed=False)
    assert saved.unchanged
    assert saved.digest == first.digest
