"""Tests that the images of a scope's stages are listed and removed with it, and no other tag is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bxcache.console.registry import render_pruned
from bxcache.errors import RegistryError
from bxcache.place.scope import Owner, Scope, name_stage
from bxcache.registry.labels import EMPTY, Label, render_label
from bxcache.registry.registry_cache import RegistryCache
from tests.support.registries import (
    Answer,
    Asked,
    MemoryRegistry,
    cache_manifest,
    digest_of,
    kind_of_request,
    refuse,
)
from tests.support.sampling import Effort, choose
from tests.unit.stage_images import write_config, write_manifest

pytestmark = pytest.mark.usefixtures("nobody")

NOW = 1_700_000_000.0
EVERY = 5
"""Besides the first request of each kind, every so many requests are tried."""
BOTH = pytest.mark.parametrize("tag_deletes", [False, True])


def scope_of(branch: str) -> Scope:
    return Scope("image", None, ("linux/amd64",), Owner.of_branch(branch))


def image(*layers: str) -> bytes:
    return write_manifest(layers, write_config(layers, []))


def save(registry: MemoryRegistry, branch: str, stages: Mapping[str, bytes], body: bytes) -> str:
    """Write a scope as a build leaves it: its own tag, that of each stage, and the label."""
    scope = scope_of(branch)
    digest = registry.put(scope.name, body)
    written = {}
    for stage, content in stages.items():
        tag = name_stage(scope.name, stage)
        written[tag.removeprefix(f"{scope.name}.")] = registry.put(tag, content)
    registry.shelf().blobs[digest_of(EMPTY)] = EMPTY
    label = Label(scope, digest, NOW, NOW, stages=tuple(written.items()))
    registry.put(f"{scope.name}.bxcache", render_label(label))
    return scope.name


def tags_of(registry: MemoryRegistry) -> dict[str, str]:
    shelf = registry.shelf()
    assert set(shelf.tags.values()) <= shelf.manifests.keys()
    return dict(shelf.tags)


def open_cache(registry: MemoryRegistry) -> RegistryCache:
    return RegistryCache(f"{registry.address}/app")


def prune(registry: MemoryRegistry, *branches: str) -> set[str]:
    removed = open_cache(registry).prune(branches=branches).removed
    return {each.scope.tag for each in removed}


def below(tags: Mapping[str, str], scope: str) -> set[str]:
    return {tag for tag in tags if tag == scope or tag.startswith(f"{scope}.")}


def test_a_scope_is_listed_with_its_stages(registry: MemoryRegistry) -> None:
    """A scope's size is that of the image with the layers of all its stages."""
    tag = save(registry, "main", {"base": image("a"), "build": image("a", "bb")}, image("a", "bb"))
    (found,) = open_cache(registry).list_scopes()
    assert found.tag == tag
    assert set(found.stages) == {f"{tag}.base", f"{tag}.build"}
    assert found.bytes == 3
    assert not found.changed


@BOTH
def test_stages_are_removed_with_their_scope(registry: MemoryRegistry, tag_deletes: bool) -> None:  # noqa: FBT001
    """Stages are removed with their scope, and a scope that shares their images stays unchanged."""
    registry.tag_deletes = tag_deletes
    shared = {"base": image("a"), "bxcache": image("c")}
    kept = save(registry, "main", {**shared, "build": image("a", "b")}, image("a", "b"))
    gone = save(registry, "gone", {**shared, "build": image("a", "d")}, image("a", "d"))
    before = tags_of(registry)
    assert len(below(before, gone)) == len(below(before, kept)) == 5
    assert prune(registry, "main") == {gone}
    assert tags_of(registry) == {tag: before[tag] for tag in below(before, kept)}


@BOTH
@pytest.mark.parametrize("foreign", ["{}.keep", "{}.build", "{}-x", "{}x", "{}_y.build"])
def test_tags_beside_a_cache_of_all_stages_stay(
    registry: MemoryRegistry,
    foreign: str,
    tag_deletes: bool,  # noqa: FBT001
) -> None:
    """Beside a cache of all stages, tags with its prefix are not bxcache's and stay."""
    registry.tag_deletes = tag_deletes
    gone = save(registry, "gone", {}, cache_manifest(b"1"))
    other = foreign.format(gone)
    digest = registry.put(other, image("x"))
    assert prune(registry, "main") == {gone}
    assert tags_of(registry) == {other: digest}


@BOTH
def test_tags_with_the_same_prefix_stay(
    registry: MemoryRegistry,
    tag_deletes: bool,  # noqa: FBT001
) -> None:
    """Tags with the scope's name as a prefix, but without the dot, stay."""
    registry.tag_deletes = tag_deletes
    gone = save(registry, "gone", {"build": image("a")}, image("a"))
    others = [f"{gone}-build", f"{gone}x", gone.removesuffix("e"), "latest"]
    for other in others:
        registry.put(other, image("a"))
    kept = save(registry, "gone-too", {"build": image("a")}, image("a"))
    before = tags_of(registry)
    assert prune(registry, "gone-too") == {gone}
    assert tags_of(registry) == {tag: before[tag] for tag in (*others, *below(before, kept))}


