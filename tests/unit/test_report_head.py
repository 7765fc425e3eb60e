"""Tests of a report's head: what was built, and what changed in time since an earlier build."""

from __future__ import annotations

import re
from typing import Any

import pytest

from bxcache.buildx.stream.events import Outcome
from bxcache.console.report.head import summarize_compared
from bxcache.console.report.plain import render_plain
from bxcache.console.report.rendering import render_report
from bxcache.console.report.step_tables import tabulate_largest
from bxcache.insight.record import Record
from bxcache.insight.record_parts import (
    RecordedPhase,
    RecordedPlace,
    RecordedScope,
    RecordedStep,
)
from bxcache.insight.report import Report
from bxcache.insight.reporting import make_report
from tests.support.histories import STARTED, make_record, make_stages, make_step

REUSED, EXECUTED, FAILED = Outcome.REUSED, Outcome.EXECUTED, Outcome.FAILED
SHA, OTHER = "9f2c1e5b7a6d4c3b2a190817161514131211100f", "3f2a1bc" + "0" * 33
HOUR = 3600.0
URL = "https://ci.example/team/app/-/jobs/7"
MAIN = RecordedScope(name="image.linux-amd64.main", image="image", branch="main")
TOPIC = RecordedScope(name="image.linux-amd64.topic", image="image", branch="topic")


def steps(*outcomes: Outcome) -> tuple[RecordedStep, ...]:
    """Make a base image and steps with these outcomes."""
    texts = ("RUN apt", "COPY shop /src", "RUN make", "RUN test")
    made = (
        make_step(text, at, stage="build", outcome=outcome)
        for at, (text, outcome) in enumerate(zip(texts, outcomes, strict=False), 2)
    )
    return (make_step("FROM debian", 1, stage="build"), *made)


def build(
    *made: RecordedStep,
    hours: float = 0,
    phases: dict[str, float] | None = None,
    **more: Any,  # noqa: ANN401  # a record's fields
) -> Record:
    """Make the record of a build some hours before the last one, with the sum of its phases."""
    spent, commit = phases or {}, OTHER if hours else SHA
    known: dict[str, Any] = {
        "scope": MAIN,
        "started": STARTED - hours * HOUR,
        "place": RecordedPlace(provider="gitlab", branch="main", commit=commit),
        "phases": tuple(RecordedPhase(name=name, seconds=each) for name, each in spent.items()),
        "seconds": round(sum(spent.values()), 3),
    }
    return make_record(*made, **(known | more))


TOTALS = "12.3 s slower than main@3f2a1bc (2 h before)"
NOW = build(
    *steps(REUSED, EXECUTED, EXECUTED, EXECUTED),
    phases={"steps": 10.5, "fetch": 3.1, "save": 2.0, "start": 0.4},
)
BEFORE = build(
    *steps(REUSED, REUSED, REUSED, REUSED),
    hours=2,
    phases={"steps": 0.7, "fetch": 1.0, "save": 1.6, "start": 0.4},
)


def test_the_difference_is_that_of_the_two_records() -> None:
    """Seconds, phases and steps are subtracted; the largest difference comes first."""
    found = make_report([NOW, BEFORE]).compared
    assert found is not None
    # By hand: 16.0 s after 3.7 s.
    assert (found.started, found.seconds, found.slower) == (STARTED - 2 * HOUR, 3.7, 12.3)
    assert (found.scope, found.branch, found.commit) == (MAIN.name, "main", OTHER)
    differences = [(each.name, each.slower) for each in found.phases]
    assert differences == [("steps", 9.8), ("fetch", 2.1), ("save", 0.4)]
    assert found.more_executed == 3
    assert found.first_executed is not None
    assert NOW.steps[found.first_executed].text == "COPY shop /src"


def test_one_line_tells_what_changed() -> None:
    """The line has the whole difference, the earlier build, and the largest causes."""
    assert summarize_compared(make_report([NOW, BEFORE])) == (
        "12.3 s slower than main@3f2a1bc (2 h before): 9.8 s more running steps "
        "(3 more executed, first COPY shop /src), 2.1 s more fetching reused layers"
    )


