"""Tests that recorded streams give the outcomes that follow from how they were made."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bxcache.buildx.stream.events import (
    Event,
    Outcome,
    RunStarted,
    Said,
    StepFinished,
    StepLogged,
    StepShown,
    StepStarted,
    StepStopped,
    Transferred,
    Warned,
)
from bxcache.buildx.stream.names import CacheVertex, Transfer
from bxcache.buildx.stream.raw import join_documents
from bxcache.buildx.stream.reader import TraceReader
from bxcache.buildx.stream.trace import Trace

STREAMS = Path(__file__).parents[1] / "streams"
REUSED, EXECUTED, FAILED = Outcome.REUSED, Outcome.EXECUTED, Outcome.FAILED

# Every instruction of streams/Dockerfile that makes a layer, by hand. `COPY --from=build /out /out`
# is in two stages but is one vertex, which BuildKit names once.
STEPS = {
    "base": ["COPY busybox /bin/busybox", 'RUN ["/bin/busybox","--install","/bin"]'],
    "deps": ["COPY lib /lib-in", "RUN sleep 1; mkdir /deps;"],
    "build": ["COPY --link src /src", "COPY --from=deps /deps /deps", "RUN <<EOF"],
    "test": ["COPY --from=build /out /out", "RUN test -s /out/app"],
    "stage-4": ["COPY --from=test /ok /ok", "RUN cp /out/app /app"],
}


def read(name: str) -> tuple[Trace, list[Event]]:
    reader = TraceReader()
    lines = (STREAMS / f"{name}.ndjson").read_text().splitlines()
    events = [event for line in join_documents(lines) for event in reader.feed(line)]
    return reader.finish(), events


@pytest.mark.parametrize("name", ["cold", "docker-28-cold", "fresh-builder-source-edit"])
def test_the_context_is_distinguished_from_other_transfers(name: str) -> None:
    """Only the transfer of the context counts as such, and not that of the Dockerfile."""
    lines = (STREAMS / f"{name}.ndjson").read_text().splitlines()
    named, ended, sent = dict[str, str](), list[str](), list[bool]()
    reader = TraceReader()
    for line in join_documents(lines):
        document = json.loads(line) if line.startswith("{") else {}
        named |= {each["digest"]: each["name"] for each in document.get("vertexes", ())}
        for status in document.get("statuses", ()):
            if status["id"].startswith("transferring ") and status.get("completed"):
                ended.append(named[status["vertex"]])
        moved = [each for each in reader.feed(line) if isinstance(each, Transferred)]
        sent += [each.is_context for each in moved if each.kind is Transfer.SEND and each.done]
    assert sent == [each == "[internal] load build context" for each in ended]
    assert len(ended) >= 3
    assert sent.count(True) == 1


def outcomes(trace: Trace) -> dict[tuple[str, str], Outcome]:
    return {(step.name.stage, step.name.text): step.outcome for step in trace.steps}


def expect(
    changes: dict[tuple[str, str], Outcome], default: Outcome
) -> dict[tuple[str, str], Outcome]:
    return {
        (stage, text): changes.get((stage, text), default)
        for stage, texts in STEPS.items()
        for text in texts
    }


def check(trace: Trace, expected: dict[tuple[str, str], Outcome]) -> None:
    found = outcomes(trace)
    assert len(found) == len(trace.steps) == len(expected)
    for (stage, start), outcome in expected.items():
        matching = [
            out for (s, text), out in found.items() if s == stage and text.startswith(start)
        ]
        assert matching == [outcome], (stage, start)


@pytest.mark.parametrize(
    ("name", "outcome"),
    [
        ("cold", EXECUTED),
        ("registry-down-ignored", EXECUTED),
        ("fresh-builder-all-reused", REUSED),
        ("registry-all-reused", REUSED),
    ],
)
def test_all_steps_have_one_outcome(name: str, outcome: Outcome) -> None:
    """Cold builds execute every step and warm ones reuse every step, pulled lazily or not."""
    check(read(name)[0], expect({}, outcome))


def test_an_edit_executes_all_later_steps() -> None:
    """The changed COPY and its descendants are executed; base and deps are reused."""
    changed = {
        (stage, text): EXECUTED for stage in ("build", "test", "stage-4") for text in STEPS[stage]
    }
    check(read("fresh-builder-source-edit")[0], expect(changed, REUSED))


def test_steps_before_a_failing_one_are_listed() -> None:
    """Steps reused before the failure are listed; steps never reached are not."""
    trace, events = read("failing-step")
    expected = expect({("test", "RUN test -s /out/app"): FAILED}, REUSED)
    for text in STEPS["stage-4"]:
        del expected["stage-4", text]
    found = outcomes(trace)
    assert sorted(found.values()) == sorted(expected.values())
    assert found["test", "RUN test -s /nope && echo ok > /ok"] is FAILED
    assert trace.said[-1].startswith("ERROR: failed to build: failed to solve: process")
    assert [e.line for e in events if isinstance(e, Said)] == list(trace.said)


def test_a_step_that_is_given_up_is_not_reused() -> None:
    """When a step has failed, BuildKit reports others as found that nobody needs any more."""
    trace, events = read("docker-28-given-up")
    found = outcomes(trace)
    assert REUSED not in found.values()
    assert sum(each is EXECUTED for each in found.values()) == 7
    assert not [e for e in events if isinstance(e, StepFinished) and e.outcome is REUSED]


def test_a_cache_that_cannot_be_loaded_does_not_fail_a_step() -> None:
    """A cache that cannot be loaded does not fail a step; the step that docker blames is failed."""
    trace, _ = read("truncated-parent")
    assert [step.name.label for step in trace.steps if step.outcome is FAILED] == ["[test 2/2]"]
    assert EXECUTED not in outcomes(trace).values()


def test_each_platform_has_its_own_steps() -> None:
    """The 10 steps of 2 platforms are distinguished by their vertices, though names are equal."""
    trace, _ = read("two-platforms")
    assert len(trace.steps) == 20
    assert {step.outcome for step in trace.steps} == {EXECUTED}
    platforms = {step.name.platform for step in trace.steps if step.name.text.startswith("COPY")}
    assert platforms == {"linux/amd64", "linux/amd64/v2"}


def test_a_linked_copy_is_one_step() -> None:
    """A linked COPY and its merge, a second vertex, are one step."""
    trace, _ = read("cold")
    linked = [step for step in trace.steps if "--link" in step.name.text]
    assert [len(step.digests) for step in linked] == [2]
    assert not any(step.name.text.startswith("LINK") for step in trace.steps)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("docker-28-cold", {"build": [EXECUTED] * 2, "stage-1": [EXECUTED] * 2}),
        ("docker-28-all-reused", {"build": [REUSED] * 2, "stage-1": [REUSED] * 2}),
        ("docker-28-single-stage", {"stage-0": [EXECUTED]}),
        ("docker-26-cold", {"base": [EXECUTED] * 2, "stage-1": [EXECUTED]}),
        ("docker-26-all-reused", {"base": [REUSED] * 2, "stage-1": [REUSED]}),
        ("docker-26-failing-step", {"base": [REUSED] * 2, "stage-1": [FAILED]}),
    ],
)
def test_a_base_image_is_not_a_step(name: str, expected: dict[str, list[Outcome]]) -> None:
    """A base image is not a step, since `FROM` makes no layer."""
    trace, _ = read(name)
    found: dict[str, list[Outcome]] = {}
    for step in trace.steps:
        found.setdefault(step.name.stage, []).append(step.outcome)
    assert found == expected


@pytest.mark.parametrize("name", sorted(path.stem for path in STREAMS.glob("*.ndjson")))
def test_events_match_the_trace(name: str) -> None:
    """The last event of each step is its outcome, and every step has one."""
    trace, events = read(name)
    last: dict[tuple[str, str, str], list[Outcome]] = {}
    for event in events:
        if isinstance(event, StepFinished):
            key = (event.step.label, event.step.text, event.step.platform or "")
            last.setdefault(key, []).append(event.outcome)
    assert set(last) >= {(s.name.label, s.name.text, s.name.platform or "") for s in trace.steps}
    for step in trace.steps:
        key = (step.name.label, step.name.text, step.name.platform or "")
        assert step.outcome in last[key]


@pytest.mark.parametrize("name", sorted(path.stem for path in STREAMS.glob("*.ndjson")))
def test_a_started_step_ends_once(name: str) -> None:
    """Each started step ends once, wherever the stream is cut off, as when buildx is killed."""
    lines = (STREAMS / f"{name}.ndjson").read_text().splitlines()
    documents = list(join_documents(lines))
    for cut in range(0, len(documents) + 1, max(1, len(documents) // 40)):
        reader, running = TraceReader(), set[str]()
        events = [event for line in documents[:cut] for event in reader.feed(line)]
        for event in (*events, *reader.end()):
            if isinstance(event, StepStarted):
                assert event.vertex not in running
                running.add(event.vertex)
            elif isinstance(event, StepFinished | StepStopped):
                assert event.vertex in running or isinstance(event, StepFinished)
                running.discard(event.vertex)
        assert not running
        assert list(reader.end()) == []


def test_of_two_equal_steps_one_fails_and_one_is_stopped() -> None:
    """Of two equal steps, which BuildKit executes once, one fails and one is stopped."""
    trace, events = read("two-platforms-stopped")
    ends = [
        type(e)
        for e in events
        if isinstance(e, StepFinished | StepStopped) and "exit 3" in e.step.text
    ]
    assert ends == [StepFinished, StepStopped]
    assert [step.outcome for step in trace.steps if "exit 3" in step.name.text] == [FAILED]


def test_a_reused_step_of_a_stopped_build_stays_reused() -> None:
    """A step whose layer was being fetched when the build was stopped counts as reused."""
    found = {"digest": "d", "name": "[a 1/1] RUN x", "started": "2026-01-01T00:00:00Z"}
    reader = TraceReader()
    for more in ({"completed": "2026-01-01T00:00:01Z", "cached": True}, {}):
        list(reader.feed(json.dumps({"vertexes": [{**found, **more}]})))
    stopped = {**found, "completed": "2026-01-01T00:00:02Z", "error": "pull: context canceled"}
    assert list(reader.feed(json.dumps({"vertexes": [stopped]}))) == []
    assert [step.outcome for step in reader.finish().steps] == [REUSED]


def test_a_reused_step_never_starts() -> None:
    """A reused step never starts, since fetching layers is not execution."""
    _, events = read("fresh-builder-all-reused")
    assert not [event for event in events if isinstance(event, StepStarted)]


def test_the_exported_manifest_is_known() -> None:
    """The exported digest equals the one in the build's metadata."""
    trace, _ = read("cold")
    metadata = json.loads((STREAMS / "cold.meta.json").read_text())
    (export,) = trace.find_transfers(CacheVertex.EXPORT_LOCAL)
    assert export.digest == json.loads(metadata["cache.manifest"])["digest"]
    assert not export.error


