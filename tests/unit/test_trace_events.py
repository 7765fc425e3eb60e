"""Tests of a build's trace: the rules of the Trace Event Format, and the content of the report.

https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from itertools import combinations
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bxcache.buildx.stream.events import Outcome
from bxcache.console.report.trace_events import render_trace
from bxcache.insight.record_parts import RecordedPhase, RecordedScope, RecordedStep
from bxcache.insight.report import Report
from bxcache.insight.reporting import make_report
from tests.support.golden import BUILDS, make_golden
from tests.support.histories import STARTED, make_record, make_stages, make_step, name_digest

Document = dict[str, Any]

# The format's rules for the events used here.
COUNT = {"type": "integer", "minimum": 0}
EVENT = {
    "oneOf": [
        {
            "properties": {
                "ph": {"const": "X"},
                "name": {"type": "string"},
                "cat": {"type": "string", "pattern": "^[a-z]+$"},
                "ts": {"type": "integer"},
                "dur": COUNT,
                "pid": COUNT,
                "tid": COUNT,
                "args": {"type": "object"},
            },
            "required": ["ph", "name", "cat", "ts", "dur", "pid", "tid"],
            "additionalProperties": False,
        },
        *(
            {
                "properties": {
                    "ph": {"const": "M"},
                    "name": {"const": name},
                    "pid": COUNT,
                    "tid": COUNT,
                    "args": {"properties": {key: kind}, "required": [key], "maxProperties": 1},
                },
                "required": ["ph", "name", "pid", "tid", "args"],
                "additionalProperties": False,
            }
            for name, key, kind in (
                ("process_name", "name", {"type": "string"}),
                ("thread_name", "name", {"type": "string"}),
                ("thread_sort_index", "sort_index", {"type": "integer"}),
            )
        ),
    ]
}
FORMAT = {
    "type": "object",
    "properties": {
        "traceEvents": {"type": "array", "items": EVENT},
        "displayTimeUnit": {"enum": ["ms", "ns"]},
        "otherData": {"type": "object"},
    },
    "required": ["traceEvents"],
    "additionalProperties": False,
}
HEADS = make_stages(("one", 1, "debian"), ("two", 5, "one"))
PARENT = "00f067aa0ba902b7"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"


def read(report: Report, traceparent: str = "") -> Document:
    """Read the trace of a report, and check its format."""
    document: Document = json.loads(render_trace(report, traceparent))
    jsonschema.Draft202012Validator(FORMAT).validate(document)
    return document


def list_complete(document: Document) -> list[Document]:
    return [event for event in document["traceEvents"] if event["ph"] == "X"]


def list_steps(document: Document) -> list[Document]:
    """List the events of steps: the first is the build's, and those of phases come last."""
    return [event for event in list_complete(document)[1:] if event["cat"] != "phase"]


def name_tracks(document: Document) -> dict[int, str]:
    """Return the names of the tracks."""
    named = [event for event in document["traceEvents"] if event["name"] == "thread_name"]
    assert len({event["tid"] for event in named}) == len(named)
    return {event["tid"]: event["args"]["name"] for event in named}


def overlap(first: Document, second: Document) -> bool:
    """Return whether both events overlap in time."""
    (begin, end), (other_begin, other_end) = find_span(first), find_span(second)
    return max(begin, other_begin) < min(end, other_end)


def find_span(event: Document) -> tuple[int, int]:
    """Return when an event begins and ends."""
    return event["ts"], event["ts"] + event["dur"]


# A trace has microseconds, and a report's times fit them.
MOMENTS = st.one_of(
    st.integers(0, 30).map(lambda tenths: tenths / 10),
    st.integers(0, 10**13).map(lambda micros: micros / 1e6),
)
STEPS = st.builds(
    RecordedStep,
    text=st.sampled_from(["RUN a", "COPY b c"]),
    stage=st.sampled_from(["one", "two", "elsewhere", ""]),
    lines=st.sampled_from([(), (2,), (6,), (2, 6)]),
    platforms=st.sampled_from([(), ("linux/amd64",), ("linux/arm64",)]),
    outcome=st.sampled_from([None, *Outcome]),
    seconds=MOMENTS,
    began=st.none() | MOMENTS,
)
REPORTS = st.builds(
    lambda steps, seconds: make_report([make_record(*steps, stages=HEADS, seconds=seconds)]),
    st.lists(STEPS, max_size=12),
    MOMENTS,
)


@given(REPORTS)
def test_no_events_of_a_track_overlap(report: Report) -> None:
    """The events of a track do not overlap, since the format requires nesting."""
    tracks = defaultdict(list)
    for event in list_complete(read(report)):
        tracks[event["tid"]].append(event)
    for events in tracks.values():
        assert not any(overlap(*pair) for pair in combinations(events, 2))


