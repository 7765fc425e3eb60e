"""Tests of splitting a bake's stream: each target is reported like a build of it alone."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bxcache.buildx.bake.stream import BakeReader
from bxcache.buildx.metadata import parse_bake_metadata
from bxcache.buildx.stream.events import (
    Event,
    Outcome,
    RunStarted,
    Said,
    StepFinished,
    StepLogged,
    Warned,
)
from bxcache.buildx.stream.names import CacheVertex
from bxcache.buildx.stream.raw import join_documents
from bxcache.buildx.stream.reader import TraceReader
from bxcache.buildx.stream.trace import Trace
from tests.unit.test_trace import FIELDS, JSON

STREAMS = Path(__file__).parents[1] / "streams"
REUSED, EXECUTED, FAILED = Outcome.REUSED, Outcome.EXECUTED, Outcome.FAILED
Outcomes = dict[tuple[str, str], Outcome]

# The instructions of the Dockerfiles that make a layer, in order; see streams/README.md.
BASE = [("base", "COPY"), ("base", "RUN")]
A, B, C = [*BASE, ("a", "RUN")], [*BASE, ("b", "COPY"), ("b", "RUN")], [*BASE, ("c", "RUN")]
USES = [*A, ("mid", "RUN"), ("stage-1", "COPY")]
OTHER = [("stage-0", "COPY"), ("stage-0", "RUN")]
FAST, BAD, SLOW = ([("base", "COPY"), *more] for more in ([("fast", "RUN")], [("bad", "RUN")], []))
"""One more step of `slow` began, and was stopped."""
TARGETS = {
    "linked": {"api": A, "uses": USES},
    "merged": {"api": A, "web": B, "other": OTHER},
    "differing": {"api": A, "b": B, "c": C},
    "single": {"other": OTHER},
    "failing": {"fast": FAST, "bad": BAD, "slow": SLOW},
    "failing-old": {"fast": FAST, "bad": BAD, "slow": SLOW},
}
EACH = [(name, target) for name, targets in TARGETS.items() for target in targets]


def feed(name: str) -> tuple[BakeReader, list[tuple[str, Event]]]:
    reader = BakeReader(tuple(TARGETS[name]))
    lines = (STREAMS / "bake" / f"{name}.ndjson").read_text().splitlines()
    return reader, [seen for line in join_documents(lines) for seen in reader.feed(line)]


def trace(name: str, target: str, *, known: bool) -> Trace:
    """Return a target's trace; with `known`, its own vertices come from the metadata, if any."""
    file = STREAMS / "bake" / f"{name}.meta.json"
    seen = parse_bake_metadata(file.read_text(), [target]) if known and file.exists() else {}
    own = seen[target].operations if seen else ()
    return feed(name)[0].finish(target, own)


def outcomes(found: Trace) -> Outcomes:
    return {(s.name.stage, s.name.text.split()[0]): s.outcome for s in found.steps}


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(("name", "target"), EACH)
def test_a_target_has_the_steps_of_its_dockerfile(name: str, target: str, known: bool) -> None:  # noqa: FBT001
    """Each step appears once, under its own stage, with or without known vertices."""
    found = trace(name, target, known=known)
    steps = [(step.name.stage, step.name.text.split()[0]) for step in found.steps]
    assert sorted(steps) == sorted(TARGETS[name][target])


@pytest.mark.parametrize(
    ("name", "target", "expected"),
    [
        # `api` was built before the targets that need it.
        ("linked", "api", dict.fromkeys(A, REUSED)),
        ("linked", "uses", {**dict.fromkeys(A, REUSED), USES[-2]: EXECUTED, USES[-1]: EXECUTED}),
        # A step that another target executes is found.
        ("merged", "web", dict.fromkeys(B, EXECUTED)),
        ("merged", "api", {**dict.fromkeys(BASE, REUSED), A[-1]: EXECUTED}),
        ("differing", "api", dict.fromkeys(A, EXECUTED)),
        ("differing", "c", dict.fromkeys(C, EXECUTED)),
        ("differing", "b", {**dict.fromkeys(B, EXECUTED), **dict.fromkeys(BASE, REUSED)}),
        ("failing", "fast", {FAST[0]: REUSED, FAST[1]: EXECUTED}),
        ("failing", "bad", {BAD[0]: REUSED, BAD[1]: FAILED}),
        ("failing-old", "bad", {BAD[0]: REUSED, BAD[1]: FAILED}),
        # A step that was stopped has not failed.
        ("failing", "slow", {SLOW[0]: REUSED}),
        ("failing-old", "slow", {SLOW[0]: REUSED}),
    ],
)
def test_a_step_has_the_outcome_for_its_target(name: str, target: str, expected: Outcomes) -> None:
    """The outcomes match how the streams were made."""
    assert outcomes(trace(name, target, known=True)) == expected