def test_a_failed_export_has_its_error() -> None:
    """A failed export has the error of the unreachable registry."""
    trace, _ = read("registry-down-ignored")
    (export,) = trace.find_transfers(CacheVertex.EXPORT_REGISTRY)
    assert "connect" in export.error
    assert export.digest is None


def test_collisions_of_parallel_exports_are_not_shown() -> None:
    """Write collisions of parallel exports, which BuildKit prints as errors, are not shown."""
    text = (STREAMS / "cold.ndjson").read_text()
    assert "ERROR: (*service).Write failed" in text
    assert read("cold")[0].said == ()


def test_seconds_are_those_of_the_dockerfile() -> None:
    """Steps that sleep a second take one second, not two."""
    trace, _ = read("cold")
    slept = {s.name.stage: s.seconds for s in trace.steps if "sleep 1" in s.name.text}
    assert set(slept) == {"deps", "build"}
    assert all(1.0 <= seconds < 1.5 for seconds in slept.values())


def test_log_lines_are_whole() -> None:
    """Pieces of a log are joined to lines; the last line may lack its line break."""
    chunks = ["YWI=", "Y2QKZWY=", "Z2gKcGFydA=="]  # ab | cd\nef | gh\npart
    vertex = {"digest": "sha256:1", "name": "[a 1/1] RUN x", "started": "2026-01-01T00:00:00Z"}
    reader = TraceReader()
    lines = [json.dumps({"vertexes": [vertex]})]
    lines += [json.dumps({"logs": [{"vertex": "sha256:1", "data": data}]}) for data in chunks]
    lines.append(json.dumps({"vertexes": [{**vertex, "completed": "2026-01-01T00:00:02Z"}]}))
    events = [event for line in lines for event in reader.feed(line)]
    assert [e.line for e in events if isinstance(e, StepLogged)] == ["abcd", "efgh", "part"]
    assert [e.seconds for e in events if isinstance(e, StepFinished)] == [2.0]


