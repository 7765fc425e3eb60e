"""The race of the benchmarks: its history, what it reads from docker, and its conclusions."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.benchmarks.history import main
from tests.benchmarks.race.application import START, Application
from tests.benchmarks.race.commits import KINDS, QUICK, list_commits
from tests.benchmarks.race.entrants import APPLICATIONS, APPROACHES, OWN, RIVALS, list_raw
from tests.benchmarks.race.judgement import judge, render_targets
from tests.benchmarks.race.memory import measure_tree
from tests.benchmarks.race.page import render_page
from tests.benchmarks.race.results import Run, read_document, write_document
from tests.benchmarks.race.steps import Steps, read_classic, read_streams, scrape_images
from tests.benchmarks.race.table import render_seconds, render_sums, sum_histories

CLASSIC = """\
Sending build context to Docker daemon  3.072kB\r\r
Step 1/5 : FROM base AS deps
 ---> f56305100c4f
Step 2/5 : COPY deps /deps
 ---> Using cache
 ---> 94562dd4cb98
Step 3/5 : RUN cat /deps
 ---> Running in eab5f5587b31
 ---> Removed intermediate container eab5f5587b31
 ---> 4ae9c28a3c0d
Step 4/5 : FROM base
 ---> f56305100c4f
Step 5/5 : WORKDIR /srv
 ---> Running in d8f8665ecfb5
 ---> 1ebd9abe40d4
Successfully built 1ebd9abe40d4
"""
RUN = Run(
    application="python",
    round=0,
    commit=0,
    kind="first",
    approach="none",
    restore=1.0,
    build=2.0,
    save=3.0,
    brought=0,
    taken=0,
    kept=100,
    pushed=100,
    live=100,
    reused=1,
    executed=2,
    client=1,
    engine=1,
    status=0,
    load=0.0,
)


def message(name: str, digest: str = "1", **more: object) -> str:
    """Return a line of BuildKit's stream on a vertex that has ended."""
    times = {"started": "2026-01-01T00:00:00Z", "completed": "2026-01-01T00:00:01Z"}
    return json.dumps({"vertexes": [{"digest": digest, "name": name, **times, **more}]})


def test_a_history_has_the_commits_of_the_race() -> None:
    assert len(list_commits()) == len(KINDS) == len(set(KINDS)) == 14
    assert set(QUICK) < set(KINDS)


def test_an_unchanged_commit_and_a_merge_have_the_files_of_the_one_before() -> None:
    before, now = list_commits()[:2]
    assert replace(now, kind="") == replace(before, kind="")
    topic, merged = (each for each in list_commits() if each.kind in {"branch off", "merge back"})
    assert replace(merged, kind="", branch="") == replace(topic, kind="", branch="")


def test_only_the_failing_commit_fails() -> None:
    assert [each.kind for each in list_commits() if each.fails] == ["failing"]


def test_a_chosen_part_of_a_history_has_only_its_own_changes() -> None:
    first, *others = list_commits(("source", "failing"))
    assert [each.kind for each in others] == ["source", "failing"]
    assert replace(others[-1], kind="first", source=0, fails=False) == first


@pytest.mark.parametrize("application", APPLICATIONS.values(), ids=list(APPLICATIONS))
def test_every_edit_of_an_application_changes_what_it_names(application: Application) -> None:
    first = list_commits()[0]
    written = application.write(first)
    for change in ({"source": 1}, {"other": 1}, {"dependencies": 1}, {"fails": True}):
        edited = application.write(replace(first, **change))
        differing = {path for path in written if edited[path] != written[path]}
        assert differing
        assert "Dockerfile" not in differing
    for change in ({"tail": 1}, {"stage": True}):
        edited = application.write(replace(first, **change))
        assert {path for path in written if edited[path] != written[path]} == {"Dockerfile"}


@pytest.mark.parametrize("application", APPLICATIONS.values(), ids=list(APPLICATIONS))
def test_an_application_names_the_stages_of_its_dockerfile(application: Application) -> None:
    for commit in (list_commits()[0], list_commits()[-1]):
        text = application.write(commit)["Dockerfile"]
        assert tuple(re.findall(r"^FROM \S+ AS (\w+)", text, re.MULTILINE)) == (
            application.list_stages(commit)
        )
        assert {"test"} < set(application.list_stages(commit))
        assert set(re.findall(r"\{bases\}/(\S+):stable", text)) == set(application.bases)
        assert f"COPY {START} " in text


