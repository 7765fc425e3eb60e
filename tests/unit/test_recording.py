"""Tests that recorded streams and metadata become records."""

from __future__ import annotations

import base64
import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from bxcache.buildx.faults import locate_steps
from bxcache.buildx.metadata import Metadata, parse_metadata
from bxcache.buildx.stream.events import Outcome
from bxcache.buildx.stream.raw import join_documents
from bxcache.buildx.stream.reader import TraceReader
from bxcache.buildx.stream.trace import Trace
from bxcache.insight.history import list_layers, view_stages
from bxcache.insight.record import Record
from bxcache.insight.record_parts import RecordedScope, RecordedStep
from bxcache.insight.record_steps import (
    Account,
    hash_arguments,
    list_recorded_images,
    list_recorded_stages,
    list_recorded_steps,
)
from bxcache.redaction import Redactor

STREAMS = Path(__file__).parents[1] / "streams"
PLAIN = Redactor()

# The line of each stage's FROM and of its instructions in streams/Dockerfile, counted by hand. One
# instruction occurs in two stages and is one step in BuildKit.
STAGES = {"base": 1, "deps": 4, "build": 7, "test": 15, "stage-4": 18}
LINES = {
    "base": [2, 3],
    "deps": [5, 6],
    "build": [8, 9, 10],
    "test": [16, 17],
    "stage-4": [19, 20, 21],
}
INHERITED = {"base": [], "deps": [2, 3], "build": [2, 3], "test": [2, 3], "stage-4": [2, 3]}


def read(name: str) -> tuple[Trace, Metadata]:
    reader = TraceReader()
    lines = (STREAMS / f"{name}.ndjson").read_text().splitlines()
    for each in join_documents(lines):
        list(reader.feed(each))
    meta = STREAMS / f"{name}.meta.json"
    return reader.finish(), parse_metadata(meta.read_text() if meta.exists() else "")


def record_of(name: str, redact: Redactor = PLAIN) -> Record:
    trace, metadata = read(name)
    account = Account(trace, trace, metadata)
    return Record(
        version=1,
        scope=RecordedScope(name="app", image="app", platforms=("linux/amd64",)),
        started=0.0,
        seconds=1.0,
        steps=list_recorded_steps(account, redact),
        stages=list_recorded_stages(account, redact),
        images=list_recorded_images(metadata, redact),
    )


def own_lines(steps: tuple[RecordedStep, ...], stage: str) -> list[int]:
    """Return the lines of steps as they are in one stage."""
    following = [line for line in STAGES.values() if line > STAGES[stage]]
    end = min(following, default=99)
    return [line for step in steps for line in step.lines if STAGES[stage] <= line < end]


@pytest.mark.parametrize("name", ["cold", "fresh-builder-all-reused", "registry-all-reused"])
def test_every_stage_has_its_steps(name: str) -> None:
    """Each stage has the steps counted by hand, including the step that two stages share."""
    stages = {stage.name: stage for stage in view_stages(record_of(name))}
    assert {stage.name: stage.line for stage in stages.values()} == STAGES
    for stage, lines in LINES.items():
        assert own_lines(stages[stage].steps, stage) == lines
        inherited = [min(step.lines) for step in stages[stage].inherited]
        assert inherited == INHERITED[stage]
    assert all(stage.needed for stage in stages.values())


@pytest.mark.parametrize("name", ["cold", "two-platforms", "fresh-builder-source-edit"])
def test_every_layer_of_the_cache_belongs_to_a_stage(name: str) -> None:
    """The record has exactly the layers that the exporter wrote."""
    written = {
        status["id"].removeprefix("writing layer ")
        for line in (STREAMS / f"{name}.ndjson").read_text().splitlines()
        if line.startswith("{")
        for status in json.loads(line).get("statuses", [])
        if status["id"].startswith("writing layer sha256:")
    }
    stages = view_stages(record_of(name))
    told = {layer.digest for stage in stages for layer in stage.layers}
    assert told == written or (not written and told)


def test_a_chain_is_the_one_in_the_provenance() -> None:
    """The chain of the last stage is the image's chain in the provenance."""
    document = json.loads((STREAMS / "cold.meta.json").read_text())["buildx.build.provenance"]
    noted = document["metadata"]["https://mobyproject.org/buildkit@v1#metadata"]
    longest = document["buildConfig"]["llbDefinition"][-1]["inputs"][0]
    [chain] = noted["layers"][longest]
    last = view_stages(record_of("cold"))[-1]
    assert [layer.digest for layer in last.chain] == [layer["digest"] for layer in chain]