@pytest.mark.parametrize(
    ("chunks", "shown"),
    [
        # A carriage return comes before the text, or after it.
        (["\r10%", "\r20%", "\r30%"], ["10%", "20%"]),
        (["10%\r", "20%\r"], ["10%", "20%"]),
        (["a\n\r1", "0%", "\r20%", "\rdone\n"], ["10%"]),
        # Incomplete output may be half of a secret.
        (["pass", "word"], []),
        (["\rpass"], []),
        (["dos\r\n", "lines\r\n"], []),
        ([f"\r{'x' * 5000}", "\r"], []),
    ],
)
def test_overwritten_output_is_shown(chunks: list[str], shown: list[str]) -> None:
    """Overwritten output is shown only if it is complete, and only when it changes."""
    vertex = {"digest": "sha256:1", "name": "[a 1/1] RUN x", "started": "2026-01-01T00:00:00Z"}
    reader = TraceReader()
    list(reader.read({"vertexes": [vertex]}))
    datas = [base64.b64encode(each.encode()).decode() for each in chunks]
    messages = [{"logs": [{"vertex": "sha256:1", "data": data}]} for data in datas]
    events = [event for each in messages for event in reader.read(each)]
    assert [each.line for each in events if isinstance(each, StepShown)] == shown


@given(st.text())
def test_any_line_can_be_fed(line: str) -> None:
    """Any line can be fed, since a line that is not a status is docker's own output."""
    reader = TraceReader()
    list(reader.feed(line))
    reader.finish()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