@pytest.mark.parametrize(
    ("now", "before", "line"),
    [
        (
            BEFORE,
            NOW,
            (
                "12.3 s faster than main@9f2c1e5 (2 h before): "
                "9.8 s less running steps (3 fewer executed), 2.1 s less fetching reused layers"
            ),
        ),
        # Old records have no phases.
        (NOW, BEFORE.model_copy(update={"phases": ()}), TOTALS),
        (NOW.model_copy(update={"phases": ()}), BEFORE, TOTALS),
        (NOW, NOW, "as fast as main@9f2c1e5 (2 h before)"),
        (
            build(*steps(REUSED, EXECUTED), phases={"steps": 3.0}),
            build(*steps(EXECUTED, REUSED), phases={"steps": 1.0}),
            (
                "2.0 s slower than main@9f2c1e5 (2 h before): 2.0 s more running steps "
                "(no longer reused: COPY shop /src)"
            ),
        ),
        # The steps took the same time, and a difference of 4 of 44 is not a large one.
        (
            build(*steps(EXECUTED), phases={"steps": 1.0, "push": 44.0, "save": 4.0}),
            build(*steps(REUSED), phases={"steps": 1.0, "push": 4.0}),
            (
                "44.0 s slower than main@9f2c1e5 (2 h before): 40.0 s more pushing the image, "
                "steps: 1 more executed, first RUN apt"
            ),
        ),
        # A phase of a later version.
        (
            build(phases={"dream": 1.0}),
            build(phases={"steps": 1.0}),
            "as fast as main@9f2c1e5 (2 h before): 1.0 s more dream, 1.0 s less running steps",
        ),
    ],
)
def test_the_line_has_only_what_the_records_have(now: Record, before: Record, line: str) -> None:
    """Less, fewer, equal and unknown have their words; small differences are left out."""
    before = before.model_copy(update={"started": STARTED - 2 * HOUR})
    now = now.model_copy(update={"started": STARTED})
    assert summarize_compared(make_report([now, before])) == line


@pytest.mark.parametrize(
    ("place", "scope", "name"),
    [
        ({"branch": "main"}, MAIN, "main (2 h before)"),
        ({"tag": "v1", "commit": OTHER}, MAIN, "v1@3f2a1bc (2 h before)"),
        ({}, MAIN, "main (2 h before)"),
        ({}, RecordedScope(name=MAIN.name, image="image"), "the build 2 h before"),
    ],
)
def test_the_earlier_build_has_the_name_that_is_known(
    place: dict[str, str], scope: RecordedScope, name: str
) -> None:
    """Without a commit, a build is named by its branch or tag; without either, by its age."""
    before = BEFORE.model_copy(update={"place": RecordedPlace(**place), "scope": scope})
    line = summarize_compared(make_report([NOW, before]))
    assert line is not None
    assert line.partition(":")[0] == f"12.3 s slower than {name}"


def test_the_last_build_that_succeeded_is_compared() -> None:
    """A build of the scope comes before others, and a failed build counts nowhere."""
    failed = build(*steps(FAILED), hours=0.5, exit_status=1)
    other = build(*steps(REUSED), hours=1, scope=TOPIC)
    own, oldest = (build(*steps(REUSED), hours=hours) for hours in (3, 4))

    def find(*records: Record) -> float | None:
        found = make_report(records).compared
        return None if found is None else (STARTED - found.started) / HOUR

    assert find(NOW, failed, other, own, oldest) == 3
    assert find(NOW, failed, other) == 1
    assert find(NOW, failed) is None
    assert find(NOW) is None
    assert find(failed, other, own) is None
    assert summarize_compared(make_report([NOW])) is None


def test_a_report_of_one_platform_compares_its_steps() -> None:
    """With a platform, only its steps are compared."""
    one, two = (
        make_step("RUN a", 2, stage="build", platforms=(each,)) for each in ("linux/a", "linux/b")
    )
    reused = two.model_copy(update={"outcome": REUSED})
    records = [build(one, two), build(one, reused, hours=1)]
    found = {each: make_report(records, each).compared for each in ("linux/a", "linux/b")}
    seen = {name: (c.more_executed, c.first_executed) for name, c in found.items() if c}
    assert seen == {"linux/a": (0, None), "linux/b": (1, 0)}


def test_two_equal_steps_are_no_cause() -> None:
    """If one of two equal steps was executed before, it is unknown which, and none is named."""
    one = make_step("RUN a", 2, stage="build")
    reused = one.model_copy(update={"outcome": REUSED})
    found = make_report([build(one, one), build(one, reused, hours=1)]).compared
    assert found is not None
    assert (found.more_executed, found.first_executed) == (1, None)


@pytest.fixture
def report() -> Report:
    """Make the report of a merge request's build."""
    place = RecordedPlace(
        provider="gitlab",
        branch="topic",
        pull_request="44",
        project="team/app",
        commit=SHA,
        job_url=URL,
    )
    return make_report([NOW.model_copy(update={"place": place}), BEFORE])