@given(REPORTS)
def test_a_stage_has_as_many_tracks_as_steps_that_run_at_once(report: Report) -> None:
    """A stage has as many tracks as steps that run at once, for each of its platforms."""
    document = read(report)
    names = name_tracks(document)
    steps = defaultdict(list)
    for event in list_steps(document):
        steps[names[event["tid"]].rstrip(" 0123456789")].append(event)
    for events in steps.values():
        most = max(count_beside(event["ts"], events) for event in events)
        assert len({event["tid"] for event in events}) == most


def count_beside(moment: int, events: list[Document]) -> int:
    """Count the tracks that concurrent events need; events without duration share one."""
    spans = [find_span(event) for event in events]
    inside = sum(begin < moment < end for begin, end in spans)
    begun = sum(begin == moment < end for begin, end in spans)
    return inside + max(1, begun)


@given(REPORTS)
def test_a_step_has_one_event(report: Report) -> None:
    """A step with a known start has one event with its times, and other steps are counted."""
    document = read(report)
    known = [step for step in report.steps if step.began is not None]
    seen = Counter((e["name"], e["cat"]) for e in list_steps(document))
    outcomes = ((step.outcome.value if step.outcome else "unknown") for step in known)
    assert seen == Counter(zip((step.text for step in known), outcomes, strict=True))
    assert document["otherData"]["steps_left_out"] == len(report.steps) - len(known)
    expected = sorted((STARTED + (step.began or 0), step.seconds) for step in known)
    spans = sorted((e["ts"] / 1e6, e["dur"] / 1e6) for e in list_steps(document))
    assert spans == [pytest.approx(span, abs=2e-6) for span in expected]


@given(REPORTS)
def test_the_build_lasts_as_long_as_its_steps(report: Report) -> None:
    """The build's event covers all its steps, and lasts longer if docker did more."""
    whole, *steps = list_complete(read(report))
    assert whole["ts"] == STARTED * 1e6
    assert whole["dur"] >= round(report.seconds * 1e6)
    for event in steps:
        assert whole["ts"] <= event["ts"]
        assert event["ts"] + event["dur"] <= whole["ts"] + whole["dur"]


@given(REPORTS)
def test_every_track_has_a_name_and_a_place(report: Report) -> None:
    """Every track has a name and a sort index, and all tracks belong to one process."""
    document = read(report)
    used = {event["tid"] for event in list_complete(document)}
    sorting = [e for e in document["traceEvents"] if e["name"] == "thread_sort_index"]
    assert name_tracks(document).keys() == used == {event["tid"] for event in sorting}
    assert len({event["args"]["sort_index"] for event in sorting}) == len(used)
    assert len({event["pid"] for event in document["traceEvents"]}) == 1


@given(REPORTS)
def test_each_event_is_below_the_build_and_the_pipeline(report: Report) -> None:
    """Each event has its own span id below the build's, which is the same in every export."""
    document = read(report, TRACEPARENT)
    whole, *steps = (event["args"] for event in list_complete(document))
    assert document["otherData"]["trace_id"] == TRACE
    assert document["otherData"]["parent_span_id"] == whole["parent_span_id"] == PARENT
    assert all(args["parent_span_id"] == whole["span_id"] for args in steps)
    spans = {PARENT, *(args["span_id"] for args in (whole, *steps))}
    assert len(spans) == 2 + len(steps)
    assert all(len(span) == 16 and int(span, 16) for span in spans)
    assert document == read(report, TRACEPARENT)


def test_builds_of_one_pipeline_share_no_span() -> None:
    """Two images and a repeated build have different span ids."""
    other = RecordedScope(name="other", image="other")
    step = make_step("RUN a", 2, began=0.0)
    records = (
        make_record(step),
        make_record(step, scope=other),
        make_record(step, started=STARTED + 0.001),
    )
    traces = [list_complete(read(make_report([record]), TRACEPARENT)) for record in records]
    spans = [event["args"]["span_id"] for trace in traces for event in trace]
    assert len({*spans}) == 6


@pytest.mark.parametrize("text", ["", "00-0-0-0", TRACEPARENT.upper()])
def test_without_a_trace_there_are_no_ids(text: str) -> None:
    """Without a valid `TRACEPARENT`, a trace has no ids."""
    shown = render_trace(make_golden("cold"), text)
    assert "span_id" not in shown
    assert "trace_id" not in shown


def test_tracks_are_in_the_order_of_the_dockerfile() -> None:
    """Tracks are in the order of the Dockerfile and of platforms, below the whole build."""
    assert [*name_tracks(read(make_golden("two-platforms"))).values()] == [
        "whole build",
        "base (linux/amd64, linux/amd64/v2)",
        *(
            f"{stage} ({platform})"
            for stage in ("base", "deps", "build", "test", "stage-4")
            for platform in ("linux/amd64", "linux/amd64/v2")
        ),
        "phases",
    ]


