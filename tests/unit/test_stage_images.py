"""Tests of merging the inline caches of several images into one image."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bxcache.errors import RegistryError, Trouble
from bxcache.oci.documents import CacheManifest
from bxcache.oci.inline_cache import StageImage, merge_images, read_layer_chains
from bxcache.oci.merging import Merged
from bxcache.registry.repository import Repository
from bxcache.registry.stage_images import join_images, read_images
from tests.support.layouts import digest_of
from tests.support.registries import MemoryRegistry
from tests.unit.stage_images import (
    INDEX,
    INLINE,
    KINDS,
    Record,
    Told,
    diff_id_of,
    layer_of,
    read_cache,
    write_config,
    write_index,
    write_manifest,
    write_records,
)

pytestmark = pytest.mark.usefixtures("nobody")


@dataclass(frozen=True)
class Written:
    """The documents of an image."""

    manifest: bytes
    config: bytes

    def parse(self) -> StageImage:
        return StageImage(CacheManifest.model_validate_json(self.manifest), json.loads(self.config))


def image(
    layers: Sequence[str], records: Sequence[Record] | None, kind: str = "oci", **more: object
) -> Written:
    config = write_config(layers, records, **more)
    return Written(write_manifest(layers, config, kind), config)


def step(digest: str, *links: int, layer: int | None = None) -> Record:
    """Make a record: a step that follows from others, with its layer if it has one."""
    record: Record = {"digest": digest}
    if layer is not None:
        record["layers"] = [{"layer": layer, "createdAt": "2026-01-02T03:04:05Z"}]
    if links:
        record["inputs"] = [[{"link": link}] for link in links]
    return record


@st.composite
def images(draw: st.DrawFn) -> Written:
    """Draw an image whose records follow from each other in any way and name layers in both."""
    layers = draw(st.lists(st.sampled_from("abcde"), min_size=1, max_size=4))
    positions = st.integers(0, len(layers) - 1)
    records: list[Record] = []
    for at in range(draw(st.integers(1, 5))):
        record: Record = {"digest": draw(st.sampled_from(["k1", "k2", "k3"]))}
        link = st.integers(0, at - 1).map(lambda number: {"link": number}) if at else st.nothing()
        selected = st.tuples(link, st.sampled_from(["", "/a"])).map(_select)
        if at:
            ways = st.lists(st.lists(selected, min_size=1, max_size=2), max_size=2)
            record["inputs"] = draw(ways)
        record["layers"] = [{"layer": each} for each in draw(st.lists(positions, max_size=2))]
        chains = draw(st.lists(st.lists(positions, min_size=1, max_size=3), max_size=1))
        record["chains"] = [{"layers": chain} for chain in chains]
        records.append({name: value for name, value in record.items() if value})
    # BuildKit reads the records in any order.
    order = draw(st.permutations(range(len(records))))
    return image(layers, [_move(records[at], order) for at in order])


def _select(given: tuple[dict[str, int], str]) -> dict[str, Any]:
    link, selector = given
    return {**link, "selector": selector} if selector else dict(link)


def _move(record: Record, order: Sequence[int]) -> Record:
    if "inputs" not in record:
        return record
    moved = [
        [{**each, "link": order.index(each["link"])} for each in ways] for ways in record["inputs"]
    ]
    return {**record, "inputs": moved}


SEVERAL = st.lists(images(), min_size=1, max_size=4)


def merge(*several: Written) -> Merged:
    return merge_images([each.parse() for each in several])


def read(*several: Written | Merged) -> Told:
    """Return the results that all the images have together."""
    told: Told = {}
    for each in several:
        for key, chains in read_cache(each.manifest, each.config).items():
            told.setdefault(key, set()).update(chains)
    return told


# Content.


@given(SEVERAL)
def test_each_key_has_the_results_of_all_and_no_others(several: list[Written]) -> None:
    """Each key has exactly the layers and the inputs that it has in the images."""
    assert read(merge(*several)) == read(*several)


@given(SEVERAL)
def test_equal_keys_are_written_once(several: list[Written]) -> None:
    """A key of several images is written once."""
    document = json.loads(merge(*several).config)
    records = json.loads(base64.b64decode(document[INLINE]))
    assert len(records) == len(read(*several))


@given(SEVERAL)
def test_each_layer_is_listed_once_with_its_diff_id(several: list[Written]) -> None:
    """Each layer is listed once, with its diff id and its instruction at the same position."""
    merged = merge(*several)
    layers = [each["digest"] for each in json.loads(merged.manifest)["layers"]]
    document = json.loads(merged.config)
    own = {each.digest for written in several for each in written.parse().manifest.layers}
    assert len(layers) == len(own)
    assert set(layers) == own
    known = {layer_of(name): name for name in "abcde"}
    names = [known[digest] for digest in layers]
    assert document["rootfs"]["diff_ids"] == [diff_id_of(name) for name in names]
    assert [each["created_by"] for each in document["history"]] == [f"RUN {n}" for n in names]


@given(SEVERAL, st.randoms())
def test_the_order_of_images_does_not_change_the_results(
    several: list[Written], drawn: random.Random
) -> None:
    """The order of the images does not change the results."""
    other = list(several)
    drawn.shuffle(other)
    assert read(merge(*several)) == read(merge(*other))


@given(SEVERAL, images())
def test_a_merged_image_can_be_merged_again(several: list[Written], more: Written) -> None:
    """A merged image can be merged again like any other."""
    merged = merge(*several)
    again = merge(Written(merged.manifest, merged.config), more, *several)
    assert read(again) == read(*several, more)


@given(SEVERAL)
def test_the_manifest_names_its_config(several: list[Written]) -> None:
    """The manifest has the digest and the size of its config."""
    merged = merge(*several)
    named = json.loads(merged.manifest)["config"]
    assert (named["digest"], named["size"]) == (digest_of(merged.config), len(merged.config))


@given(SEVERAL)
def test_layer_chains_are_those_of_the_results(several: list[Written]) -> None:
    """The layer chains without names are the results and their lower parts, and nothing else."""
    merged = merge(*several)
    links = read_layer_chains(
        CacheManifest.model_validate_json(merged.manifest), merged.config
    ).layers
    found = set()
    for link in links:
        chain, at = [link.blob], link.parent
        while at >= 0:
            chain, at = [links[at].blob, *chain], links[at].parent
        found.add(tuple(chain))
    results = {chain for chains in read(*several).values() for chain in chains}
    assert found == {chain[:end] for chain in results for end in range(1, len(chain) + 1)}
    assert len(found) == len(links)


def test_a_repeated_layer_stays_twice_in_its_chain() -> None:
    """A layer that two equal instructions made stays twice in its chain."""
    merged = merge(image("aba", [step("k1", layer=2)]))
    assert read(merged) == {("k1",): {tuple(map(layer_of, "aba"))}}
    assert len(json.loads(merged.manifest)["layers"]) == 2


def test_a_layer_with_two_compressions_counts_as_two() -> None:
    """A layer with two compressions counts as two, and a chain has the one of its own image."""
    config = write_config("a", [step("k1", layer=0)])
    document = json.loads(write_manifest("a", config))
    document["layers"][0]["digest"] = layer_of("zstd")
    other = Written(json.dumps(document).encode(), config)
    merged = merge(image("a", [step("k1", layer=0)]), other)
    assert read(merged) == {("k1",): {(layer_of("a"),), (layer_of("zstd"),)}}


# Form.


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        (("oci",), "oci"),
        (("docker",), "docker"),
        (("docker", "docker"), "docker"),
        (("oci", "docker"), "oci"),
        (("docker", "oci"), "oci"),
        (("docker", "oci", "docker"), "oci"),
    ],
)
def test_the_form_is_that_of_all_images_or_oci(kinds: tuple[str, ...], expected: str) -> None:
    """The media types are docker's only if all images have them; registries may refuse a mix."""
    several = [image(str(n), [step("k", layer=0)], kind) for n, kind in enumerate(kinds)]
    document = json.loads(merge(*several).manifest)
    assert document["mediaType"] == KINDS[expected]["manifest"]
    assert document["config"]["mediaType"] == KINDS[expected]["config"]
    assert {each["mediaType"] for each in document["layers"]} == {KINDS[expected]["layer"]}