def test_platforms_are_distinguished() -> None:
    """A step with different layers on two platforms is recorded for each; a shared one, once."""
    record = record_of("two-platforms")
    both = ("linux/amd64", "linux/amd64/v2")
    shared = [step.text.split()[0] for step in record.steps if step.platforms == both]
    assert shared == ["COPY"]
    deps = [view_stages(record, each)[1].layers[-1].digest for each in both]
    assert deps[0] != deps[1]
    assert len(view_stages(record)[1].steps) == 4


def test_outcomes_are_those_of_the_stream() -> None:
    """An edited COPY and its successors are executed, and the other steps are reused."""
    outcomes = {
        min(step.lines): step.outcome for step in record_of("fresh-builder-source-edit").steps
    }
    executed = {line for line, outcome in outcomes.items() if outcome is Outcome.EXECUTED}
    assert 8 in executed
    assert {2, 3, 5, 6}.isdisjoint(executed)
    assert {step.outcome for step in record_of("cold").steps} == {Outcome.EXECUTED}


def test_a_base_image_has_its_layers_and_its_digest() -> None:
    """The FROM step has all layers of the base image, whose digest is the one in the provenance."""
    record = record_of("docker-28-cold")
    materials = json.loads((STREAMS / "docker-28-cold.meta.json").read_text())
    [material] = materials["buildx.build.provenance"]["materials"]
    assert [image.digest for image in record.images] == [f"sha256:{material['digest']['sha256']}"]
    first = record.steps[0]
    assert (first.kind, first.outcome, len(first.layers)) == ("from", None, 2)
    assert all(len(step.layers) == 1 for step in record.steps[1:])


@pytest.mark.parametrize("name", ["docker-26-cold", "failing-step", "docker-26-failing-step"])
def test_without_metadata_a_record_has_stages_and_outcomes(name: str) -> None:
    """Without metadata, the record has stages and outcomes, but neither lines nor layers."""
    trace, _ = read(name)
    record = record_of(name)
    instructions = [step for step in record.steps if step.kind == "instruction"]
    assert len(instructions) == len(trace.steps)
    assert not any(step.lines or step.layers for step in record.steps)
    stages = {stage.name for stage in view_stages(record)}
    assert stages >= {step.name.stage for step in trace.steps}
    failed = [step for step in instructions if step.outcome is Outcome.FAILED]
    assert bool(failed) == ("failing" in name)
    assert all(step.error for step in failed)


@pytest.mark.parametrize("unknown", [None, "deps"])
def test_stages_of_a_failed_build_have_the_order_of_the_dockerfile(unknown: str | None) -> None:
    """Stages are listed by their lines, even if they began the other way round."""
    trace, metadata = read("failing-step")
    located = locate_steps(trace, (STREAMS / "Dockerfile").read_text())
    names = [each.name.stage for each in located.steps]
    began = {name: float(-at) for at, name in enumerate(STAGES)}
    if unknown:
        began[unknown] = -99.0
    steps = (
        replace(
            each,
            began=began[each.name.stage],
            lines=() if each.name.stage == unknown else each.lines,
        )
        for each in located.steps
    )
    turned = replace(located, steps=tuple(steps))
    written = list_recorded_steps(Account(turned, turned, metadata), PLAIN)
    record = record_of("failing-step").model_copy(update={"steps": written})
    expected = [each for each in STAGES if each in names and each != unknown]
    # A stage without lines has its place by its beginning.
    expected[:0] = [unknown] if unknown else []
    assert [each.name for each in view_stages(record)] == expected
    assert list(dict.fromkeys(each.stage for each in written)) == expected


def test_layers_of_a_second_run_are_joined_with_the_builds_outcomes() -> None:
    """Layers come from a second run of other vertices, and outcomes and times from the build."""
    built, _ = read("cold")
    told, metadata = read("fresh-builder-all-reused")
    steps = list_recorded_steps(Account(built, told, metadata), PLAIN)
    assert {step.outcome for step in steps} == {Outcome.EXECUTED}
    assert all(step.layers and step.lines for step in steps)
    took = {step.name.text: round(step.seconds, 3) for step in built.steps}
    assert {step.text: step.seconds for step in steps} == took