KEYS = (
    *("digest", "name", "inputs", "started", "completed", "cached", "error"),
    *("vertex", "id", "data", "stream", "short"),
)
FIELDS = st.fixed_dictionaries({}, optional=dict.fromkeys(KEYS, JSON))


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["vertexes", "statuses", "logs", "warnings"]),
            st.lists(FIELDS | JSON, max_size=3) | JSON,
            max_size=4,
        ),
        max_size=3,
    )
)
def test_any_document_can_be_read(documents: list[dict[str, object]]) -> None:
    """Messages of any shape, as of a later BuildKit, can be read."""
    reader = TraceReader()
    for document in documents:
        list(reader.feed(json.dumps(document)))
    reader.finish()


@given(st.lists(st.text(alphabet=' {}"a:\\', max_size=6)))
def test_joined_lines_keep_their_content(lines: list[str]) -> None:
    """Joined lines keep their content, except a document's indent."""
    joined = "".join(join_documents(lines))
    assert joined.replace(" ", "") == "".join(lines).replace(" ", "")


def test_a_step_that_another_build_executed_is_listed_once() -> None:
    """A step that another build executed is listed once, under its own name."""
    reader = TraceReader()
    times = {"started": "2026-01-01T00:00:00Z", "completed": "2026-01-01T00:00:02Z"}
    own = [
        {"digest": "a", "name": "[build 2/4] COPY common /common"},
        {"digest": "b", "name": "[build 3/4] RUN make", "inputs": ["a"], **times},
    ]
    other = {"digest": "c", "name": "[build 2/3] COPY common /common", **times}
    list(reader.feed(json.dumps({"vertexes": [*own, other]})))
    trace = reader.finish({"a", "b"})
    seen = [(each.name.label, each.outcome, each.seconds, each.digests) for each in trace.steps]
    assert seen == [
        ("[build 2/4]", Outcome.EXECUTED, 2.0, ("a",)),
        ("[build 3/4]", Outcome.EXECUTED, 2.0, ("b",)),
    ]
    assert len(reader.finish().steps) == 2