@pytest.mark.parametrize(
    ("docker", "oci"),
    [
        ("rootfs.diff.tar", "tar"),
        ("rootfs.diff.tar.gzip", "tar+gzip"),
        ("rootfs.diff.tar.zstd", "tar+zstd"),
    ],
)
def test_a_layer_keeps_its_compression(docker: str, oci: str) -> None:
    """A layer keeps its compression when its media type becomes one of OCI."""
    written = image("a", [step("k", layer=0)], "docker")
    document = json.loads(written.manifest)
    document["layers"][0]["mediaType"] = f"application/vnd.docker.image.{docker}"
    first = Written(json.dumps(document).encode(), written.config)
    merged = json.loads(merge(first, image("b", [step("k", layer=0)])).manifest)
    assert merged["layers"][0]["mediaType"] == f"application/vnd.oci.image.layer.v1.{oci}"


def test_the_annotations_of_a_layer_are_kept() -> None:
    """The annotations of a layer are kept."""
    written = image("a", [step("k", layer=0)])
    document = json.loads(written.manifest)
    document["layers"][0]["annotations"] = {"x": "y"}
    merged = json.loads(merge(Written(json.dumps(document).encode(), written.config)).manifest)
    assert merged["layers"] == document["layers"]


# Registry.


def push(
    registry: MemoryRegistry, tag: str, written: Written, layers: Sequence[str] = "abcdef"
) -> str:
    """Push an image without any checks, and return its digest."""
    shelf = registry.shelf()
    shelf.blobs[digest_of(written.config)] = written.config
    shelf.blobs |= {layer_of(name): name.encode() for name in layers}
    kind = json.loads(written.manifest)["mediaType"]
    return registry.put(tag, written.manifest, kind=kind)


