"""Tests of finding a registry's cache for other platforms, at the cost of one request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from bxcache.backends.declared import list_backends
from bxcache.config.loading import load_setup
from bxcache.pipeline.choose import plan_build
from bxcache.pipeline.plan import list_candidates
from bxcache.place.scope import Owner, Scope
from tests.support.registries import MemoryRegistry, cache_manifest, refuse
from tests.support.synthetic_build import make_prepared

if TYPE_CHECKING:
    from pathlib import Path

    from bxcache.pipeline.plan import BuildPlan
    from bxcache.store.store import Store

pytestmark = pytest.mark.usefixtures("nobody")
BOTH = Scope("image", None, ("linux/amd64", "linux/arm64"), Owner.of_branch("topic"))
ONE = replace(BOTH, platforms=("linux/amd64",))
MAIN = Owner.of_branch("main")


def plan(folder: Path, store: Store, registry: MemoryRegistry, **more: Any) -> BuildPlan:  # noqa: ANN401
    """Plan a build for both platforms with a registry's caches."""
    ref = f"{registry.address}/app{more.get('tag', '')}"
    file = f"[[cache.backends]]\ntype = 'registry'\nref = '{ref}'\n[place]\ndefault = 'main'\n"
    (folder / "bxcache.toml").write_text(file)
    prepared = make_prepared(folder, store, BOTH)
    place = replace(prepared.trust.place, default="main")
    trust = replace(prepared.trust, place=place)
    setup = load_setup(folder, {})
    backends = list_backends(setup)
    candidates = list_candidates(setup.config, BOTH, trust, backends)
    prepared = replace(prepared, setup=setup, backends=backends, trust=trust)
    return plan_build(replace(prepared, candidates=candidates))


def ask(registry: MemoryRegistry) -> list[str]:
    """Return the requests since the last call."""
    found = [each.path.partition("/v2/app/")[2] for each in registry.asked]
    registry.asked.clear()
    return found


def test_other_platforms_are_looked_up_last(
    tmp_path: Path, store: Store, registry: MemoryRegistry
) -> None:
    """Other platforms cost one list of tags and one look at the best, and only as a last resort."""
    for whose in (ONE, ONE.of_owner(MAIN), replace(ONE, platforms=("linux/arm64",))):
        registry.put(whose.name, cache_manifest(b"1"))
    (use,) = plan(tmp_path, store, registry).imports
    assert use.scope == ONE.name
    assert "for linux/amd64" in use.reason
    asked = ask(registry)
    assert len([each for each in asked if each.startswith("tags/list")]) == 1
    assert len([each for each in asked if each.startswith("manifests/")]) == 2 + 3
    registry.put(BOTH.of_owner(MAIN).name, cache_manifest(b"1"))
    (use,) = plan(tmp_path, store, registry).imports
    assert use.scope == BOTH.of_owner(MAIN).name
    assert len(ask(registry)) == 2


def test_a_first_build_costs_one_more_request(
    tmp_path: Path, store: Store, registry: MemoryRegistry
) -> None:
    """A tag that is not a scope is not imported, and looking for it costs one request."""
    registry.put("latest", cache_manifest(b"1"))
    assert not plan(tmp_path, store, registry).imports
    assert len(ask(registry)) == 3


def test_only_a_declared_tag_is_looked_up(
    tmp_path: Path, store: Store, registry: MemoryRegistry
) -> None:
    """A declared tag is the only one that is looked up: no tags are listed."""
    registry.put(ONE.name, cache_manifest(b"1"))
    assert not plan(tmp_path, store, registry, tag=":shared").imports
    assert len(ask(registry)) == 1


def test_a_registry_that_lists_no_tags_causes_a_note(
    tmp_path: Path, store: Store, registry: MemoryRegistry
) -> None:
    """If tags cannot be listed, the build starts from nothing and a note gives the reason."""
    registry.put(ONE.name, cache_manifest(b"1"))
    denied = refuse(403, "DENIED", "requested access to the resource is denied")
    registry.interfere = lambda asked: denied if asked.path.endswith("tags/list") else None
    found = plan(tmp_path, store, registry)
    assert not found.imports
    assert any("other platforms were not looked for" in note for note in found.notes)