def test_steps_are_counted_as_buildkit_reports_them() -> None:
    stream = [
        "not a document",
        message("[internal] load build context", "0"),
        message("[deps 1/3] FROM base", "1"),
        message("[deps 2/3] COPY deps /deps", "2", cached=True),
        # Its layer is fetched after it was found.
        message("[deps 3/3] RUN one", "3", cached=True),
        message("[deps 3/3] RUN one", "3"),
        message("[2/3] RUN two", "4"),
        message("[stage-1 3/3] RUN three", "5", error="failed"),
    ]
    assert read_streams([stream]) == Steps(reused=2, executed=2)


def test_a_step_that_nothing_needed_and_is_executed_later_is_executed() -> None:
    skipped = message("[a 1/1] RUN x", cached=True, completed="2026-01-01T00:00:00Z")
    assert read_streams([[skipped]]) == Steps(1, 0)
    assert read_streams([[skipped, message("[a 1/1] RUN x")]]) == Steps(0, 1)


def test_a_step_of_several_builds_is_counted_once_and_executed_if_it_was_in_any() -> None:
    executed, found = message("[a 1/1] RUN x"), message("[a 1/1] RUN x", "2", cached=True)
    assert read_streams([[executed], [found]]) == Steps(0, 1)


def test_the_classic_builders_steps_are_counted_without_those_that_make_no_layer() -> None:
    assert read_classic(CLASSIC) == Steps(reused=1, executed=2)


def test_the_classic_builders_images_are_scraped_once_each() -> None:
    ids = ("f56305100c4f", "94562dd4cb98", "4ae9c28a3c0d", "1ebd9abe40d4")
    assert scrape_images(CLASSIC) == ids


def test_memory_is_that_of_a_process_and_its_children() -> None:
    assert measure_tree(1 << 30) == 0


def test_a_document_has_everything_that_was_measured(tmp_path: Path) -> None:
    path = tmp_path / "race.json"
    write_document(path, {"processors": 2}, [RUN])
    assert read_document(path) == ({"processors": 2}, [RUN])


def of(approach: str, kind: str, seconds: float, **more: object) -> Run:
    """Return a run that took this long."""
    times = {"restore": 0.0, "build": seconds, "save": 0.0}
    return replace(RUN, approach=approach, kind=kind, **times, **more)  # type: ignore[arg-type]


RACED = [
    of("none", "first", 10.0, live=100),
    of("none", "source", 10.0, live=100),
    of("save/load, final image", "first", 12.0),
    of("save/load, final image", "source", 5.0),
    of("buildx local, one directory", "first", 10.0),
    of("buildx local, one directory", "source", 10.0),
    of("buildx local, new directory", "first", 12.0),
    of("buildx local, new directory", "source", 12.0),
    of("bxcache local", "first", 10.0, kept=100),
    of("bxcache local", "source", 6.0, kept=110),
]


def test_histories_are_judged_against_the_best_plain_approach_with_the_same_backend() -> None:
    first = judge(RACED)[0]
    assert (first.figure, first.most, first.reached) == (0.8, 0.85, True)
    assert "buildx local, one directory" in first.text


def test_each_kind_of_commit_is_judged_against_other_ways() -> None:
    rival = judge(RACED)[1]
    assert (rival.figure, rival.reached, rival.detail) == (1.2, False, "behind at source")
    assert rival.verdict == "missed by 20.0%"


def test_what_is_kept_is_judged_against_a_fresh_export() -> None:
    kept = judge(RACED)[2]
    assert (kept.figure, kept.most, kept.detail) == (1.1, 1.02, "most at source")


def test_the_conclusion_counts_what_was_missed() -> None:
    assert render_targets(judge(RACED)).endswith("2 of 3 targets missed")


def test_the_sum_of_a_history_is_that_of_its_commits() -> None:
    again = [replace(run, round=1, build=1.0) for run in RACED]
    assert sum_histories([*RACED, *again], "bxcache local") == [16.0, 2.0]
    assert "16.000" in render_sums(RACED)


def test_the_table_has_a_row_for_each_approach_at_each_kind_of_commit() -> None:
    lines = render_seconds(RACED).splitlines()
    assert sum(line.startswith("  bxcache local ") for line in lines) == 2


def test_the_page_has_every_approach_in_each_table_and_every_target() -> None:
    machine = {"processors": 2, "memory": 2**34, "python": "3.11", "engine": "docker.io 28"}
    page = render_page(machine, RACED, latency=0.02)
    assert page.count("\n| bxcache local | ") == 4
    assert page.count("| missed by ") == 2
    assert "2 processors, 16 GB" in page
    assert "(history-python.svg)" in page


def test_every_backend_of_bxcache_but_two_at_once_has_a_plain_counterpart() -> None:
    assert {name for name in OWN if not list_raw(name)} == {"bxcache local and registry"}
    assert len(RIVALS) == 4
    assert len(APPROACHES) == 16


def test_an_unknown_approach_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--approaches", "nothing"])
    assert "invalid choice: 'nothing'" in capsys.readouterr().err
