"""Tests of what a registry's scope needs after a build."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bxcache.backends.base import EXPORT, CacheUse
from bxcache.backends.registry_save import Need, choose_need
from bxcache.backends.registry_tag import TagSave
from bxcache.buildx.metadata import Definition, Layer, Metadata, Operation
from bxcache.buildx.run import RunResult, executes
from bxcache.buildx.stream.events import Outcome, StepFinished, StepStarted
from bxcache.buildx.stream.names import StepName
from bxcache.buildx.stream.trace import Trace, TracedStep
from bxcache.config.reference import Reference
from bxcache.place.scope import Owner, Scope
from bxcache.registry.repository import RemoteManifest, Sighting, open_repository
from tests.support.backends import make_registry

OWN, OTHER = "r.example.com/c:topic", "r.example.com/c:main"
LAYERS = [f"sha256:{number:064}" for number in range(4)]


def manifest(*layers: str) -> RemoteManifest:
    kind = "application/vnd.buildkit.cacheconfig.v0"
    tar = "application/vnd.oci.image.layer.v1.tar+gzip"
    body = {
        "config": {"mediaType": kind, "digest": "sha256:" + "c" * 64, "size": 2},
        "layers": [{"mediaType": tar, "digest": layer, "size": 5} for layer in layers],
    }
    return RemoteManifest("sha256:" + "d" * 64, "", json.dumps(body).encode())


def save(found: RemoteManifest | None, ref: str) -> TagSave:
    repository = open_repository(Reference("r.example.com/c"), {}, insecure=False)
    return TagSave(
        use=CacheUse(EXPORT, make_registry("r.example.com/c"), OWN, "topic", (), ""),
        apart=True,
        reference=Reference.parse(OWN),
        owner=Scope("image", None, ("linux/amd64",), Owner.of_branch("topic")),
        source=Sighting(repository, found),
        source_ref=ref,
    )


def name(number: int) -> StepName:
    return StepName(None, "build", number, 9, "RUN true")


def ran(*outcomes: Outcome, layers: list[tuple[str, ...]]) -> RunResult:
    steps, operations = [], []
    for number, (outcome, own) in enumerate(zip(outcomes, layers, strict=True)):
        steps.append(TracedStep(name(number), (str(number),), outcome, 1.0))
        operations.append(
            Operation(str(number), chains=tuple((Layer(digest, 5),) for digest in own))
        )
    return RunResult(
        0,
        Trace(steps=tuple(steps)),
        Metadata(None, (Definition(None, "", tuple(operations)),)),
        1.0,
    )


R, X = Outcome.REUSED, Outcome.EXECUTED
ONE, TWO = (LAYERS[0],), (LAYERS[1],)
CASES: list[tuple[str, Any, str, RunResult, Need]] = [
    ("all is there", LAYERS[:2], OWN, ran(R, R, layers=[ONE, TWO]), Need.NOTHING),
    ("more is there", LAYERS, OWN, ran(R, R, layers=[ONE, TWO]), Need.NOTHING),
    ("all is elsewhere", LAYERS[:2], OTHER, ran(R, R, layers=[ONE, TWO]), Need.ALIAS),
    ("a step ran", LAYERS[:2], OWN, ran(R, X, layers=[ONE, TWO]), Need.EXPORT),
    ("only the engine had it", LAYERS[:1], OWN, ran(R, R, layers=[ONE, TWO]), Need.EXPORT),
    ("layers are not told", LAYERS[:2], OWN, ran(R, R, layers=[ONE, ()]), Need.EXPORT),
    (
        "one of several forms",
        LAYERS[:2],
        OWN,
        ran(R, R, layers=[ONE, (LAYERS[3], LAYERS[1])]),
        Need.NOTHING,
    ),
    ("there is none", None, OWN, ran(R, layers=[ONE]), Need.EXPORT),
    ("no step", LAYERS[:1], OWN, ran(layers=[]), Need.EXPORT),
]


@pytest.mark.parametrize(
    ("there", "ref", "built", "need"), [row[1:] for row in CASES], ids=[row[0] for row in CASES]
)
def test_a_scope_needs_nothing_or_a_tag_or_an_export(
    there: list[str] | None, ref: str, built: RunResult, need: Need
) -> None:
    """A scope needs nothing if it has all layers, a tag if its donor has them, else an export."""
    found = manifest(*there) if there is not None else None
    assert choose_need(save(found, ref), built) is need


def test_an_image_under_the_tag_is_overwritten() -> None:
    """An image under the scope's tag has no cache to keep, so the build exports."""
    image = RemoteManifest("sha256:" + "d" * 64, "", b'{"config": {}, "layers": []}')
    assert choose_need(save(image, OWN), ran(R, layers=[ONE])) is Need.EXPORT


def test_only_a_started_step_shows_a_missing_layer() -> None:
    """Only a started step shows that a layer is missing, since a reused step only finishes."""
    assert executes(StepStarted(name(1)))
    assert not executes(StepFinished(name(1), R, 0.0))