@pytest.mark.parametrize("name", TARGETS)
def test_a_step_is_reported_for_its_target(name: str) -> None:
    """Each step of a target's trace also has a final event."""
    reader, events = feed(name)
    for target in TARGETS[name]:
        last = {
            (each.step.stage, each.step.text): each.outcome
            for owner, each in events
            if owner == target and isinstance(each, StepFinished)
        }
        for step in reader.finish(target).steps:
            assert last[step.name.stage, step.name.text] is not None


@pytest.mark.parametrize("name", ["failing", "failing-old"])
def test_docker_error_belongs_to_the_failed_target(name: str) -> None:
    """The error lacks the target's name, which buildx adds since 0.14."""
    reader, events = feed(name)
    why = (
        'failed to solve: process "/bin/sh -c sleep 2; echo oops >&2; exit 3" '
        "did not complete successfully: exit code: 3"
    )
    assert reader.finish("bad").last_error == why
    assert [reader.finish(each).says_why for each in ("fast", "bad", "slow")] == [
        *(False, True, False),
    ]
    said = [(owner, each.line) for owner, each in events if isinstance(each, Said)]
    assert said[-1] == ("bad", f"ERROR: {why}")
    # The excerpt of the Dockerfile is reported once, and kept for all.
    assert [each for each in said if each[1] == "Dockerfile:6"] == [("bad", "Dockerfile:6")]
    assert "Dockerfile:6" in reader.finish("slow").said


def test_an_excerpt_has_no_target_if_several_failed() -> None:
    """The excerpt does not state its target, but the error after it does."""
    reader = BakeReader(("a", "b"))
    began, ended = "2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z"
    for name in ("a", "b"):
        vertex = {"digest": name, "name": f"[{name} 1/1] RUN {name}", "started": began}
        failed = {**vertex, "completed": ended, "error": "exit code: 7"}
        assert [*reader.feed(json.dumps({"vertexes": [failed]}))]
    assert [owner for owner, _ in reader.feed("B1:4")] == [""]
    assert {owner for owner, _ in reader.feed("ERROR: target b: failed to solve: x")} == {"b"}


def test_an_export_belongs_to_its_target() -> None:
    """Only `fast`, which got as far as its export, has one."""
    reader, _ = feed("failing")
    found = {
        each: reader.finish(each).find_transfers(CacheVertex.EXPORT_LOCAL)
        for each in TARGETS["failing"]
    }
    [export] = found["fast"]
    # From `writing cache image manifest` in its stream.
    assert export.digest is not None
    assert export.digest.startswith("sha256:35b7f29e9f9a3fd0ce649efa")
    assert found["bad"] == found["slow"] == []


@pytest.mark.parametrize(
    ("name", "ended"),
    [
        ("failing", ["fast"]),
        # An old buildx does not report the end.
        ("failing-old", []),
        ("linked", ["api", "uses"]),
        ("merged", ["api", "web", "other"]),
    ],
)
def test_the_end_of_a_target_is_known(name: str, ended: list[str]) -> None:
    """The end of a built target is known, whatever it exports."""
    reader, _ = feed(name)
    assert [each for each in TARGETS[name] if reader.find_end(each)] == ended


@pytest.mark.parametrize(
    ("error", "ended"), [("", True), ("denied", False), ("context canceled", False)]
)
def test_a_final_push_belongs_to_its_target(error: str, *, ended: bool) -> None:
    """A classic engine's push at the end counts for its target."""
    lines = (STREAMS / "bake" / "merged.ndjson").read_text().splitlines()
    reader = BakeReader(tuple(TARGETS["merged"]))
    for line in join_documents(lines):
        document = json.loads(line)
        for each in document.get("vertexes") or ():
            if each["name"].startswith("[web] pushing ") and each.get("completed"):
                each["error"] = error
        list(reader.feed(json.dumps(document)))
    assert reader.find_end("web") is ended
    assert reader.find_end("api") is True


def test_a_running_target_has_no_end() -> None:
    """The end is known only from the line that reports it."""
    reader = BakeReader(tuple(TARGETS["failing"]))
    ends = []
    for line in join_documents((STREAMS / "bake" / "failing.ndjson").read_text().splitlines()):
        list(reader.feed(line))
        ends.append((reader.find_end("fast"), "[fast] resolving provenance" in line))
    first = next(n for n, (ended, _) in enumerate(ends) if ended)
    assert ends[first][1]
    assert reader.find_end("bad") is reader.find_end("slow") is None


