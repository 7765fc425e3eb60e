"""The phases of a build's time."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from bxcache.buildx.metadata import Metadata
from bxcache.buildx.run import RunResult, Stopwatch, join_spans
from bxcache.buildx.stream.events import Phase, RunStarted
from bxcache.buildx.stream.phases import Span, share_time
from bxcache.buildx.stream.raw import join_documents
from bxcache.buildx.stream.reader import TraceReader
from bxcache.buildx.stream.trace import Trace
from bxcache.console.phases import PHASE_NAMES, name_phase, summarize_phases
from bxcache.insight.record_parts import RecordedPhase
from bxcache.pipeline.timeline import Timeline
from tests.bootstrap import ROOT
from tests.support.replay import STREAMS

RECORDED = sorted(STREAMS.rglob("*.ndjson"))
MOST_UNEXPLAINED = 0.05
YEAR = 365 * 86_400.0


def read_trace(name: str) -> Trace:
    reader = TraceReader()
    for line in join_documents((STREAMS / f"{name}.ndjson").read_text().splitlines()):
        list(reader.feed(line))
    return reader.finish()


def share(trace: Trace) -> dict[Phase, float]:
    """Share the time from BuildKit's first action to its last."""
    assert trace.began is not None
    return share_time(trace.spans, trace.began, max(each.ended for each in trace.spans))


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: str(path.relative_to(STREAMS)))
def test_the_time_of_a_recorded_build_is_explained(path: object) -> None:
    """Less than 5 % of BuildKit's time has no name, in any recorded stream."""
    name = str(path).removeprefix(f"{STREAMS}/").removesuffix(".ndjson")
    shares = share(read_trace(name))
    assert shares.get(Phase.OTHER, 0.0) < MOST_UNEXPLAINED * sum(shares.values())


def test_each_part_of_a_cold_build_has_its_phase() -> None:
    """The phases are those that the times of BuildKit's messages add up to, read by eye."""
    shares = share(read_trace("docker-28-cold"))
    expected = {
        # [build 2/3] 0.056-0.066, [build 3/3] 0.067-1.128, [stage-1 2/3] 1.135-1.143, 1.144-1.211
        Phase.STEPS: 0.010 + 1.061 + 0.008 + 0.067,
        # exporting layers
        Phase.LAYERS: 1.245 - 1.214,
        # manifest, config, attestations, list, names; and a pause of the vertex between them
        Phase.IMAGE: (1.264 - 1.245) + (1.282 - 1.275),
        Phase.UNPACK: 1.275 - 1.264,
        # exporting cache to client directory
        Phase.SAVE: 1.378 - 1.282,
    }
    assert {phase: shares[phase] for phase in expected} == pytest.approx(expected, abs=0.003)


def test_fetched_layers_of_reused_steps_are_no_running_steps() -> None:
    """Of a build whose steps were all reused, the time of a fetched step is fetching."""
    trace = read_trace("fresh-builder-all-reused")
    shares = share(trace)
    assert Phase.STEPS not in shares
    # [stage-4 3/3] 0.065-0.239
    assert shares[Phase.FETCH] == pytest.approx(0.239 - 0.065, abs=0.003)
    # The sizes of the five fetched layers, as their statuses report them.
    assert trace.phase_bytes[Phase.FETCH] == 1_079_940 + 1_083_587 + 133 + 99 + 105


spans = st.builds(
    lambda phase, began, seconds: Span(phase, began, began + seconds),
    st.sampled_from(Phase),
    st.floats(-50, 150),
    st.floats(0, 60),
)


@given(st.lists(spans, max_size=30))
def test_each_moment_counts_once(listed: list[Span]) -> None:
    """The shares add up to the whole time, however the phases overlap."""
    shares = share_time(listed, 0.0, 100.0)
    assert sum(shares.values()) == pytest.approx(100.0)
    for phase, seconds in shares.items():
        own = sum(max(0.0, min(s.ended, 100) - max(s.began, 0)) for s in listed if s.phase is phase)
        assert phase is Phase.OTHER or 0 < seconds <= own + 1e-6