def test_every_form_begins_with_what_was_built(report: Report) -> None:
    """Project, commit, branch, pull request, job and comparison are before the first table."""
    line = summarize_compared(report)
    assert line is not None
    plain = render_plain(report).partition("\n\n")[0].splitlines()
    assert plain[2:] == [
        "project team/app, commit 9f2c1e5, branch topic, pull request 44",
        f"CI job: {URL}",
        line,
    ]
    marked = render_report(report, "md").split("\n\n")
    assert marked[2] == (
        "project `team/app`, commit `9f2c1e5`, branch `topic`, pull request `44`, "
        f"[CI job](<{URL}>)"
    )
    assert marked[3].replace("`", "") == line
    head = re.findall(r"<header>.*</header>", render_report(report, "html"), re.DOTALL)[0]
    pairs = re.findall(r"<dt>([^<]+)</dt><dd>(.*?)</dd>", head)[:5]
    assert pairs == [
        ("Project", "team/app"),
        ("Commit", "9f2c1e5"),
        ("Branch", "topic"),
        ("Pull request", "44"),
        ("CI job", f'<a href="{URL}" rel="noreferrer">gitlab</a>'),
    ]
    assert f"<p>{line}</p>" in head
    assert report.to_dict()["place"]["job_url"] == URL
    assert report.to_dict()["compared"]["slower"] == 12.3


def test_a_report_shows_nothing_that_is_unknown() -> None:
    """Without a place and an earlier build, the head has no line about them."""
    report = make_report([make_record(*steps(REUSED))])
    assert len(render_plain(report).partition("\n\n")[0].splitlines()) == 2
    assert render_report(report, "md").split("\n\n")[2] == "**Stages**"
    assert 'class="origin"' not in render_report(report, "html")


STAGES = make_stages(("base", 1, "debian"), ("app", 6, "base"))
LAYERS = (
    make_step("FROM debian", 1, layers="debian:500", stage="base"),
    make_step("RUN a", 2, layers="a:10 b:40", stage="base"),
    make_step("RUN c", 7, layers="c:300 a:10", stage="app"),
    make_step("RUN d", 8, layers="d:100", stage="app", platforms=("linux/arm64",)),
    make_step("RUN e", 9, layers="e:50", stage="app"),
)


def test_the_five_largest_layers_are_listed() -> None:
    """Each has its step, stage, size and share of all layers; a shared one counts once."""
    report = make_report([make_record(*LAYERS, stages=STAGES)])
    # By hand: 500 + 10 + 40 + 300 + 100 + 50 = 1000.
    assert [tuple(row) for row in tabulate_largest(report).rows] == [
        ("FROM debian", "base", "500 B", "50 %"),
        ("RUN c", "app", "300 B", "30 %"),
        ("RUN d", "app (linux/arm64)", "100 B", "10 %"),
        ("RUN e", "app", "50 B", "5 %"),
        ("RUN a", "base", "40 B", "4 %"),
    ]
    assert "\nlargest layers\n" in render_plain(report)
    assert "**Largest layers**" in render_report(report, "md")
    assert "<h2>Largest layers</h2>" in render_report(report, "html")


@pytest.mark.parametrize("layers", ["", "a:10", "a:0 b:0"])
def test_a_single_layer_needs_no_table(layers: str) -> None:
    """One layer, none, and layers of unknown sizes have no table."""
    report = make_report([make_record(make_step("RUN a", 2, layers=layers, stage="base"))])
    text = render_plain(report) + render_report(report, "md") + render_report(report, "html")
    assert "argest layers" not in text


def test_a_failed_step_shows_its_line() -> None:
    """Every form names the line of the Dockerfile; a step of two stages has two."""
    made = (
        make_step("RUN a", 14, stage="base", outcome=FAILED, seconds=1.0),
        make_step("RUN b", 3, 9, stage="app", outcome=FAILED, seconds=1.0),
    )
    report = make_report([make_record(*made, exit_status=1)])
    plain, marked, page = render_plain(report), *(render_report(report, f) for f in ("md", "html"))
    assert "\nfailed in base, Dockerfile:14: RUN a\n" in plain
    assert "\nfailed in app, Dockerfile:3, 9: RUN b\n" in plain
    assert "in <code>base</code>, Dockerfile:14: <code>RUN a</code>" in marked
    assert "after 1.0 s in stage base, Dockerfile:14</p>" in page
    assert [step["lines"] for step in report.to_dict()["steps"]] == [[14], [3, 9]]