@pytest.mark.parametrize(("own", "seen"), [({"a", "b", "c"}, 3), (set[str](), 1)])
def test_an_unneeded_step_is_reused_without_a_report(own: set[str], seen: int) -> None:
    """A step of a completed build that only has a name counts as reused; otherwise it is left out.

    For a build whose cached result another build has found, an engine of 28.5 reports only names.
    """
    reader = TraceReader()
    vertices = [
        {"digest": "a", "name": "[deps 1/2] COPY deps.txt /deps.txt"},
        {"digest": "b", "name": "[deps 2/2] RUN make", "inputs": ["a"]},
        {"digest": "c", "name": "[app 1/1] COPY --from=deps /deps /deps", "inputs": ["b"]},
        {"digest": "d", "name": "[deps 2/2] RUN make", "cached": True}
        | {"started": "2026-01-01T00:00:00Z", "completed": "2026-01-01T00:00:02Z"},
        {"digest": "e", "name": "[other 1/1] RUN other"},
    ]
    list(reader.feed(json.dumps({"vertexes": vertices})))
    steps = reader.finish(own).steps
    assert len(steps) == seen
    assert {each.outcome for each in steps} == {Outcome.REUSED}
    assert not any(each.name.stage == "other" for each in steps)
    assert [each.began for each in steps if each.name.index == 1] == [None] * (seen - 1)


def test_a_step_of_another_build_is_left_out() -> None:
    """Vertices that are not the build's own are left out."""
    reader = TraceReader()
    times = {"started": "2026-01-01T00:00:00Z", "completed": "2026-01-01T00:00:02Z"}
    vertices = [
        {"digest": "a", "name": "[1/1] RUN mine", **times},
        {"digest": "b", "name": "[2/2] RUN theirs", **times},
    ]
    list(reader.feed(json.dumps({"vertexes": vertices})))
    assert [each.name.text for each in reader.finish({"a"}).steps] == ["RUN mine"]


@pytest.mark.parametrize("name", ["cold", "registry-all-reused"])
def test_the_reads_of_a_step_are_known(name: str) -> None:
    """A step's reads are the COPY instructions listed by hand, executed or not."""
    busybox, lib = "COPY busybox /bin/busybox", "COPY lib /lib-in"
    every = {busybox, lib, "COPY --link src /src"}
    trace, _ = read(name)
    found: dict[str, set[str]] = {}
    for step in trace.steps:
        reads = {text.removeprefix("[internal] load build context ") for text in step.reads}
        found.setdefault(step.name.stage, set()).update(reads)
    assert found == {
        "base": {busybox},
        "deps": {busybox, lib},
        "build": every,
        "test": every,
        "stage-4": every,
    }


