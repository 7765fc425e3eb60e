"""Tests of what a build reads before it reports a layer as borrowed from the builder's cache."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from bxcache.backends.base import IMPORT, CacheUse, Candidate
from bxcache.buildx.metadata import Definition, Layer, Metadata, Operation
from bxcache.buildx.run import RunResult
from bxcache.buildx.stream.events import Outcome
from bxcache.buildx.stream.names import StepName
from bxcache.buildx.stream.trace import Trace, TracedStep
from bxcache.config.reference import Reference
from bxcache.pipeline.borrowing import Known, find_borrowing
from bxcache.pipeline.plan import BuildPlan
from bxcache.pipeline.save import find_known
from bxcache.place.scope import Owner, Scope
from bxcache.registry.labels import EMPTY, Label
from bxcache.registry.repository import open_repository
from bxcache.registry.scopes import write_label
from tests.support.backends import make_backend
from tests.support.layouts import build, digest_of
from tests.support.registries import MemoryRegistry, cache_manifest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bxcache.store.store import Store

LAYER = b"x"
MAIN = Owner.of_branch("main")
OWN, OTHER = Scope("app", None, (), MAIN), Scope("other", None, (), MAIN)


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[MemoryRegistry]:
    monkeypatch.setenv("DOCKER_CONFIG", "/nowhere")
    with MemoryRegistry() as started:
        yield started


def hear(outcome: Outcome = Outcome.REUSED, status: int = 0) -> RunResult:
    """Return a build of one step, which made the layer."""
    layer = Layer(digest_of(LAYER), 1)
    operation = Operation("v", chains=((layer,),))
    step = TracedStep(StepName(None, "s", 1, 1, "RUN x"), ("v",), outcome, 1.0)
    metadata = Metadata(definitions=(Definition(None, "", (operation,)),))
    return RunResult(status, Trace((step,)), metadata, 1.0)


TRUSTED, UNTRUSTED = (
    json.dumps({"version": 1, "place": {"trusted": trusted}}).encode() + b"\n"
    for trusted in (True, False)
)


def ask(
    registry: MemoryRegistry,
    store: Store | None = None,
    ran: RunResult | None = None,
    *,
    imported: str = "",
    wanted: str = "warn",
    guarded: bool = True,
) -> Known | None:
    """Return what is known to a build that may start from its own scope in the registry."""
    ref = f"{registry.address}/app"
    backends = [make_backend({"type": "registry", "ref": ref, "insecure": True})]
    backends[0].prepare([Candidate(backends[0], OWN.name, "")], "name", reads_all=False)
    uses = (CacheUse(IMPORT, backends[0], f"{ref}:{imported}", imported, (), ""),)
    if store is not None:
        backends.append(make_backend({"type": "local", "dir": str(store.path)}))
    prepared: Any = SimpleNamespace(
        setup=SimpleNamespace(config=SimpleNamespace(cache=SimpleNamespace(shared_builder=wanted))),
        trust=SimpleNamespace(is_guarded=guarded),
        backends=backends,
    )
    return find_known(prepared, BuildPlan(OWN, uses if imported else ()), ran or hear())


def push(registry: MemoryRegistry, scope: Scope, data: bytes | None) -> None:
    """Push what a build leaves in the registry, with its record if there is one."""
    digest = registry.put(scope.name, cache_manifest(LAYER))
    if data is not None:
        registry.shelf().blobs |= {digest_of(EMPTY): EMPTY}
        repository = open_repository(Reference(f"{registry.address}/app"), {}, insecure=True)
        write_label(repository, scope.name, Label(scope, digest, 1.0, 1.0), data)


def is_borrowed(known: Known | None) -> bool:
    assert known is not None
    assert known.doubt is None
    return bool(find_borrowing(hear(), hear().metadata, known).steps)


@pytest.mark.parametrize(
    ("data", "borrowed"), [(TRUSTED, False), (UNTRUSTED, True), (b"{\n", True)]
)
def test_a_store_vouches_for_layers_of_trusted_builds(
    registry: MemoryRegistry,
    store: Store,
    data: bytes,
    borrowed: bool,  # noqa: FBT001
) -> None:
    """A store vouches for a layer if the record of its scope's last build is trusted."""
    build(store, OTHER.name, LAYER)
    store.add_record(OTHER.name, data)
    assert is_borrowed(ask(registry, store)) == borrowed
    assert bool(registry.asked) == borrowed


@pytest.mark.parametrize(
    ("scope", "data", "borrowed"),
    [
        (OWN, None, False),
        (OTHER, TRUSTED, False),
        (OTHER, UNTRUSTED, True),
        (OTHER, None, True),
    ],
)
def test_a_registry_vouches_for_layers_of_trusted_builds(
    registry: MemoryRegistry,
    scope: Scope,
    data: bytes | None,
    borrowed: bool,  # noqa: FBT001
) -> None:
    """A registry vouches for scopes that only trusted builds write, and for trusted records."""
    push(registry, scope, data)
    assert is_borrowed(ask(registry)) == borrowed


def test_nothing_is_requested_without_a_layer_in_question(registry: MemoryRegistry) -> None:
    """Nothing is requested if no step was reused, the check is off, or the build failed."""
    assert ask(registry, ran=hear(Outcome.EXECUTED)) == Known(set())
    assert ask(registry, wanted="trust") is None
    assert ask(registry, guarded=False) is None
    assert ask(registry, ran=hear(status=1)) is None
    assert registry.asked == []


def test_the_imported_cache_explains_reused_layers(registry: MemoryRegistry) -> None:
    """The cache that a build imported explains its layers; if it cannot be read, doubt remains."""
    known = ask(registry, imported=OWN.name)
    assert known is not None
    assert known.doubt
    push(registry, OWN, None)
    assert not is_borrowed(ask(registry, imported=OWN.name))
