"""Tests of a build's summary."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from bxcache.backends.cache_result import CacheResult
from bxcache.buildx.stream.events import Outcome
from bxcache.cli.results import print_layers
from bxcache.console.summary import render_summary, render_totals
from bxcache.insight.record_parts import RecordedPhase
from bxcache.pipeline.result import BuildResult, Step
from tests.support.histories import make_record, make_stages, make_step

REUSED, EXECUTED, FAILED = Outcome.REUSED, Outcome.EXECUTED, Outcome.FAILED
STAGES = make_stages(("deps", 1, "scratch"), ("app", 4, "deps"))
RECORD = make_record(
    make_step("COPY lib /", 2, layers="a:10", outcome=REUSED, seconds=0.1, saved=2.0),
    make_step("RUN deps", 3, layers="b:20", outcome=REUSED, seconds=0.1, saved=70.0),
    make_step("RUN \x1b[2Jmake", 5, layers="c:30", outcome=EXECUTED, seconds=4.25, stage="app"),
    make_step("RUN test", 6, layers="d:40", outcome=EXECUTED, seconds=1.5, stage="app"),
    stages=STAGES,
    pulled_bytes=12_300_000,
    sent_bytes=4_500,
    build_warnings=("StageNameCasing: stage `Deps`", "two\nlines"),
)
CACHE = CacheResult(
    backend="local",
    place="/store",
    scope="image.main",
    exported=True,
    bytes=4_100_000,
    new_bytes=70,
    layers=4,
    store_bytes=120_000_000,
    store_budget=20_000_000_000,
    where="`image.main` in /store",
)
STEPS = tuple(
    Step("app", step.text, None, step.outcome or REUSED, step.seconds) for step in RECORD.steps
)
STORED = "(70 B new; the store has 120.0 MB of 20.0 GB)"
RESULT = BuildResult(0, None, (), STEPS, (CACHE,), (), 6.2, record=RECORD)


def test_each_stage_has_a_line() -> None:
    """Each stage has a line with the outcomes of its steps, their time and the time saved."""
    lines = [line.split() for line in render_summary(RESULT).splitlines()[:3]]
    assert lines == [
        ["STAGE", "REUSED", "EXECUTED", "TIME", "SAVED"],
        ["deps", "2", "0", "0.2", "s", "1", "m", "12", "s"],
        ["app", "0", "2", "5.8", "s"],
    ]


def test_slow_steps_and_warnings_follow() -> None:
    """The slowest steps and BuildKit's warnings follow, without control sequences."""
    assert render_summary(RESULT).splitlines()[3:-2] == [
        "slowest     4.2 s [app] RUN make",
        "            1.5 s [app] RUN test",
        r"2 warnings from BuildKit, see above: StageNameCasing, two\nlines",
    ]


def test_the_totals_are_last() -> None:
    """The totals are last: the steps' outcomes, the transfers, and the size of the store."""
    totals = "4 steps: 2 reused (50 %), 2 executed, in 6.2 s, 1 m 12 s saved, 12.3 MB fetched, "
    assert render_summary(RESULT).splitlines()[-2:] == [
        f"{totals}4.5 kB of context sent",
        f"saved 4.1 MB in 4 layers to `image.main` in /store {STORED}",
    ]


@pytest.mark.parametrize(
    ("cache", "words"),
    [
        (replace(CACHE, store_budget=None), "(70 B new; the store has 120.0 MB)"),
        (replace(CACHE, store_bytes=None), "(70 B new)"),
        # Part of the cache was evicted again.
        (replace(CACHE, new_bytes=None), "(the store has 120.0 MB of 20.0 GB)"),
        (replace(CACHE, new_bytes=None, store_bytes=None), "to `image.main` in /store"),
    ],
)
def test_unknown_values_of_the_store_are_not_shown(cache: CacheResult, words: str) -> None:
    """Unknown sizes and limits of a store are not shown."""
    assert render_totals(replace(RESULT, caches=(cache,))).endswith(words)


def test_an_unchanged_cache_is_not_reported_as_saved() -> None:
    """An export without new layers is reported as unchanged."""
    same = replace(CACHE, unchanged=True)
    amount = "4.1 MB in 4 layers; the store has 120.0 MB of 20.0 GB"
    last = render_totals(replace(RESULT, caches=(same,))).splitlines()[-1]
    assert last == f"nothing new for `image.main` in /store ({amount})"


