"""The race of the benchmarks with an application so small that a test can run it."""

from __future__ import annotations

import pytest

from tests.benchmarks.race.app_compiled import SMALL
from tests.benchmarks.race.application import START, Application
from tests.benchmarks.race.approaches import RawLocal, SavedFinal, ScrapedImages
from tests.benchmarks.race.commits import Commit, list_commits
from tests.benchmarks.race.own import OwnRegistry
from tests.benchmarks.race.runner import History, open_track

DOCKERFILE = f"""\
FROM {{bases}}/{SMALL}:stable AS test
COPY source /source
RUN test "$(cat /source)" != 3 && cp /source /tested
FROM {{bases}}/{SMALL}:stable
COPY --from=test /tested /tested
COPY {START} /bin/{START}
"""
STEPS = 4


def write(commit: Commit) -> dict[str, str]:
    """Return the files of the application, whose third edit fails."""
    return {"Dockerfile": DOCKERFILE, "source": str(commit.source), START: "#!/bin/sh\n"}


APPROACHES = (RawLocal(), SavedFinal(), ScrapedImages(), OwnRegistry())
TINY = Application("tiny", "a test", ("test",), "", (SMALL,), write)


@pytest.mark.usefixtures("registry")
def test_each_approach_carries_its_cache_from_one_machine_to_the_next() -> None:
    commits = list_commits(("unchanged", "failing"))
    with open_track(latency=0.0) as track:
        runs = list(History(track, TINY, 0, commits, APPROACHES).run())
    reused = {(run.approach, run.kind): run.reused for run in runs}
    assert [bool(run.status) for run in runs] == [run.kind == "failing" for run in runs]
    assert all(run.kept for run in runs)
    for approach in APPROACHES:
        assert reused[approach.name, "first"] == 0
        assert reused[approach.name, "unchanged"] == STEPS
    assert all(run.brought for run in runs if run.kind == "unchanged")