def test_secrets_are_masked_in_records() -> None:
    """Secrets are masked in the texts and image names of a record."""
    masked = record_of("docker-28-cold", Redactor(["a.txt", "library"]))
    text = masked.to_json().decode()
    assert "a.txt" not in text
    assert "library" not in text
    assert "***" in text


def decode_logs(name: str) -> dict[str, bytes]:
    """Decode what each step of a stream printed, by its text."""
    printed: dict[str, bytes] = {}
    names: dict[str, str] = {}
    for line in join_documents((STREAMS / f"{name}.ndjson").read_text().splitlines()):
        document = json.loads(line) if line.startswith("{") else {}
        names |= {each["digest"]: each["name"] for each in document.get("vertexes", [])}
        for log in document.get("logs", []):
            data = printed.get(log["vertex"], b"") + base64.b64decode(log["data"])
            printed[log["vertex"]] = data
    return {names[vertex].partition("] ")[2]: data for vertex, data in printed.items()}


@pytest.mark.parametrize("name", ["docker-26-cold", "docker-28-single-stage"])
def test_the_log_of_a_step_is_kept_and_counted(name: str) -> None:
    """A step's log is recorded byte for byte, as decoded by hand, with its size."""
    printed = decode_logs(name)
    assert printed
    steps = {step.text: step for step in record_of(name).steps if step.log_bytes}
    assert {text: step.log.encode() for text, step in steps.items()} == printed
    assert {text: step.log_bytes for text, step in steps.items()} == {
        text: len(data) for text, data in printed.items()
    }


def test_secrets_are_masked_in_logs() -> None:
    """A secret that a step prints is masked in its log."""
    (data,) = decode_logs("docker-28-single-stage").values()
    secret = data.decode().split()[0]
    record = record_of("docker-28-single-stage", Redactor([secret]))
    (log,) = [step.log for step in record.steps if step.log]
    assert secret not in log
    assert "***" in log


SECRET = "correct-horse-battery-staple"


@pytest.mark.parametrize("lost", range(len(SECRET)))
@pytest.mark.parametrize("ending", ["\n", " "])
def test_a_cut_log_does_not_begin_with_the_rest_of_a_secret(lost: int, ending: str) -> None:
    """A log whose beginning was cut off does not start with the rest of a secret."""
    reader, rest = TraceReader(), f"{SECRET[lost:]}{ending}"
    others = f"{SECRET} " * 200
    last = "x" * (8_000 - len(rest) - len(others))
    printed = f"{SECRET[:lost]}{rest}{others}{last}"
    data = base64.b64encode(printed.encode()).decode()
    vertex = {"digest": "a", "name": "[1/1] RUN x", "started": "2026-01-01T00:00:00Z"}
    list(reader.feed(json.dumps({"vertexes": [vertex]})))
    list(reader.feed(json.dumps({"logs": [{"vertex": "a", "data": data}]})))
    vertex["completed"] = "2026-01-01T00:00:01Z"
    list(reader.feed(json.dumps({"vertexes": [vertex]})))
    trace = reader.finish()
    account = Account(trace, trace, Metadata())
    (step,) = list_recorded_steps(account, Redactor([SECRET, "short"]))
    assert step.log.endswith(f"*** *** {last}")
    assert re.fullmatch(r"[* \n]*x+", step.log)


@pytest.mark.parametrize("name", ["cold", "docker-28-cold", "fresh-builder-source-edit"])
def test_a_step_starts_at_its_distance_from_the_first_vertex(name: str) -> None:
    """A step's start is the time from the first vertex of the stream to its own."""
    begun: dict[str, datetime] = {}
    for line in (STREAMS / f"{name}.ndjson").read_text().splitlines():
        for each in json.loads(line).get("vertexes", []) if line.startswith("{") else []:
            if each.get("started") and each.get("completed"):
                moment = datetime.fromisoformat(each["started"].rstrip("Z")[:26])
                text = each["name"].partition("] ")[2] or each["name"]
                begun[text] = min(moment, begun.get(text, moment))
    first = min(begun.values())
    told = {step.text: step.began for step in record_of(name).steps if step.kind == "instruction"}
    assert told
    for text, seconds in told.items():
        assert seconds == pytest.approx((begun[text] - first).total_seconds(), abs=0.0015), text


def test_the_logs_of_many_steps_are_limited() -> None:
    """The logs of many steps together stay below a limit."""
    trace, metadata = large_build(200, "RUN make")
    steps = tuple(replace(step, log="x" * 8_000) for step in trace.steps)
    trace = replace(trace, steps=steps)
    found = list_recorded_steps(Account(trace, trace, metadata), PLAIN)
    assert 0 < sum(len(step.log) for step in found) <= 60_000


