"""Tests of a CI job's log: docker's output is in one section, and the rest is outside."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from bxcache.buildx.stream.events import (
    Event,
    Noted,
    Outcome,
    Said,
    StepFinished,
    StepLogged,
    StepStarted,
    Warned,
)
from bxcache.buildx.stream.names import StepName
from bxcache.cli.job_log import find_job_log
from bxcache.cli.main import run
from bxcache.console.job_log import JobLog
from bxcache.errors import BuildFailedError
from bxcache.pipeline.result import BuildResult, ImageOutcome, Outcomes, Step
from tests.support.job_logs import FOLDING, HOSTILE, READERS, Shown, list_others, read_plainly
from tests.unit.places.recordings import PROVIDERS, read_recording

STEP = StepName(None, "build", 2, 3, "RUN make")
ERROR = "exit code: 2"
POSITION = ("Dockerfile:3", "-" * 20, "  3 | >>> RUN make", "-" * 20, f"ERROR: failed: {ERROR}")
BEGINNINGS = {
    "github": r"::group::docker buildx build\n::stop-commands::[0-9a-f]{32}\n",
    "gitlab": r"\x1b\[0Ksection_start:\d{10}:bxcache_[0-9a-f]{32}\[collapsed=true\]\r\x1b\[0K"
    r"docker buildx build\n",
    "azure": r"##\[group\]docker buildx build\n",
    "buildkite": r"--- docker buildx build\n",
    "travis": r"travis_fold:start:bxcache_[0-9a-f]{32}\r\x1b\[0Kdocker buildx build\n",
}


def list_events(log: tuple[str, ...]) -> list[Event]:
    """List the events of a failing build, with the log of the failed step."""
    return [
        Noted("a note"),
        StepStarted(STEP),
        *(StepLogged(STEP, line) for line in log),
        Warned("careful"),
        StepFinished(STEP, Outcome.FAILED, 1.2, ERROR),
        *(Said(line) for line in POSITION),
    ]


FAILED = BuildResult(
    exit_status=2,
    digest=None,
    tags=(),
    steps=(Step("build", "RUN make", None, Outcome.FAILED, 1.2, error=ERROR),),
    caches=(),
    warnings=("careful",),
    seconds=1.3,
)

Build = Callable[..., Shown]


@pytest.fixture
def job(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Build:
    """Run a command as a job of a provider, with a library that emits certain events."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bxcache.toml").write_text("[images.api]\n[images.worker]\n")
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)

    def run_job(provider: str, *words: str, events: list[Event], status: int = 2) -> Shown:
        for name, value in read_recording(provider).write(tmp_path).items():
            monkeypatch.setenv(name, value)
        failed = BuildFailedError("failed", exit_status=2, result=FAILED)
        outcome = {"api": ImageOutcome("api", FAILED, failed), "worker": ImageOutcome("worker")}

        def build(_: object, observe: Any) -> BuildResult:  # noqa: ANN401
            for event in events:
                observe(event)
            if status:
                raise failed
            return replace(FAILED, exit_status=0, steps=())

        def build_all(_: object, *rest: Any, **__: object) -> Outcomes:  # noqa: ANN401
            for name in ("api", "worker"):
                for event in events if name == "api" else [Noted("mine")]:
                    rest[-1](name, event)
            return Outcomes(outcome)

        monkeypatch.setattr("bxcache.cli.actions.build.run_build", build)
        monkeypatch.setattr("bxcache.cli.actions.several.build_batch", build_all)
        monkeypatch.setattr("bxcache.cli.actions.bake.bake_targets", build_all)
        capsys.readouterr()
        assert run(words) == status
        shown = READERS.get(provider, read_plainly)(capsys.readouterr().err)
        shown.folded, shown.open = list_others(shown.folded), list_others(shown.open)
        return shown

    return run_job


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_job_is_recognized_by_the_variables_of_its_provider(
    provider: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The job of an unknown provider is recognized by `CI`, and outside CI there is no job."""
    assert find_job_log() is None
    monkeypatch.setenv("CI", "true")
    unknown = find_job_log()
    assert unknown is not None
    assert (unknown.provider, unknown.folds) == (None, False)
    for name, value in read_recording(provider).write(tmp_path).items():
        monkeypatch.setenv(name, value)
    log = find_job_log()
    assert log is not None
    assert (log.provider, log.folds) == (provider, provider in FOLDING)


@pytest.mark.parametrize("provider", FOLDING)
def test_a_section_begins_in_the_format_of_its_provider(provider: str) -> None:
    """The section has its title, and a token that no step can guess."""
    begun = [
        [*log.mark("begin", "docker buildx build"), *log.mark("stop")]
        for log in [JobLog(provider)] * 2
    ]
    assert begun[0] == begun[1]
    assert re.fullmatch(BEGINNINGS[provider], "".join(f"{line}\n" for line in begun[0]))
    other = JobLog(provider)
    named = "[0-9a-f]" in BEGINNINGS[provider]
    assert ([*other.mark("begin", "docker buildx build"), *other.mark("stop")] != begun[0]) is named


@pytest.mark.parametrize("provider", PROVIDERS)
def test_the_reason_for_a_failure_comes_last_and_is_not_folded(job: Build, provider: str) -> None:
    """The output of steps is folded; warnings, the summary, docker's error and the step's log
    follow, and docker's error is printed once.
    """
    printed = tuple(f"line {number}" for number in range(3000))
    shown = job(provider, "build", events=list_events(printed))
    if provider in FOLDING:
        assert shown.folded[0].endswith("RUN make")
        assert len(shown.folded) == 1 + 3000 + 1 + 1
        assert shown.open[:2] == ["note: a note", "warning: careful"]
        assert shown.open[2].startswith("1 step: 0 reused (0 %), 0 executed, 1 failed, in ")
        assert shown.open[3].startswith("nothing saved")
        assert len(shown.open) == 4 + len(POSITION) + 1 + 3000
    assert shown.open[-3000:] == list(printed)
    assert shown.open[-3001] == "log of [build 2/3] RUN make:"
    assert shown.open[-3001 - len(POSITION) : -3001] == list(POSITION)


@pytest.mark.parametrize("provider", FOLDING)
def test_an_error_before_any_step_is_printed_once(job: Build, provider: str) -> None:
    """Docker's excerpt of a Dockerfile that it cannot read is not folded, but what it said before
    is in both places, since it may be the reason.
    """
    shown = job(provider, "build", events=[*map(Said, ("a hint", *POSITION))])
    assert shown.folded == ["a hint"]
    assert shown.open[-len(POSITION) - 1 :] == ["a hint", *POSITION]


@pytest.mark.parametrize("provider", FOLDING)
def test_a_successful_build_prints_only_its_summary_outside(job: Build, provider: str) -> None:
    """Only the first notes, warnings and the summary, even if the first run failed."""
    events = [
        *list_events(("a",)),
        Noted("a later note"),
        StepStarted(STEP),
        StepFinished(STEP, Outcome.EXECUTED, 1.0),
    ]
    shown = job(provider, "build", events=events, status=0)
    assert [line.partition(":")[0] for line in shown.open] == [
        "note",
        "warning",
        "0 steps",
        "nothing saved",
    ]


@pytest.mark.parametrize("words", [("build", "--all"), ("bake",)])
@pytest.mark.parametrize("provider", PROVIDERS)
def test_several_images_have_one_section(job: Build, provider: str, words: tuple[str, ...]) -> None:
    """All images share a section, and a failed step's log has its image in the title."""
    shown = job(provider, *words, events=list_events(("a", "b")))
    if provider in FOLDING:
        assert {line.partition(" ")[0] for line in shown.folded} == {"api", "worker"}
        notes = [" ".join(line.split()) for line in shown.open[:2]]
        assert notes == ["api | note: a note", "api: warning: careful"]
        said = [line for line in (*shown.folded, *shown.open) if "failed: " in line]
        assert said == [f"api | {POSITION[-1]}"]
    assert shown.open[-3:] == ["log of api | [build 2/3] RUN make:", "a", "b"]


@pytest.mark.parametrize("provider", sorted(READERS))
@pytest.mark.parametrize("words", [("build",), ("build", "-q"), ("build", "--all")])
def test_no_line_of_a_build_is_a_command(job: Build, provider: str, words: tuple[str, ...]) -> None:
    """A step's output, its name and docker's output are never read as commands."""
    step = replace(STEP, text="RUN echo '##vso[a.b]' ##[error] ##teamcity[x]")
    lines: list[Event] = [StepStarted(step)]
    for line in HOSTILE:
        lines += [StepLogged(step, line), Said(line), Warned(line)]
    lines = [*map(Noted, HOSTILE), *lines]
    lines += [StepFinished(step, Outcome.FAILED, 1.0, ERROR), *map(Said, HOSTILE)]
    shown = job(provider, *words, events=lines)
    own = (
        r"::(end)?group::|::error |##\[(end)?group\]|##vso\[task\.logissue |(---|\+\+\+) (docker|b)"
    )
    own += r"|\x1b\[0Ksection_(start|end):\d+:bxcache_|travis_fold:(start|end):bxcache_"
    assert [line for line in shown.obeyed if not re.match(own, line)] == []
    folds = 2 if provider in FOLDING and "-q" not in words else 0
    notes = 1 if provider in ("github", "azure") else 0
    assert len(shown.obeyed) == folds + notes


PARTS = st.lists(
    st.one_of(
        st.sampled_from([*HOSTILE, "#", "##", ":", "::", "[", "vso[", "-", "---", " ", "\x1b[0m"]),
        st.text(max_size=3),
    ),
    max_size=6,
).map("".join)


@given(st.sampled_from(sorted(READERS)), PARTS)
def test_any_line_is_only_shown(provider: str, text: str) -> None:
    """The provider reads any line as one line of plain text."""
    line = text.replace("\n", "")
    defused = JobLog(provider).defuse(line)
    shown = READERS[provider](defused)
    assert shown.obeyed == []
    assert len(shown.open) == 1


@pytest.mark.parametrize("provider", sorted(READERS))
def test_a_usual_line_is_printed_unchanged(provider: str) -> None:
    """Colours and tabs stay in a line if they hide nothing."""
    for line in ("+ make -j4", "a :: b", "\x1b[32mok\x1b[0m\t1", "# comment [x]", "--flag", ""):
        assert JobLog(provider).defuse(line) == line


def test_outside_ci_the_failure_comes_last_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Outside CI, lines are printed unchanged, and only the end of the failed step's log again."""
    log = [f"line {number}" for number in range(30)]

    def build(_: object, observe: Any) -> BuildResult:  # noqa: ANN401
        for event in list_events(("a", "::error::b", *log)):
            observe(event)
        raise BuildFailedError("failed", exit_status=2, result=FAILED)

    monkeypatch.setattr("bxcache.cli.actions.build.run_build", build)
    assert run(["build", "--progress", "plain"]) == 2
    err = capsys.readouterr().err.splitlines()
    assert err[:2] == ["note: a note", "started           [build 2/3] RUN make"]
    assert err[3] == "                  [build 2/3] ::error::b"
    assert err[-len(POSITION) - 22 : -21] == [*POSITION, ""]
    assert err[-21:] == ["end of the log of [build 2/3] RUN make:", *log[-20:]]
    assert not sys.stderr.isatty()
