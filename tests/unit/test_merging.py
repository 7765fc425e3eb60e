"""Tests that a merged cache has everything that each cache has, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bxcache.errors import StoreError
from bxcache.insight.chains import read_chains
from bxcache.oci.documents import LARGEST_CONFIG, CacheManifest, parse_config
from bxcache.oci.merging import merge_caches
from bxcache.store.store import Store
from tests.support.layouts import (
    CONFIG_TYPE,
    LAYER_TYPE,
    MANIFEST_TYPE,
    digest_of,
    export,
    make_config,
)

Cache = tuple[CacheManifest, bytes]


def cache(config: bytes, layers: list[str], *, as_index: bool = False) -> Cache:
    """Make a cache in one of BuildKit's two forms."""
    blobs = [{"mediaType": LAYER_TYPE, "digest": digest, "size": 3} for digest in layers]
    named = {"mediaType": CONFIG_TYPE, "digest": digest_of(config), "size": len(config)}
    document: dict[str, Any] = {"schemaVersion": 2, "mediaType": MANIFEST_TYPE}
    document |= {"manifests": [*blobs, named]} if as_index else {"config": named, "layers": blobs}
    return CacheManifest.model_validate(document), config


def of_chains(*chains: str, as_index: bool = False) -> Cache:
    """Make a cache with chains such as `abc`, where `a` is at the bottom."""
    written = [[letter.encode() for letter in chain] for chain in chains]
    layers = dict.fromkeys(digest_of(layer) for chain in written for layer in chain)
    return cache(make_config(written), list(layers), as_index=as_index)


def chains_of(manifest: CacheManifest, config: bytes) -> set[tuple[str, ...]]:
    found = read_chains(parse_config(config), manifest.layer_sizes)
    return {tuple(layer.digest for layer in chain.layers) for chain in found}


def resolve(config: bytes) -> set[tuple[Any, ...]]:
    """Return each record with its links replaced by the content they refer to."""
    document = json.loads(config)
    layers, records = document["layers"], document["records"]

    def name(at: int) -> tuple[str, ...]:
        below = layers[at].get("parent", 0)
        return (*(name(below) if below >= 0 else ()), layers[at]["blob"])

    return {
        (
            each["digest"],
            tuple(name(result["layer"]) for result in each.get("layers", ())),
            tuple(
                tuple(layers[at]["blob"] for at in chain["layers"])
                for chain in each.get("chains", ())
            ),
            tuple(
                tuple((records[way["link"]]["digest"], way.get("selector")) for way in ways)
                for ways in each.get("inputs", ())
            ),
        )
        for each in records
    }


CHAINS = st.lists(
    st.lists(st.sampled_from("abcdef"), min_size=1, max_size=4, unique=True).map("".join),
    min_size=1,
    max_size=4,
)


@given(st.lists(CHAINS, min_size=1, max_size=3), st.booleans())
def test_the_merged_chains_are_the_union(several: list[list[str]], as_index: bool) -> None:  # noqa: FBT001
    """The merged chains are the union; a prefix of another chain is part of it."""
    caches = [of_chains(*chains, as_index=as_index) for chains in several]
    merged = merge_caches(caches)
    manifest = CacheManifest.model_validate_json(merged.manifest)
    assert not manifest.find_problem()
    own = set().union(*(chains_of(*each) for each in caches))
    assert chains_of(manifest, merged.config) == own
    layers = set().union(*(set(each.layer_sizes) for each, _ in caches))
    assert set(manifest.layer_sizes) == layers


def test_records_keep_their_links() -> None:
    """Results, blob chains and alternative inputs keep their links; Go omits zero values."""
    first = {
        "layers": [{"blob": "a", "parent": -1}, {"blob": "b"}],
        "records": [
            {"digest": "r0", "layers": [{"layer": 1, "createdAt": "t"}]},
            {"digest": "r1", "inputs": [[{"link": 0, "selector": "s"}]]},
        ],
    }
    second = {
        "layers": [{"blob": "c", "parent": -1}, {"blob": "d"}, {"blob": "e", "parent": 1}],
        "records": [
            {"digest": "r2", "layers": [{"layer": 2}]},
            {"digest": "r3", "chains": [{"layers": [0, 2], "createdAt": "t"}]},
            {"digest": "r4", "inputs": [[{"link": 0}, {"link": 1}], []]},
        ],
    }
    configs = [json.dumps(each).encode() for each in (first, second)]
    merged = merge_caches([cache(config, []) for config in configs])
    assert resolve(merged.config) == resolve(configs[0]) | resolve(configs[1])


def test_merging_one_cache_keeps_its_content() -> None:
    """Merging one cache keeps its records and layers."""
    manifest, config = of_chains("abc", "abd")
    merged = merge_caches([(manifest, config)])
    assert resolve(merged.config) == resolve(config)


@pytest.mark.parametrize("config", [b"{", b"[]", b'{"layers":[3]}', b'{"records":[{"inputs":3}]}'])
def test_an_invalid_config_is_an_error(config: bytes) -> None:
    """An invalid config raises a StoreError that names BuildKit's format."""
    with pytest.raises(StoreError, match="not in BuildKit's format"):
        merge_caches([of_chains("a"), cache(config, [])])


def test_a_config_that_buildkit_would_refuse_is_an_error() -> None:
    """A merged config of more than 1 MiB is an error."""
    record = {"digest": "x" * (LARGEST_CONFIG // 2)}
    config = json.dumps({"layers": [], "records": [record]}).encode()
    with pytest.raises(StoreError, match="too large"):
        merge_caches([cache(config, []), cache(config, [])])


def test_a_store_saves_the_exports_of_several_nodes(store: Store) -> None:
    """A store saves the exports of several nodes as one scope, and drops their manifests."""
    with store.snapshot("build") as staging:
        digests = [export(staging.path, "app", *chain) for chain in ((b"a", b"b"), (b"a", b"c"))]
        saved = store.commit(staging, "app", digests[0], others=digests[1:])
    assert saved.layers == 3
    store.collect()
    assert not store.verify(full=True).damages
    assert len(list((store.path / "blobs" / "sha256").iterdir())) == 3 + 2