RECORDED = [*STREAMS.glob("*.ndjson"), STREAMS / "bake" / "single.ndjson"]


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_a_single_target_is_read_like_a_build(path: Path) -> None:
    """Without target prefixes, events and trace are those of a build."""
    one, other = BakeReader(("app",)), TraceReader()
    for line in join_documents(path.read_text().splitlines()):
        assert list(one.feed(line)) == [("app", each) for each in other.feed(line)]
    assert one.finish("app") == other.finish()


DOCUMENTS = st.dictionaries(
    st.sampled_from(["vertexes", "statuses", "logs", "warnings"]),
    st.lists(FIELDS | JSON, max_size=3) | JSON,
    max_size=4,
)


@given(st.lists(DOCUMENTS.map(json.dumps) | st.text(), max_size=4))
def test_any_stream_of_one_target_is_read_like_a_build(lines: list[str]) -> None:
    """Any stream gives the same events and trace as a build's."""
    one, other = BakeReader(("app",)), TraceReader()
    for line in lines:
        assert list(one.feed(line)) == [("app", each) for each in other.feed(line)]
    assert one.finish("app") == other.finish()


@given(st.lists(DOCUMENTS.map(json.dumps) | st.text(), max_size=4))
def test_no_document_breaks_the_reader(lines: list[str]) -> None:
    """Messages of any shape, as of a later buildx, can be read."""
    reader = BakeReader(("api", "web"))
    for line in lines:
        list(reader.feed(line))
    for name in ("api", "web"):
        reader.finish(name)


TEXTS = st.sampled_from(["RUN make", "COPY . /", "RUN [ -f x ] || true", "ADD a] b"])
STAGES = st.sampled_from(["build", "stage-1", "api", "web"])
STEPS = st.lists(st.tuples(STAGES, TEXTS), unique=True, max_size=5)


@given(st.dictionaries(st.sampled_from(["api", "web", "mx-1", "a_b"]), STEPS, min_size=2))
def test_steps_belong_to_the_targets_in_their_names(
    builds: dict[str, list[tuple[str, str]]],
) -> None:
    """A stage named like a target, or brackets in an instruction, cause no confusion."""
    reader = BakeReader(tuple(builds))
    for target, steps in builds.items():
        for number, (stage, text) in enumerate(steps, 1):
            vertex = {
                "digest": f"{target} {number}",
                "name": f"[{target} {stage} {number}/{len(steps)}] {text}",
                "started": "2026-01-01T00:00:00Z",
                "completed": "2026-01-01T00:00:01Z",
            }
            seen = list(reader.feed(json.dumps({"vertexes": [vertex]})))
            assert {owner for owner, _ in seen} == {target}
    for target, steps in builds.items():
        found = [(step.name.stage, step.name.text) for step in reader.finish(target).steps]
        assert found == steps


def vertex(target: str, digest: str = "d", **more: str) -> dict[str, str]:
    return {"digest": digest, "name": f"[{target} build 1/1] RUN make", **more}


STARTED = {"started": "2026-01-01T00:00:00Z"}
DONE = {**STARTED, "completed": "2026-01-01T00:00:02Z"}


def send(reader: BakeReader, **document: object) -> list[tuple[str, Event]]:
    return list(reader.feed(json.dumps(document)))


@pytest.mark.parametrize(
    ("digests", "own", "expected"),
    [
        (["mine", "theirs"], ["mine"], {"mine": "theirs"}),
        (["mine"], ["mine"], {}),
        # It may be any of several.
        (["mine", "theirs", "others"], ["mine"], {}),
        (["mine", "second", "theirs"], ["mine", "second"], {}),
        (["theirs"], [], {}),
    ],
)
def test_a_shared_vertex_has_the_only_step_of_its_name(
    digests: list[str], own: list[str], expected: dict[str, str]
) -> None:
    """Another build's vertex belongs to the target's own one of the same name, if only one has it.

    A step with another name has no part in it.
    """
    reader = BakeReader(("api", "web"))
    send(reader, vertexes=[vertex("api", each, **DONE) for each in digests])
    send(reader, vertexes=[vertex("web", each, **DONE) for each in ("mine", "more")])
    other = vertex("api", "other", **DONE)
    send(reader, vertexes=[{**other, "name": other["name"].replace("make", "test")}])
    assert reader.find_shared("api", own) == expected