def pull(registry: MemoryRegistry, tag: str) -> Written:
    """Return the documents of a tag, as the registry has them."""
    shelf = registry.shelf()
    kind, body = shelf.manifests[shelf.tags[tag]]
    document = json.loads(body)
    assert kind == document["mediaType"]
    return Written(body, shelf.blobs[document["config"]["digest"]])


BASE = image("ab", [step("k1", layer=0), step("k2", 0, layer=1)])
BUILD = image("abc", [step("k1", layer=0), step("k2", 0, layer=1), step("k3", 1, layer=2)])
PLAIN = image("d", None)


def test_a_joined_image_has_the_results_of_all(
    registry: MemoryRegistry, repository: Repository
) -> None:
    """The tag gets the results of all images, and the images stay unchanged."""
    before = {tag: push(registry, tag, each) for tag, each in (("base", BASE), ("build", BUILD))}
    joined = join_images(repository, "main", read_images(repository, ["base", "build"]))
    assert joined is not None
    assert read(pull(registry, "main")) == read(BASE, BUILD)
    digest = registry.shelf().tags["main"]
    assert joined.manifest.digest == digest
    assert registry.shelf().tags == {**before, "main": digest}


def test_layers_are_found_by_their_diff_ids(
    registry: MemoryRegistry, repository: Repository
) -> None:
    """The joined image maps diff ids to layers, so that an engine's names can be translated."""
    push(registry, "build", BUILD)
    joined = join_images(repository, "main", read_images(repository, ["build"]))
    assert joined is not None
    told = {diff_id: layer.digest for diff_id, layer in joined.layers.items()}
    assert told == {diff_id_of(name): layer_of(name) for name in "abc"}


def test_each_platform_of_an_index_is_read(
    registry: MemoryRegistry, repository: Repository
) -> None:
    """All platforms of an index are read, and attestations are ignored."""
    other = image("ef", [step("k4", layer=1)])
    parts = [BUILD, other, PLAIN]
    for number, each in enumerate(parts):
        push(registry, f"part{number}", each)
    registry.put("both", write_index(*(each.manifest for each in parts)), kind=INDEX)
    assert join_images(repository, "main", read_images(repository, ["both"])) is not None
    assert read(pull(registry, "main")) == read(BUILD, other)


