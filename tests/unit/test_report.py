"""Tests of a report's figures, counted by hand from records written by hand."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from bxcache.buildx.stream.events import Outcome
from bxcache.console.history import render_history
from bxcache.console.report.plain import render_plain
from bxcache.console.report.rendering import render_report
from bxcache.console.report.sections import tabulate_trend
from bxcache.console.report.step_tables import tabulate_first, tabulate_slowest
from bxcache.console.summary import render_summary
from bxcache.errors import RecordError
from bxcache.insight.history import History, view_stages
from bxcache.insight.record import Record
from bxcache.insight.record_parts import (
    RecordedCache,
    RecordedPlace,
    RecordedScope,
    RecordedStep,
    RecordedTools,
    Verdict,
)
from bxcache.insight.report import Report
from bxcache.insight.reporting import make_report
from bxcache.pipeline.result import BuildResult
from tests.support.histories import STARTED, make_record, make_stages, make_step, read_recorded

SCHEMA = Path(__file__).parents[2] / "schemas" / "bxcache-report.schema.json"
REUSED, EXECUTED, FAILED = Outcome.REUSED, Outcome.EXECUTED, Outcome.FAILED
HEADS = make_stages(("one", 1, "debian"), ("two", 5, "one"), ("-lint", 9, "one"))
LAST = make_record(
    make_step("FROM debian", 1, layers="debian:500", seconds=4.0, began=0.0, stage="one"),
    make_step("RUN a", 2, layers="a:10", outcome=REUSED, seconds=0.5, began=4.0, stage="one"),
    make_step("RUN b", 3, layers="b:20", outcome=REUSED, stage="one"),
    make_step("RUN c", 6, layers="c:30 a:10", outcome=EXECUTED, seconds=2.0, stage="two"),
    make_step("RUN d", 7, layers="d:40", outcome=EXECUTED, seconds=3.0, stage="two"),
    stages=HEADS,
)
MINUTE = 60.0


def earlier(*steps: RecordedStep, minutes: int, **more: Any) -> Record:  # noqa: ANN401  # a record's fields
    """Make the record of a build some minutes before the last one."""
    return make_record(*steps, stages=HEADS, started=STARTED - minutes * MINUTE, **more)


def test_steps_are_counted_by_stage_and_in_total() -> None:
    """Base images are not steps, and unneeded stages have none."""
    report = make_report([LAST])
    seen = {s.name: (s.counts.reused, s.counts.executed, s.counts.failed) for s in report.stages}
    assert seen == {"one": (2, 0, 0), "two": (0, 2, 0), "lint": (0, 0, 0)}
    assert [stage.needed for stage in report.stages] == [True, True, False]
    counts = report.counts
    assert (counts.reused, counts.executed, counts.failed, counts.hit_ratio) == (2, 2, 0, 0.5)
    assert [stage.counts.hit_ratio for stage in report.stages] == [1.0, 0.0, None]


def test_seconds_spent_are_added_up() -> None:
    """Seconds spent include base images and transfers."""
    report = make_report([LAST])
    assert report.counts.spent == 4.0 + 0.5 + 2.0 + 3.0
    assert [stage.counts.spent for stage in report.stages] == [4.5, 5.0, 0.0]


def test_a_reused_step_saves_the_time_of_its_last_execution() -> None:
    """A reused step saves the time of its last execution, less the time to fetch it."""
    builds = [
        earlier(make_step("RUN a", 2, layers="a:10", outcome=REUSED, seconds=99.0), minutes=1),
        earlier(make_step("RUN a", 2, layers="a:10", seconds=7.0, stage="one"), minutes=2),
        earlier(make_step("RUN a", 2, layers="a:10", seconds=50.0, stage="one"), minutes=3),
    ]
    report = make_report([LAST, *builds])
    assert {step.text: step.saved for step in report.steps if step.outcome is REUSED} == {
        "RUN a": 6.5,
        "RUN b": None,
    }
    assert [(step.ran, step.fetched) for step in report.steps if step.text == "RUN a"] == [
        (7.0, 0.5)
    ]
    assert (report.counts.saved, report.counts.unknown) == (6.5, 1)
    assert (report.stages[0].counts.saved, report.stages[0].counts.unknown) == (6.5, 1)


def test_reuse_can_cost_time() -> None:
    """A step whose layers took longer to fetch than it took to run saved less than nothing."""
    ran = earlier(make_step("RUN a", 2, layers="a:10", seconds=0.2, stage="one"), minutes=1)
    report = make_report([LAST, ran])
    assert report.counts.saved == pytest.approx(0.2 - 0.5)
    assert (report.counts.fetched, report.counts.spent) == (0.5, 9.5)


@pytest.mark.parametrize(
    ("text", "stage", "layers", "expected"),
    [
        ("RUN other", "elsewhere", "b:20", 5.0),
        ("RUN b", "one", "new:20", 5.0),
        ("RUN b", "elsewhere", "new:20", None),
        ("RUN other", "one", "new:20", None),
    ],
    ids=["the same layers", "the same text", "text of another stage", "nothing alike"],
)
def test_a_step_is_recognized(text: str, stage: str, layers: str, expected: float | None) -> None:
    """A step is recognized by its layers, or by its stage and text."""
    before = earlier(make_step(text, 3, layers=layers, seconds=5.0, stage=stage), minutes=1)
    (step,) = [step for step in make_report([LAST, before]).steps if step.text == "RUN b"]
    assert step.saved == expected


def test_the_text_distinguishes_two_steps_with_one_layer() -> None:
    """`RUN cp` and the COPY of its result share a layer but not their time."""
    before = earlier(
        make_step("COPY x", 2, layers="b:20", seconds=1.0, stage="one"),
        make_step("RUN b", 3, layers="b:20", seconds=6.0, stage="one"),
        minutes=1,
    )
    (step,) = [step for step in make_report([LAST, before]).steps if step.text == "RUN b"]
    assert step.saved == 6.0


def test_an_executed_step_saves_nothing() -> None:
    """An executed step saves nothing, even if an earlier build has its time."""
    before = earlier(make_step("RUN c", 6, layers="c:30", seconds=9.0, stage="two"), minutes=1)
    report = make_report([LAST, before])
    assert [step.saved for step in report.steps if step.outcome is EXECUTED] == [None, None]
    assert report.counts.saved == 0.0


def test_builds_of_another_scope_give_times_but_no_trend() -> None:
    """A branch's first build uses the default branch's times, but not in its trend."""
    main = RecordedScope(name="image.linux-amd64.other", image="image")
    step = make_step("RUN a", 2, layers="a:10", seconds=7.0, stage="one")
    report = make_report([LAST, earlier(step, minutes=1, scope=main)])
    assert report.counts.saved == 6.5
    assert [build.started for build in report.trend] == [STARTED]


def test_a_layer_of_several_stages_counts_once() -> None:
    """A shared layer counts in its first stage, so the stages' sizes add up to the build's."""
    report = make_report([LAST])
    assert [(stage.bytes, stage.shared_bytes) for stage in report.stages] == [
        (500 + 10 + 20, 0),
        (30 + 40, 10),
        (0, 0),
    ]
    assert report.bytes == 500 + 10 + 20 + 30 + 40
    assert [layer.shared for layer in report.stages[1].layers] == [False, True, False]
    assert [layer.step for layer in report.stages[1].layers] == [3, 3, 4]


def test_the_slowest_steps_were_executed_or_failed() -> None:
    """The five slowest steps exclude base images, reused steps and steps without a duration."""
    steps = [make_step(f"RUN {n}", n + 2, seconds=float(n)) for n in range(8)]
    steps.append(make_step("RUN slow", 10, outcome=REUSED, seconds=100.0))
    steps.append(make_step("FROM a", 1, seconds=100.0))
    report = make_report([make_record(*steps)])
    assert [report.steps[at].text for at in report.slowest] == [f"RUN {n}" for n in (7, 6, 5, 4, 3)]
    assert make_report([make_record(make_step("RUN x", 2, seconds=0.01))]).slowest == ()


@pytest.mark.parametrize(
    ("outcomes", "named"),
    [
        # The steps of stages `a` and `b`: r reused, e executed, f failed.
        ("rr re", [("b", "Dockerfile:6")]),
        # `b` is executed only because it builds on `a`.
        ("re ee", [("a", "Dockerfile:3")]),
        ("rr ef", [("b", "Dockerfile:5")]),
        ("rr rf", []),
        ("rr rr", []),
        ("ee ee", []),
    ],
)
def test_the_first_executed_step_of_each_stage_is_named(
    outcomes: str, named: list[tuple[str, str]]
) -> None:
    """It is named in all three forms, where the build reused others."""
    kinds = {"r": REUSED, "e": EXECUTED, "f": FAILED}
    steps = [
        make_step(f"RUN {line}", line, stage=stage, outcome=kinds[kind], parent=parent)
        for stage, line, kind, parent in zip(
            "aabb", (2, 3, 5, 6), outcomes.replace(" ", ""), (None, 0, 1, 2), strict=True
        )
    ]
    stages = make_stages(("a", 1, "scratch"), ("b", 4, "a"))
    report = make_report([make_record(*steps, stages=stages)])
    assert [(row[0], row[-1]) for row in tabulate_first(report).rows] == named
    for text in (render_plain(report), *(render_report(report, f) for f in ("md", "html"))):
        assert ("irst executed steps" in text) is bool(named)
        assert all(line in text for _, line in named)


def test_the_trend_covers_the_last_ten_builds() -> None:
    """The trend lists ten builds, the oldest first; a failed one is marked and has no size."""
    step = make_step("RUN a", 2, layers="a:10", outcome=REUSED)
    broken = make_step("RUN a", 2, outcome=FAILED)
    builds = [earlier(step, minutes=n, seconds=float(n)) for n in range(1, 15)]
    builds[0] = earlier(broken, minutes=1, seconds=1.0, exit_status=1)
    trend = make_report([LAST, *builds]).trend
    assert [build.seconds for build in trend] == [
        9.0,
        8.0,
        7.0,
        6.0,
        5.0,
        4.0,
        3.0,
        2.0,
        1.0,
        12.34,
    ]
    assert [(b.exit_status, b.hit_ratio, b.bytes) for b in trend[-3:]] == [
        (0, 1.0, 10),
        (1, 0.0, None),
        (0, 0.5, 600),
    ]


@pytest.mark.parametrize(
    ("status", "fails", "end"),
    [(0, True, "gate failed"), (0, False, "built"), (1, True, "failed")],
)
def test_the_trend_shows_how_a_build_ended(status: int, fails: bool, end: str) -> None:  # noqa: FBT001
    """The trend marks a build that a gate failed, and not one with only a warning."""
    gates = (Verdict(gate="max_size", reason="too large", fails=fails),)
    before = earlier(make_step("RUN a", 2), minutes=1, exit_status=status, gates=gates)
    rows = tabulate_trend(make_report([LAST, before])).rows
    assert [row[1] for row in rows] == ["built", end]


def test_the_values_of_a_record_are_in_the_report() -> None:
    """The status, caches, tools, place and warnings are those of the record."""
    cache = RecordedCache(backend="local", place="/s", scope="x", bytes=7, exported=True)
    known: dict[str, Any] = {
        "exit_status": 1,
        "caches": (cache,),
        "tools": RecordedTools(docker="28"),
        "place": RecordedPlace(provider="github"),
        "warnings": ("careful",),
    }
    report = make_report([make_record(**known)])
    assert {name: getattr(report, name) for name in known} == known


def test_an_empty_build_has_a_report() -> None:
    """A build without steps has a report."""
    report = make_report([make_record()])
    assert (report.counts.hit_ratio, report.bytes, report.steps, report.stages) == (
        None,
        None,
        (),
        (),
    )


def test_a_report_can_cover_one_platform() -> None:
    """A report of one platform has its own and shared steps; an unknown platform is an error."""
    record = read_recorded("two-platforms")
    whole = make_report([record])
    one, other = (make_report([record], each) for each in ("linux/amd64", "linux/amd64/v2"))
    shared = sum(len(step.platforms) == 2 for step in whole.steps)
    assert 0 < shared < len(one.steps) < len(whole.steps)
    assert len(one.steps) + len(other.steps) == len(whole.steps) + shared
    assert all("linux/amd64" in step.platforms for step in one.steps)
    assert {at for stage in one.stages for at in stage.steps} == {*range(len(one.steps))}
    mixed = [
        make_step("RUN a", 2, outcome=REUSED, platforms=("linux/amd64",), layers="a:10"),
        make_step("RUN a", 2, outcome=EXECUTED, platforms=("linux/arm64",), layers="b:20"),
    ]
    for platform, ratio, size in (("linux/amd64", 1.0, 10), ("linux/arm64", 0.0, 20)):
        report = make_report([make_record(*mixed), earlier(*mixed, minutes=1)], platform)
        assert (report.counts.hit_ratio, report.bytes) == (ratio, size)
        assert [(each.hit_ratio, each.bytes) for each in report.trend] == [(ratio, size)] * 2
    with pytest.raises(RecordError, match="linux/s390x"):
        make_report([record], "linux/s390x")


@pytest.mark.parametrize(
    "name", ["cold", "failing-step", "two-platforms", "docker-26-cold", "docker-28-all-reused"]
)
def test_no_step_is_left_out(name: str) -> None:
    """Each recorded step belongs to a stage of the report, or to one without a name."""
    record = read_recorded(name)
    report = make_report([record])
    assert [step.text for step in report.steps] == [step.text for step in record.steps]
    assert {at for stage in report.stages for at in stage.steps} == {*range(len(record.steps))}


@pytest.mark.parametrize("name", ["cold", "failing-step", "two-platforms", "docker-26-cold"])
def test_the_stages_add_up_or_a_note_explains_the_difference(name: str) -> None:
    """Every form explains that a shared step counts in each of its stages."""
    record = read_recorded(name)
    report = make_report([record])
    having = Counter(at for stage in report.stages for at in stage.steps)
    shared = [at for at, count in having.items() if count > 1 and report.steps[at].outcome]
    summed = sum(stage.counts.executed + stage.counts.reused for stage in report.stages)
    more = sum(having[at] - 1 for at in shared)
    assert summed - more == report.counts.executed + report.counts.reused
    # `COPY --from=build /out /out` is in two stages of the recorded Dockerfile, counted by hand.
    platforms = {"cold": 1, "two-platforms": 2}.get(name, 0)
    assert report.shared_steps == len(shared) == platforms
    history = History("scope", "source", record=record, stages=view_stages(record))
    forms = [render_plain(report), render_report(report, "md"), render_report(report, "html")]
    forms.append(render_history(history, history.stages, chain=False, full=True, places=False))
    for text in forms:
        assert ("shared by several stages and counted in each" in text) is bool(platforms)


def test_a_pushed_image_is_named_at_the_top() -> None:
    """Every form and the summary say on one line what was pushed, and nothing if nothing was."""
    pushed = {"pushed": ("r.io/a:1", "r.io/a:\x1b[2J2"), "image_digest": f"sha256:{'ab' * 32}"}
    record = LAST.model_copy(update=pushed)
    report, line = make_report([record]), "pushed r.io/a:1, r.io/a:2 sha256:abababababab"
    assert render_plain(report).splitlines()[2] == line
    assert render_report(report, "md").split("\n\n")[2] == (
        "pushed `r.io/a:1`, `r.io/a:2` `sha256:abababababab`"
    )
    assert f"<p>{line}</p>" in render_report(report, "html").partition("</header>")[0]
    result = BuildResult(0, None, (), (), (), (), 1.0, record=record)
    assert line in render_summary(result).splitlines()
    for form in (render_plain, lambda each: render_report(each, "md")):
        assert "pushed" not in form(make_report([LAST]))


def test_each_step_names_its_platforms() -> None:
    """The platform distinguishes failed and slowest steps with the same text."""
    steps = [
        make_step("RUN a", outcome=outcome, seconds=1.0, stage="deps", platforms=(platform,))
        for platform, outcome in (("linux/amd64", EXECUTED), ("linux/arm64", FAILED))
    ]
    report = make_report([make_record(*steps, exit_status=1)])
    places = [row[1] for row in tabulate_slowest(report).rows]
    assert places == ["deps (linux/amd64)", "deps (linux/arm64)"]
    assert "failed in deps (linux/arm64): RUN a\n" in render_plain(report)
    head = "failed after 1.0 s in <code>deps (linux/arm64)</code>: <code>RUN a</code>"
    assert head in render_report(report, "md")
    _, failed, rest = render_report(report, "html").partition("What failed")
    assert failed
    assert "after 1.0 s in stage deps (linux/arm64)" in rest.partition("</section>")[0]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("docker-26-failing-step", ["base", "stage-1"]),
        ("failing-step", ["base", "deps", "build", "test"]),
    ],
)
def test_stages_without_a_known_order_are_in_order_of_time(name: str, expected: list[str]) -> None:
    """Without a Dockerfile, the stages of a failed build are in order of time."""
    assert [stage.name for stage in make_report([read_recorded(name)]).stages] == expected


def test_stages_of_an_older_record_are_in_order_of_their_start() -> None:
    """Stages are ordered by their first instructions, unknown ones last."""
    steps = [
        make_step("FROM a", stage="late", began=0.0),
        make_step("RUN x", stage="unknown"),
        make_step("RUN b", stage="late", began=3.0),
        make_step("RUN c", stage="early", began=4.0),
        make_step("RUN d", stage="early", began=1.0),
    ]
    report = make_report([make_record(*steps, exit_status=1)])
    assert [stage.name for stage in report.stages] == ["early", "late", "unknown"]


def test_a_step_of_an_unknown_stage_comes_last() -> None:
    """A step of an unknown stage, as of another node, comes last."""
    report = make_report([make_record(make_step("RUN x"), stages=HEADS)])
    assert [(stage.name, stage.steps) for stage in report.stages][-1] == ("", (0,))


@pytest.mark.parametrize("name", ["cold", "failing-step", "two-platforms"])
def test_a_report_matches_the_schema(name: str) -> None:
    """A report matches the schema and reads back unchanged."""
    report = make_report([read_recorded(name)])
    document = json.loads(report.model_dump_json())
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(document)
    assert Report.model_validate_json(report.model_dump_json()) == report
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema).validate({**document, "seconds": -1})