def test_long_texts_are_shortened_when_there_are_many() -> None:
    """A build of 200 steps with a page of text each has a record below 200 kB."""
    trace, metadata = large_build(200, "RUN " + "echo filling; " * 200)
    steps = list_recorded_steps(Account(trace, trace, metadata), PLAIN)
    record = record_of("cold").model_copy(update={"steps": steps})
    assert len(steps) == 200
    assert len(record.to_json()) < 200_000


def test_long_texts_of_few_steps_are_whole() -> None:
    """The long texts of a few steps are recorded in full."""
    text = "RUN " + "echo filling; " * 200
    trace, metadata = large_build(3, text)
    steps = list_recorded_steps(Account(trace, trace, metadata), PLAIN)
    assert {step.text for step in steps} == {text}


def large_build(count: int, text: str) -> tuple[Trace, Metadata]:
    """Make a build of one stage as BuildKit reports it."""
    reader = TraceReader()
    vertices = [f"sha256:{number:064x}" for number in range(count)]
    for number, digest in enumerate(vertices):
        message: dict[str, Any] = {
            "digest": digest,
            "name": f"[{number + 1}/{count}] {text}",
            "started": "2026-01-01T00:00:00Z",
            "completed": "2026-01-01T00:00:01Z",
        }
        list(reader.feed(json.dumps({"vertexes": [message]})))
    layer = {"digest": "sha256:" + "a" * 64, "size": 5}
    provenance = {
        "buildConfig": {
            "digestMapping": {digest: f"step{n}" for n, digest in enumerate(vertices)},
            "llbDefinition": [
                {"id": f"step{n}", "op": {"Op": {"exec": {"mounts": [{"dest": "/"}]}}}}
                | ({"inputs": [f"step{n - 1}:0"]} if n else {})
                for n in range(count)
            ],
        },
        "metadata": {
            "https://mobyproject.org/buildkit@v1#metadata": {
                "layers": {f"step{n}:0": [[layer] * (n + 1)] for n in range(count)},
                "source": {
                    "locations": {
                        f"step{n}": {"locations": [{"ranges": [{"start": {"line": n + 2}}]}]}
                        for n in range(count)
                    }
                },
            }
        },
    }
    return reader.finish(), parse_metadata(json.dumps({"buildx.build.provenance": provenance}))


def test_values_of_build_arguments_can_be_compared_but_not_read() -> None:
    """The same value has the same hash under one key and a different hash under another."""
    key, other = "00ff" * 8, "11ee" * 8
    words = ("buildx", "build", "--build-arg", "MODE=release", "--build-arg=LEVEL=3", ".")
    first = hash_arguments(words, {}, key)
    assert set(first.values) == {"MODE", "LEVEL"}
    assert "release" not in first.model_dump_json()
    assert hash_arguments(words, {}, key) == first
    assert hash_arguments(words, {}, other).values != first.values
    changed = hash_arguments((*words[:3], "MODE=debug", *words[4:]), {}, key)
    assert first.list_different(changed) == ("MODE",)
    assert first.list_different(hash_arguments((), {}, key)) == ("MODE", "LEVEL")


def test_a_hash_is_the_start_of_an_hmac() -> None:
    """A hash starts `printf release | openssl dgst -sha256 -mac HMAC -macopt hexkey:00…`."""
    found = hash_arguments(("--build-arg", "MODE=release"), {}, "00" * 16)
    assert found.values == {"MODE": "3c5289dd9e32a8f4"}


def test_a_secret_has_no_hash() -> None:
    """A secret is not hashed, since it could be guessed; a bare name has its variable's value."""
    words = ("--build-arg", "NPM_TOKEN=hunter2", "--build-arg", "MODE", "--build-arg", "ABSENT")
    found = hash_arguments(words, {"MODE": "x"}, "00" * 16)
    assert found.values["NPM_TOKEN"] is None
    assert found.values["MODE"] is not None
    assert found.values["ABSENT"] is None


def test_layers_are_listed_once() -> None:
    """A layer of two instructions counts once in a stage."""
    build = {stage.name: stage for stage in view_stages(record_of("cold"))}["stage-4"]
    digests = [layer.digest for layer in list_layers(build.steps)]
    assert len(digests) == len(set(digests))