@pytest.mark.parametrize("tags", [[], ["absent"], ["plain"], ["plain", "absent", "words"]])
def test_without_a_cache_nothing_is_written(
    tags: list[str], registry: MemoryRegistry, repository: Repository
) -> None:
    """Without a cache in any of the images, nothing is written."""
    push(registry, "plain", PLAIN)
    registry.put("words", b'"words"')
    before = dict(registry.shelf().tags)
    assert join_images(repository, "main", read_images(repository, tags)) is None
    assert registry.shelf().tags == before


def test_images_without_a_cache_are_skipped(
    registry: MemoryRegistry, repository: Repository
) -> None:
    """Images without a cache are skipped."""
    push(registry, "plain", PLAIN)
    push(registry, "base", BASE)
    assert (
        join_images(repository, "main", read_images(repository, ["plain", "absent", "base"]))
        is not None
    )
    assert read(pull(registry, "main")) == read(BASE)


@pytest.mark.parametrize(
    ("records", "complete"),
    [
        ([step("k1", layer=0), step("k2", 0, layer=1)], True),
        ([step("k1", layer=0), {"digest": "k2", "chains": [{"layers": [0, 1]}]}], True),
        ([step("k1", layer=0), step("k2", 0)], False),
        ([], False),
        (None, False),
    ],
)
def test_a_cache_without_the_top_layer_is_incomplete(
    records: list[Record] | None,
    *,
    complete: bool,
    registry: MemoryRegistry,
    repository: Repository,
) -> None:
    """A cache is complete if it has the top layer: BuildKit can leave out the last steps."""
    push(registry, "build", image("ab", records))
    assert read_images(repository, ["build"])["build"].has_cache is complete


def list_live(before: Written, images: Sequence[Written]) -> Told:
    """Return the results of one image whose layers others have."""
    layers = {layer["digest"] for each in images for layer in json.loads(each.manifest)["layers"]}
    found = read(before).items()
    return {key: {each for each in chains if layers.issuperset(each)} for key, chains in found}


def list_results(told: Told) -> Told:
    """Return the keys that have a result."""
    return {key: chains for key, chains in told.items() if chains}


@given(SEVERAL, images())
def test_results_of_the_image_before_are_kept_with_their_layers(
    several: list[Written], before: Written
) -> None:
    """A joined image keeps each earlier result whose layers it has, and no other."""
    merged = merge_images([each.parse() for each in several], [before.parse()])
    expected = read(*several)
    for key, chains in list_live(before, several).items():
        expected.setdefault(key, set()).update(chains)
    assert list_results(read(merged)) == list_results(expected)
    assert json.loads(merged.manifest)["layers"] == json.loads(merge(*several).manifest)["layers"]


def test_what_leads_to_no_layer_is_forgotten() -> None:
    """A key stays only for the sake of a result: its own, or that of one that follows from it."""
    kept = [step("k1"), step("k2", 0, layer=0), step("k3", layer=1), step("k4", 2)]
    merged = merge_images([image("b", []).parse()], [image("ba", kept).parse()])
    records = json.loads(base64.b64decode(json.loads(merged.config)[INLINE]))
    assert [each["digest"] for each in records] == ["k1", "k2"]


@pytest.mark.parametrize("damage", ["", "e30=", "WzFd", 3, "W3siZGlnZXN0IjoiayIsImxheWVycyI6W119"])
def test_a_damaged_image_before_is_left_out(
    damage: object, registry: MemoryRegistry, repository: Repository
) -> None:
    """An earlier image with an invalid cache does not keep the next one from being written."""
    push(registry, "base", BASE)
    config: dict[str, Any] = {INLINE: damage}
    push(registry, "main", image("ab", [], **config))
    read_before = read_images(repository, ["base", "main"])
    assert join_images(repository, "main", {"base": read_before["base"]}, read_before["main"])
    assert read(pull(registry, "main")) == read(BASE)


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