def test_a_shared_step_is_read_once() -> None:
    """A shared step reports its log for one target, its outcome for both, its warning for none."""
    reader = BakeReader(("api", "web"))
    send(reader, vertexes=[vertex("api", **STARTED), vertex("web", **STARTED)])
    hello, warning = (base64.b64encode(text).decode() for text in (b"hello\n", b"careful"))
    seen = send(reader, logs=[{"vertex": "d", "data": hello}])
    seen += send(reader, warnings=[{"vertex": "d", "short": warning}])
    assert [(owner, type(each)) for owner, each in seen] == [
        ("api", StepLogged),
        ("", Warned),
    ]
    assert reader.finish("api").warnings == reader.finish("web").warnings == ("careful",)
    done = send(reader, vertexes=[vertex("api", **DONE), vertex("web", **DONE)])
    assert [(owner, type(each)) for owner, each in done] == [
        ("api", StepFinished),
        ("web", StepFinished),
    ]


SHARED = "FROM a AS base\nRUN a\nFROM base AS api\nRUN b\nFROM base AS web\nRUN c\nFROM b AS lint\n"


@pytest.mark.parametrize(
    ("line", "seen", "concerned"),
    [
        (4, "api", ["api"]),
        (6, "web", ["web"]),
        (2, "", ["api", "web"]),
        # Line 7 belongs to the shared file, but to none of their stages.
        (7, "", ["api", "web"]),
        (None, "", ["api", "web"]),
    ],
)
def test_a_warning_belongs_to_the_target_that_needs_the_line(
    line: int | None, seen: str, concerned: list[str]
) -> None:
    """Targets with one Dockerfile share a vertex, so the warning's line decides."""
    reader = BakeReader(("api", "web"), {"api": "api", "web": "Web"})
    name = "internal] load build definition from Dockerfile"
    both = [{"digest": "d", "name": f"[{each} {name}"} for each in ("api", "web")]
    send(reader, vertexes=both)
    text, short = (base64.b64encode(each.encode()).decode() for each in (SHARED, "careful"))
    place = {"sourceInfo": {"data": text}, "range": [{"start": {"line": line}}]}
    more = place if line is not None else {}
    events = send(reader, warnings=[{"vertex": "d", "short": short, **more}])
    assert [(owner, type(each)) for owner, each in events] == [(seen, Warned)]
    assert [each for each in ("api", "web") if reader.finish(each).warnings] == concerned


def test_a_warning_of_docker_has_no_target() -> None:
    """A warning of docker belongs to no target, unless there is only one."""
    line = "WARNING: local cache import at nowhere not found"
    assert [owner for owner, _ in BakeReader(("api", "web")).feed(line)] == [""]
    assert [owner for owner, _ in BakeReader(("api",)).feed(line)] == ["api"]


def test_a_step_that_another_target_ran_is_listed_once() -> None:
    """The step keeps its own vertex, though only the other target's vertex is reported as done."""
    reader = BakeReader(("api", "web"))
    send(reader, vertexes=[vertex("api", "own"), vertex("web", "other")])
    send(reader, vertexes=[vertex("api", "other", **DONE), vertex("web", "other", **DONE)])
    [step] = reader.finish("api").steps
    assert (step.digests, step.outcome, step.seconds) == (("own",), EXECUTED, 2.0)


def test_steps_outside_targets_are_left_out() -> None:
    """Steps outside targets, such as reading the bake file, are left out."""
    reader = BakeReader(("internal", "api"))
    name = "[internal] load local bake definitions"
    begun = send(reader, vertexes=[{"digest": "x", "name": name, **DONE}])
    assert [each for _, each in begun] == [RunStarted()]
    assert send(reader, vertexes=[{"digest": "y", "name": "[nope 1/1] RUN x", **DONE}]) == []
    assert reader.finish("internal").steps == reader.finish("api").steps == ()


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("ERROR: target web: it broke", {"api": False, "web": True}),
        ("ERROR: target nope: it broke", {"api": True, "web": True}),
        ("ERROR: it broke", {"api": True, "web": True}),
        ("target web: it broke", {"api": False, "web": False}),
    ],
)
def test_an_error_belongs_to_the_target_it_names(line: str, why: dict[str, bool]) -> None:
    """An error without a target counts for failed targets, or for all, and is reported once."""
    reader = BakeReader(("api", "web"))
    assert len(list(reader.feed(line))) == 1
    assert {name: reader.finish(name).says_why for name in why} == why


def test_a_target_without_its_own_error_has_its_steps_error() -> None:
    """The error of a target's step is used if docker reports only another target's error."""
    reader = BakeReader(("api", "web"))
    for name in ("api", "web"):
        broken = vertex(name, name, **DONE, error=f"{name} broke")
        send(reader, vertexes=[broken])
    list(reader.feed("ERROR: target web: failed to solve: web broke"))
    assert reader.finish("api").last_error == "api broke"
    assert reader.finish("web").last_error == "failed to solve: web broke"