@pytest.mark.parametrize(
    ("exported", "unchanged", "place"),
    [(True, False, "/store"), (False, True, "/store"), (False, False, "no cache")],
)
def test_printed_layers_name_the_cache_that_has_them(
    place: str, capsys: pytest.CaptureFixture[str], *, exported: bool, unchanged: bool
) -> None:
    """`build --layers` names the cache that has the layers, saved now or before."""
    cache = replace(CACHE, exported=exported, unchanged=unchanged)
    print_layers(replace(RESULT, caches=(cache,)))
    assert capsys.readouterr().out.splitlines()[1] == f"in {place}"


def test_a_cache_that_was_evicted_is_not_reported_as_saved() -> None:
    """A cache that the store evicted at once is reported as not saved."""
    cache = replace(CACHE, bytes=2_700, layers=0)
    assert render_summary(replace(RESULT, caches=(cache,))).endswith("nothing saved")


def test_a_build_that_is_in_no_cache_says_why() -> None:
    """The last line has the reason if no cache has the build."""
    result = replace(RESULT, caches=(), why_unsaved="the builder cannot export it")
    assert render_summary(result).endswith("\nnothing saved: the builder cannot export it")


def test_a_failed_build_shows_its_stages() -> None:
    """The summary of a failed build shows BuildKit's names of stages, without a Dockerfile."""
    steps = [
        make_step("COPY lib /", outcome=REUSED, stage="deps"),
        make_step("RUN x", outcome=FAILED, seconds=1.0, stage="app", error="exit code: 1"),
    ]
    record = make_record(*steps, exit_status=1)
    lines = render_summary(replace(RESULT, exit_status=1, record=record)).splitlines()
    assert [line.split()[:4] for line in lines[:3]] == [
        ["STAGE", "REUSED", "EXECUTED", "FAILED"],
        ["deps", "1", "0", "0.0"],
        ["app", "0", "0", "1"],
    ]


def test_unknown_and_negative_savings_are_explained() -> None:
    """A note below the table explains `?` and a time saved that is below zero, where they occur."""
    steps = [
        make_step("RUN a", 2, layers="a:10", outcome=REUSED, seconds=0.9, ran=0.5),
        make_step("RUN b", 3, layers="b:10", outcome=REUSED, seconds=0.1),
        make_step("RUN c", 5, layers="c:10", outcome=REUSED, seconds=0.9, ran=0.5, stage="app"),
    ]
    shown = render_summary(replace(RESULT, record=make_record(*steps, stages=STAGES)))
    assert [line.split()[5:] for line in shown.splitlines()[1:3]] == [
        ["-0.4", "s", "+", "?"],
        ["-0.4", "s"],
    ]
    unknown, lost = shown.splitlines()[3].split("; ")
    assert unknown == "saved ?: no record of a build that executed these steps"
    assert lost == "saved below 0: fetching took longer than running"
    totals = "0.8 s lost, since fetching took longer than running, unknown for 1 step"
    assert totals in shown.splitlines()[-2]
    assert "saved ?" not in render_summary(RESULT)
    assert "below 0" not in render_summary(RESULT)


@pytest.mark.parametrize(("seconds", "shown"), [(0.9, False), (1.0, True)])
def test_the_time_of_a_build_is_summarized(seconds: float, *, shown: bool) -> None:
    """The line before the totals says what the time was spent on, unless there was little."""
    parts = {"steps": 0.7 * seconds, "fetch": 0.3 * seconds}
    phases = tuple(RecordedPhase(name=name, seconds=each) for name, each in parts.items())
    line = render_summary(replace(RESULT, seconds=seconds, phases=phases)).splitlines()[-3]
    assert (line == "time: 0.7 s running steps, 0.3 s fetching reused layers") is shown
    assert line.startswith("time") is shown


def test_the_share_of_reused_steps_stands_out_in_color() -> None:
    """Only the share of reused steps is colored; a build without steps has none."""
    plain, colored = (render_summary(RESULT, colored=each) for each in (False, True))
    assert "\x1b" not in plain
    assert colored == plain.replace("(50 %)", "(\x1b[36m50 %\x1b[0m)")
    assert render_totals(replace(RESULT, steps=()), colored=True).startswith("0 steps: 0 reused, ")


def test_one_stage_needs_no_table() -> None:
    """The summary of a build with one stage has only the totals."""
    record = make_record(make_step("RUN x", 2, seconds=1.0), stages=STAGES[:1])
    result = replace(RESULT, record=record)
    assert render_summary(result) == render_totals(result)