BROKEN: dict[str, dict[str, Any]] = {
    "no layers told": {"rootfs": {}},
    "fewer layers told": {"rootfs": {"diff_ids": [diff_id_of("a")]}},
    "rootfs is null": {"rootfs": None},
    "layers of another shape": {"rootfs": {"diff_ids": [{}, {}]}},
    "no history": {"history": []},
    "history of another shape": {"history": ["a", "b"]},
    "no base64": {INLINE: "?"},
    "no text": {INLINE: 3},
    "no JSON": {INLINE: "eA=="},
    "too deep": {INLINE: base64.b64encode(nested(100_000).encode()).decode()},
    "no records": {INLINE: write_records(["x"])},  # type: ignore[list-item]
    "no digest": {INLINE: write_records([{"layers": [{"layer": 0}]}])},
    "a layer too high": {INLINE: write_records([step("k", layer=2)])},
    "a layer too low": {INLINE: write_records([step("k", layer=-1)])},
    "a chain too high": {INLINE: write_records([{"digest": "k", "chains": [{"layers": [2]}]}])},
    "a chain too low": {INLINE: write_records([{"digest": "k", "chains": [{"layers": [-1]}]}])},
    "a link too high": {INLINE: write_records([step("k", 1)])},
    "a link too low": {INLINE: write_records([step("k"), step("l", -2)])},
    "a link to itself": {INLINE: write_records([step("k", 0)])},
    "a loop of two": {INLINE: write_records([step("k", 1), step("l", 0)])},
    "a loop of three": {INLINE: write_records([step("k", 1), step("l", 2), step("m", 0)])},
    "a loop of hundreds": {INLINE: write_records([step("k", (n + 1) % 400) for n in range(400)])},
    "a loop further down": {INLINE: write_records([step("k"), step("l", 2), step("m", 0, 1)])},
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_an_image_with_an_invalid_cache_is_an_error(
    broken: dict[str, Any], registry: MemoryRegistry, repository: Repository
) -> None:
    """An image that is not in BuildKit's format is an error, and the tag stays unchanged."""
    push(registry, "base", BASE)
    push(registry, "broken", image("ab", [], **broken))
    before = dict(registry.shelf().tags)
    with pytest.raises(RegistryError) as caught:
        join_images(repository, "main", read_images(repository, ["base", "broken"]))
    assert caught.value.trouble is Trouble.REFUSED
    assert registry.address in str(caught.value)
    assert "not in BuildKit's format" in caught.value.cause
    assert len(caught.value.cause) < 200
    assert registry.shelf().tags == before


@pytest.mark.parametrize("config", [b"", b"{", b"[]", b"3", nested(100_000).encode()])
def test_an_invalid_config_is_skipped(
    config: bytes, registry: MemoryRegistry, repository: Repository
) -> None:
    """An image with an invalid config is skipped, as a foreign image."""
    push(registry, "base", BASE)
    push(registry, "other", Written(write_manifest("a", config), config))
    assert join_images(repository, "main", read_images(repository, ["other", "base"])) is not None
    assert read(pull(registry, "main")) == read(BASE)


def test_a_long_chain_of_steps_is_joined(registry: MemoryRegistry, repository: Repository) -> None:
    """A chain of 3,000 records, listed from the last to the first, is joined."""
    size = 3000
    records = [step(f"k{n}", *([n + 1] if n < size - 1 else []), layer=0) for n in range(size)]
    push(registry, "long", image("a", records))
    assert join_images(repository, "main", read_images(repository, ["long"])) is not None
    document = json.loads(pull(registry, "main").config)
    assert len(json.loads(base64.b64decode(document[INLINE]))) == size


def test_a_cache_that_is_too_large_is_not_written(
    registry: MemoryRegistry, repository: Repository
) -> None:
    """A cache that is larger than BuildKit's limit is an error, and the tag stays unchanged."""
    names = [f"{number}" for number in range(8000)]
    push(registry, "huge", image(names, [step("k", layer=0)]), names)
    push(registry, "main", BASE)
    with pytest.raises(RegistryError, match="more than BuildKit reads"):
        join_images(repository, "main", read_images(repository, ["huge"]))
    assert read(pull(registry, "main")) == read(BASE)


def test_no_layer_is_fetched(registry: MemoryRegistry, repository: Repository) -> None:
    """Only the manifest and the config of each image are fetched."""
    tags = [f"t{number}" for number in range(12)]
    for tag in tags:
        push(registry, tag, BUILD)
    join_images(repository, "main", read_images(repository, tags))
    wanted = {*tags, digest_of(BUILD.config)}
    read_from = {asked.path.rpartition("/")[2] for asked in registry.asked if asked.method == "GET"}
    assert read_from == wanted