@given(st.lists(spans, max_size=300))
def test_the_spans_of_a_phase_are_few_and_apart(listed: list[Span]) -> None:
    """A recorded phase has at most 40 spans, which do not overlap and cover all that it did."""
    ran = RunResult(0, Trace(), Metadata(), 1.0, tuple(listed))
    for phase in Timeline(0.0).list_phases(ran, 300.0):
        assert len(phase.spans) <= 40
        assert all(before[1] < after[0] for before, after in pairwise(phase.spans))
        for span in (each for each in listed if each.phase.value == phase.name):
            began, ended = max(0.0, span.began), max(0.0, span.ended)
            short = ended - began < 0.002
            assert short or any(
                first <= began + 0.001 and ended <= last + 0.001 for first, last in phase.spans
            )


@pytest.mark.parametrize("ahead", [-YEAR, 0.0, YEAR])
def test_a_builder_with_another_clock_is_measured_by_ours(ahead: float) -> None:
    """A builder whose clock is a year off does its work within the time of the run."""
    trace, watch = read_trace("docker-28-cold"), Stopwatch()
    watch.take(RunStarted())
    assert trace.began is not None
    spans = tuple(each.shift(ahead) for each in trace.spans)
    trace = replace(trace, began=trace.began + ahead, spans=spans)
    ran = watch.place(RunResult(0, trace, Metadata(), 1.5), trace.began)
    began = min(each.began for each in ran.spans)
    assert max(each.ended for each in ran.spans) == pytest.approx(began + 1.5, abs=0.01)
    shares = share_time(ran.spans, began, began + 1.5)
    assert shares[Phase.STEPS] == pytest.approx(1.146, abs=0.01)


def test_a_docker_that_never_reached_its_builder_is_all_docker() -> None:
    """A run without a message of BuildKit is docker's own time."""
    ran = Stopwatch().place(RunResult(1, Trace(), Metadata(), 2.0), None)
    (span,) = ran.spans
    assert span.phase is Phase.DOCKER
    assert span.ended - span.began == pytest.approx(2.0)


def test_the_time_between_two_runs_is_bxcaches() -> None:
    """What bxcache does between two runs of docker counts as its preparation."""
    first, second = (Span(Phase.DOCKER, 0.0, 2.0),), (Span(Phase.DOCKER, 3.0, 4.0),)
    joined = join_spans(first, second)
    assert share_time(joined, 0.0, 4.0) == {Phase.DOCKER: 3.0, Phase.START: 1.0}
    assert join_spans((), second) == second


def test_every_phase_has_a_name() -> None:
    """Each phase is named in words, and one of a later version keeps its name."""
    assert set(PHASE_NAMES) == set(Phase)
    assert len(set(PHASE_NAMES.values())) == len(Phase)
    assert name_phase("teleport") == "teleport"


def test_every_phase_is_explained_in_the_documentation() -> None:
    """The page of reports explains all phases by their names, in the order of their ranking."""
    page = (ROOT / "docs" / "reports.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| .+ \|$", page, re.MULTILINE)
    assert rows == [(phase.value, PHASE_NAMES[phase]) for phase in Phase]


def test_the_longest_phases_are_summarized() -> None:
    """The summary names the longest phases and adds up the rest."""
    seconds = {"steps": 10.0, "fetch": 5.0, "save": 2.0, "docker": 1.0, "image": 0.9, "other": 0.1}
    phases = [RecordedPhase(name=name, seconds=each) for name, each in seconds.items()]
    assert summarize_phases(phases) == (
        "10.0 s running steps, 5.0 s fetching reused layers, 2.0 s exporting the cache, "
        "1.0 s starting and ending docker, 1.0 s other"
    )