def test_vertices_in_a_cycle_read_nothing() -> None:
    """Vertices that form a cycle can be read, and read nothing of the context."""
    reader = TraceReader()
    names = {"a": "[internal] load build context", "b": "[1/2] COPY x /", "c": "[2/2] RUN y"}
    inputs = {"a": [], "b": ["a", "c"], "c": ["b"]}
    seen = [
        {"digest": key, "name": name, "inputs": inputs[key], "completed": "2026-01-01T00:00:00Z"}
        for key, name in names.items()
    ]
    list(reader.feed(json.dumps({"vertexes": seen})))
    assert [step.reads for step in reader.finish().steps] == [frozenset()] * 2


@pytest.mark.parametrize("name", ["cold", "registry-all-reused", "two-platforms"])
def test_the_last_status_of_each_transfer_counts(name: str) -> None:
    """Transferred bytes are the last status of each layer and file, as recounted here."""
    pulled, sent = dict[str, int](), dict[tuple[str, str], int]()
    for line in (STREAMS / f"{name}.ndjson").read_text().splitlines():
        if line.startswith("{"):
            for status in json.loads(line).get("statuses") or ():
                current = status.get("current") or 0
                if status["id"].startswith("sha256:"):
                    pulled[status["id"]] = max(current, pulled.get(status["id"], 0))
                if status["id"].startswith("transferring"):
                    key = status["vertex"], status["id"]
                    sent[key] = max(current, sent.get(key, 0))
    moved = read(name)[0].moved
    assert moved.get(Transfer.PULL, 0) == sum(pulled.values())
    assert moved.get(Transfer.SEND, 0) == sum(sent.values()) > 0


def test_warnings_are_kept_once() -> None:
    """Warnings are kept once each, in their order."""
    reader = TraceReader()
    for text in ("one", "two", "one"):
        short = base64.b64encode(text.encode()).decode()
        seen = list(reader.feed(json.dumps({"warnings": [{"short": short}]})))
        assert seen[-1:] == [Warned(text)]
    assert reader.finish().warnings == ("one", "two")


def encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("message", "seen"),
    [
        ({"short": encode("short"), "detail": [encode("long")]}, ["short"]),
        ({"detail": [encode("\n"), encode("long")], "url": "https://x"}, ["long"]),
        ({"short": "%", "detail": "%", "url": "https://x"}, ["https://x"]),
        ({"short": 1, "detail": [None, "?"]}, []),
        ({"short": ""}, []),
    ],
)
def test_a_warning_has_a_text(message: dict[str, Any], seen: list[str]) -> None:
    """A warning without a short text has its details or URL, and an empty one is dropped."""
    reader = TraceReader()
    events = reader.feed(json.dumps({"warnings": [{"vertex": "d", "level": 1, **message}]}))
    assert [each for each in events if isinstance(each, Warned)] == [*map(Warned, seen)]
    assert [*reader.finish().warnings] == seen


def test_the_fetch_of_an_add_belongs_to_its_step() -> None:
    """The fetch and the placement of an ADD have one vertex, unlike a step of the same name."""
    name = "[base 1/1] ADD https://example.com/a /a"
    done = {"started": "2026-01-01T00:00:00Z", "completed": "2026-01-01T00:00:01Z"}
    vertexes = [
        {"digest": "fetch", "name": name, **done},
        {"digest": "place", "name": name, "inputs": ["fetch"], **done},
        {"digest": "other", "name": name, **done},
    ]
    events = list(TraceReader().feed(json.dumps({"vertexes": vertexes})))
    seen = [each.vertex for each in events if isinstance(each, StepFinished)]
    assert seen == ["fetch", "fetch", "other"]


def test_a_run_begins_once() -> None:
    """A run begins with one event, before all others, so that earlier steps can be dropped."""
    lines = (STREAMS / "cold.ndjson").read_text().splitlines()
    reader = TraceReader()
    events = [event for line in lines for event in reader.feed(line)]
    assert [at for at, each in enumerate(events) if isinstance(each, RunStarted)] == [0]