def test_the_phases_have_a_track() -> None:
    """Each span of a phase is an event on the last track, at its own time."""
    phases = (
        RecordedPhase(name="steps", seconds=3.0, spans=((1.0, 4.0),)),
        RecordedPhase(name="push", seconds=1.0, bytes=77, spans=((2.0, 2.5), (4.0, 5.0))),
    )
    document = read(make_report([make_record(phases=phases, stages=HEADS)]))
    (track,) = [number for number, name in name_tracks(document).items() if name == "phases"]
    events = [event for event in list_complete(document) if event["tid"] == track]
    began = [(event["name"], event["ts"] / 1e6 - STARTED, event["dur"] / 1e6) for event in events]
    assert began == [
        ("running steps", 1.0, 3.0),
        ("pushing the image", 2.0, 0.5),
        ("pushing the image", 4.0, 1.0),
    ]
    assert [event["args"] for event in events] == [{}, {"bytes": 77}, {"bytes": 77}]


def test_steps_side_by_side_are_on_tracks_of_their_own() -> None:
    """Parallel steps have separate tracks, and a step that begins when another ends follows it."""
    steps = (
        make_step("RUN a", 2, began=0.0, seconds=2.0, stage="one"),
        make_step("COPY --link b", 3, began=1.0, seconds=2.0, stage="one"),
        make_step("RUN c", 4, began=2.0, seconds=1.0, stage="one"),
    )
    document = read(make_report([make_record(*steps, stages=HEADS)]))
    names = name_tracks(document)
    seen = {event["name"]: names[event["tid"]] for event in list_steps(document)}
    assert seen == {"RUN a": "one", "COPY --link b": "one 2", "RUN c": "one"}


def test_a_step_has_its_known_values() -> None:
    """The event of a step has its known values; times are microseconds since 1970."""
    failed = make_step(
        "RUN make",
        6,
        layers="a:30 b:12",
        outcome=Outcome.FAILED,
        began=1.25,
        seconds=0.003,
        stage="two",
        platforms=("linux/arm64",),
        log_bytes=77,
        error="exit code: 2",
    )
    base = make_step("FROM debian", 1, began=0.0, seconds=4.0, stage="one")
    record = make_record(base, failed, stages=HEADS, started=STARTED + 0.5, seconds=5.0)
    whole, first, second = list_complete(read(make_report([record])))
    assert (whole["ts"], whole["dur"]) == (1_700_000_000_500_000, 5_000_000)
    assert (first["ts"], first["dur"], first["cat"]) == (whole["ts"], 4_000_000, "from")
    assert first["args"] == {"stage": "one", "lines": [1], "log_bytes": 0}
    assert (second["name"], second["cat"]) == ("RUN make", "failed")
    assert (second["ts"], second["dur"]) == (1_700_000_001_750_000, 3_000)
    assert second["args"] == {
        "outcome": "failed",
        "stage": "two",
        "lines": [6],
        "platforms": ["linux/arm64"],
        "bytes": 42,
        "layers": [
            {"digest": name_digest("a"), "size": 30},
            {"digest": name_digest("b"), "size": 12},
        ],
        "log_bytes": 77,
        "error": "exit code: 2",
    }


@pytest.mark.parametrize("name", BUILDS)
def test_the_build_is_described_twice(name: str) -> None:
    """The trace's metadata is repeated in the build's event, because Perfetto does not show it."""
    report = make_golden(name)
    document = read(report)
    known = document["otherData"]
    assert list_complete(document)[0]["args"] == known
    assert (known["scope"], known["started"]) == (report.scope.name, report.started)
    assert known["hit_ratio"] == report.counts.hit_ratio
    assert known["exit_status"] == report.exit_status
    (process,) = [e for e in document["traceEvents"] if e["name"] == "process_name"]
    assert process["args"]["name"] == report.scope.name


@pytest.mark.parametrize("moment", [2.5e11, 5e-324])
def test_any_times_give_a_valid_trace(moment: float) -> None:
    """Any times in a record give a valid trace."""
    step = make_step("RUN a", 2, began=moment, seconds=moment)
    document = read(make_report([make_record(step, seconds=moment, started=moment)]))
    assert len(list_steps(document)) == 1


@given(st.text())
def test_no_text_changes_the_trace(text: str) -> None:
    """With any text, the trace is ASCII without control characters."""
    step = RecordedStep(
        text=text, stage=text, platforms=(text,), outcome=Outcome.FAILED, error=text, began=0.0
    )
    scope = RecordedScope(name=text, image=text)
    report = make_report([make_record(step, scope=scope)])
    shown = render_trace(report, TRACEPARENT)
    assert all(" " <= each <= "~" or each == "\n" for each in shown)
    assert len(list_complete(read(report))) == 2
