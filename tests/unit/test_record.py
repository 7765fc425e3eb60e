"""Tests of the format of build records."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from bxcache.buildx.stream.events import Outcome
from bxcache.errors import RecordError
from bxcache.insight.record import Record, parse_record
from bxcache.insight.record_parts import (
    RecordedArguments,
    RecordedCache,
    RecordedImage,
    RecordedPlace,
    RecordedScope,
    RecordedStage,
    RecordedStep,
    RecordedTools,
)
from tests.support.histories import make_layer, make_record, make_step, name_digest, read_recorded

SCHEMA = Path(__file__).parents[2] / "schemas" / "bxcache-record.schema.json"
SMALLEST: dict[str, Any] = {
    "version": 1,
    "scope": {"name": "image.main", "image": "image"},
    "started": 1.5,
    "seconds": 2.0,
}
FULL = Record(
    version=1,
    scope=RecordedScope(
        name="image.test.linux-amd64.main",
        image="image",
        target="test",
        platforms=("linux/amd64",),
        branch="main",
    ),
    started=1_700_000_000.25,
    seconds=12.5,
    exit_status=1,
    steps=(
        RecordedStep(kind="from", text="FROM a", layers=(make_layer("1"), make_layer("2"))),
        RecordedStep(
            text="RUN ä\n\x1b[2J",
            stage="test",
            lines=(3, 9),
            platforms=("linux/amd64", "linux/arm64"),
            outcome=Outcome.FAILED,
            seconds=1.25,
            log_bytes=7,
            layers=(make_layer("3", 0),),
            alternatives=((make_layer("4"),), (make_layer("5"),)),
            parent=0,
            error="exit code: 1",
        ),
    ),
    stages=(RecordedStage(name="test", line=1, base="a", needed=False),),
    images=(RecordedImage(name="a", digest=name_digest("a")), RecordedImage(name="b")),
    arguments=RecordedArguments(key="00ff", values={"A": "12", "PASSWORD": None}),
    place=RecordedPlace(provider="github", branch="main", pull_request="3", trusted=True),
    tools=RecordedTools(bxcache="1", buildkit="2"),
    caches=(RecordedCache(backend="local", place="/store", scope="x", bytes=0, exported=True),),
)


def write(document: dict[str, Any]) -> bytes:
    return json.dumps(document).encode()


def with_step(**step: object) -> dict[str, Any]:
    return {**SMALLEST, "steps": [{"text": "RUN x", **step}]}


@pytest.mark.parametrize(
    "record", [FULL, make_record(), read_recorded("cold"), read_recorded("two-platforms")]
)
def test_a_record_is_read_as_it_was_written(record: Record) -> None:
    """A record is one line of JSON, which reads back and is the same for the same record."""
    data = record.to_json()
    assert data.endswith(b"\n")
    assert data.count(b"\n") == 1
    assert parse_record(data, "x") == record
    assert parse_record(data, "x").to_json() == data


def test_default_values_are_not_written() -> None:
    """Default values are not written, except the version."""
    record = parse_record(write(SMALLEST), "x")
    assert json.loads(record.to_json()) == SMALLEST
    steps = (make_step("RUN x"), RecordedStep(text="COPY y", parent=0))
    written = json.loads(record.model_copy(update={"steps": steps}).to_json())
    assert written["version"] == 1
    assert written["steps"] == [
        {"text": "RUN x", "outcome": "executed"},
        {"text": "COPY y", "parent": 0},
    ]


def test_missing_values_are_unknown() -> None:
    """Values that an earlier bxcache did not write are unknown when read."""
    record = parse_record(write(with_step()), "x")
    assert (record.exit_status, record.stages, record.images, record.caches) == (0, (), (), ())
    assert (record.arguments.values, record.place.branch, record.tools.buildx) == ({}, None, "")
    (step,) = record.steps
    assert (step.kind, step.outcome, step.lines, step.layers) == ("instruction", None, (), ())
    assert (step.parent, step.error) == (None, "")


def test_unknown_keys_are_kept() -> None:
    """Keys that a later bxcache added under the same version are preserved."""
    layer = {"digest": name_digest("a"), "size": 1, "media_type": "x"}
    document = {**with_step(layers=[layer], weight=[1, {"a": None}]), "colour": "red"}
    document["scope"] = {**SMALLEST["scope"], "owner": "me"}
    assert json.loads(parse_record(write(document), "x").to_json()) == document


DAMAGED: list[tuple[bytes, str]] = [
    (b"", "Invalid JSON"),
    (b"\n", "Invalid JSON"),
    (b"\xff\xfe", "Invalid JSON"),
    (write(FULL.model_dump(mode="json"))[:-9], "Invalid JSON"),
    (b"[" * 10_000, "Invalid JSON"),
    (b"[]", "the document"),
    (b"null", "the document"),
    (b'"text"', "the document"),
    (b"{}", "version"),
    (write({**SMALLEST, "version": 0}), "version"),
    (write({**SMALLEST, "version": None}), "version"),
    (write({**SMALLEST, "version": "one"}), "version"),
    (write({**SMALLEST, "scope": "image"}), "scope"),
    (write({**SMALLEST, "scope": {"name": "image"}}), "scope.image"),
    (write({**SMALLEST, "started": "now"}), "started"),
    (write({**SMALLEST, "seconds": -1}), "seconds"),
    (write(SMALLEST).replace(b"2.0", b"NaN"), "seconds"),
    (write(SMALLEST).replace(b"2.0", b"1e999"), "seconds"),
    (write({**SMALLEST, "steps": {}}), "steps"),
    (write({**SMALLEST, "steps": [{}]}), "steps.0.text"),
    (write(with_step(kind="else")), "steps.0.kind"),
    (write(with_step(outcome="skipped")), "steps.0.outcome"),
    (write(with_step(lines=["a"])), "steps.0.lines.0"),
    (write(with_step(layers=[{"digest": "sha256:0", "size": 1}])), "steps.0.layers.0.digest"),
    (
        write(with_step(layers=[{"digest": name_digest("a") + "\n", "size": 1}])),
        "steps.0.layers.0.digest",
    ),
    (
        write(with_step(layers=[{"digest": name_digest("a"), "size": -1}])),
        "steps.0.layers.0.size",
    ),
    (write(with_step(parent=0)), "comes after"),
    (write(with_step(parent=1)), "comes after"),
    (write(with_step(parent=-1)), "comes after"),
]


@pytest.mark.parametrize(("data", "why"), DAMAGED)
def test_a_damaged_record_is_an_error(data: bytes, why: str) -> None:
    """The error names the record and the fault, and the hint adds that the cache is unaffected."""
    with pytest.raises(RecordError) as caught:
        parse_record(data, "`image.main`")
    assert caught.value.message.startswith("the record of `image.main` is damaged: ")
    assert why in caught.value.message
    assert "the cache itself is not affected" in caught.value.hint


@pytest.mark.parametrize(
    ("document", "version"),
    [({**SMALLEST, "version": 2}, 2), ({"version": 2}, 2), ({"version": 12, "scope": []}, 12)],
)
def test_a_later_version_is_an_error_of_its_own(document: dict[str, Any], version: int) -> None:
    """A record of a later version is an error of its own, whatever else it contains."""
    with pytest.raises(RecordError) as caught:
        parse_record(write(document), "`x`")
    assert caught.value.message == (
        f"the record of `x` has version {version}; this bxcache reads up to 1"
    )
    assert "update bxcache" in caught.value.hint


def test_a_step_can_build_on_any_earlier_step() -> None:
    """A step can build only on an earlier step, so that chains have no circles."""
    steps: list[dict[str, Any]] = [
        {"text": "a"},
        {"text": "b", "parent": 0},
        {"text": "c", "parent": 0},
    ]
    record = parse_record(write({**SMALLEST, "steps": steps}), "x")
    assert [step.parent for step in record.steps] == [None, 0, 0]
    steps[0]["parent"] = 2
    with pytest.raises(RecordError, match="comes after"):
        parse_record(write({**SMALLEST, "steps": steps}), "x")


def test_the_published_schema_is_valid() -> None:
    """The published schema is valid under JSON Schema's draft 2020-12."""
    jsonschema.Draft202012Validator.check_schema(json.loads(SCHEMA.read_text()))


@pytest.mark.parametrize("record", [FULL, read_recorded("cold"), read_recorded("docker-28-cold")])
def test_a_written_record_matches_the_schema(record: Record) -> None:
    """Every record matches the schema, even with unknown keys."""
    validator = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text()))
    validator.validate({**json.loads(record.to_json()), "colour": "red"})


@pytest.mark.parametrize(
    "document",
    [
        {},
        {**SMALLEST, "version": 2},
        {**SMALLEST, "seconds": -1},
        {**SMALLEST, "scope": {"name": "image"}},
        with_step(kind="else"),
        with_step(layers=[{"digest": "sha256:0", "size": 1}]),
    ],
)
def test_the_schema_refuses_an_invalid_record(document: dict[str, Any]) -> None:
    """The schema and bxcache both refuse an invalid record."""
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text())).validate(document)
    with pytest.raises(RecordError):
        parse_record(write(document), "x")