@BOTH
@pytest.mark.parametrize("body", [image("a"), image("x"), image("a", "b")])
def test_a_foreign_tag_beside_a_scope_stays(
    registry: MemoryRegistry,
    body: bytes,
    tag_deletes: bool,  # noqa: FBT001
) -> None:
    """A tag that another client wrote beside a scope stays, even under a stage's name."""
    registry.tag_deletes = tag_deletes
    gone = save(registry, "gone", {"base": image("a"), "build": image("a", "b")}, image("a", "b"))
    theirs = {f"{gone}.release-1.2": registry.put(f"{gone}.release-1.2", body)}
    theirs[f"{gone}.base"] = registry.put(f"{gone}.base", image("their own"))
    tried = open_cache(registry).prune(branches=(), dry_run=True)
    assert [each.scope.stages for each in tried.removed] == [(f"{gone}.build",)]
    told = render_pruned(tried)
    assert f"would be removed: {gone}.build (an image of its stages)" in told.splitlines()
    assert not any(tag in told for tag in theirs)
    assert prune(registry) == {gone}
    assert tags_of(registry) == theirs


def test_a_label_without_a_list_of_stages_removes_none(registry: MemoryRegistry) -> None:
    """With a label of an earlier version, which lists no stages, only the scope is removed."""
    gone = save(registry, "gone", {}, image("a"))
    digest = registry.put(f"{gone}.base", image("a"))
    assert prune(registry) == {gone}
    assert tags_of(registry) == {f"{gone}.base": digest}


def test_a_changed_scope_stays_with_its_stages(registry: MemoryRegistry) -> None:
    """A scope that another client changed stays with its stages."""
    gone = save(registry, "gone", {"build": image("a")}, image("a"))
    registry.put(gone, image("b"))
    before = tags_of(registry)
    assert prune(registry, "main") == set()
    assert tags_of(registry) == before


@BOTH
def test_after_an_interruption_the_next_prune_finishes(
    tag_deletes: bool,  # noqa: FBT001
    effort: Effort,
) -> None:
    """After an interruption at any request, kept scopes are whole, and the next prune finishes."""
    stages = {"base": image("a"), "build": image("a", "b")}

    def fill(registry: MemoryRegistry) -> dict[str, str]:
        registry.tag_deletes = tag_deletes
        kept = save(registry, "main", stages, image("a", "b"))
        save(registry, "gone", {**stages, "test": image("t")}, image("a", "b", "t"))
        save(registry, "gone-too", stages, image("a", "b"))
        before = tags_of(registry)
        return {tag: before[tag] for tag in below(before, kept)}

    with MemoryRegistry() as registry:
        expected = fill(registry)
        mark = len(registry.asked)
        prune(registry, "main")
        asked = registry.asked[mark:]
        assert tags_of(registry) == expected
    assert len(asked) > 15
    for number, _ in choose(asked, kind_of_request, EVERY, effort=effort):
        with MemoryRegistry() as registry:
            assert fill(registry) == expected
            left = iter(range(number - 1))

            def end(_: Asked, left: Iterator[int] = left) -> Answer | None:
                return refuse(500, "X", "the end") if next(left, None) is None else None

            registry.interfere = end
            with pytest.raises(RegistryError):
                prune(registry, "main")
            found = tags_of(registry)
            assert {tag: found.get(tag) for tag in expected} == expected
            registry.interfere = lambda _: None
            prune(registry, "main")
            assert tags_of(registry) == expected


IMAGES = st.sampled_from([image("a"), image("b"), image("a", "b")])
STAGES = st.dictionaries(st.sampled_from(["base", "build", "bxcache", "x.y"]), IMAGES)


@given(
    st.dictionaries(st.sampled_from(["main", "a", "b"]), st.tuples(STAGES, IMAGES)),
    st.dictionaries(st.sampled_from(["latest", "image.linux-amd64", "main.build"]), IMAGES),
    st.booleans(),
)
def test_prune_never_touches_anything_else(
    scopes: Mapping[str, tuple[Mapping[str, bytes], bytes]],
    foreign: Mapping[str, bytes],
    tag_deletes: bool,  # noqa: FBT001
) -> None:
    """With any sharing of images, pruning removes scopes with stages, and other tags stay."""
    with MemoryRegistry() as registry:
        registry.tag_deletes = tag_deletes
        for branch, (stages, body) in scopes.items():
            save(registry, branch, stages, body)
        for tag, body in foreign.items():
            registry.put(tag, body)
        before = tags_of(registry)
        removed = prune(registry, "main")
        assert removed == {scope_of(branch).name for branch in scopes if branch != "main"}
        gone = {tag for scope in removed for tag in below(before, scope)}
        assert tags_of(registry) == {tag: d for tag, d in before.items() if tag not in gone}
