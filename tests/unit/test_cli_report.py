"""Tests of `bxcache report` and `--report`: requests, files, output and exit status."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from bxcache.buildx.stream.events import Outcome
from bxcache.cli.main import run
from bxcache.console.report.rendering import render_report
from bxcache.errors import BuildFailedError, CacheError, RecordError
from bxcache.insight.history_request import HistoryRequest
from bxcache.insight.reporting import make_report
from bxcache.pipeline.request import BuildRequest
from bxcache.pipeline.result import BuildResult
from tests.support.histories import SCOPE, STARTED, make_record, make_step

BEFORE = make_record(make_step("RUN a", 2, layers="a:10", seconds=7.0), started=STARTED - 60)
RECORD = make_record(make_step("RUN a", 2, layers="a:10", outcome=Outcome.REUSED))
REPORT = make_report([RECORD, BEFORE])
RESULT = BuildResult(0, None, (), (), (), (), 1.0, record=RECORD, earlier=(BEFORE,))
FORMS = ("json", "md", "html")


class Library:
    """A stand-in for the library that records requests and returns the chosen outcome."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.outcome: BuildResult | Exception = RESULT

    def find(self, request: HistoryRequest) -> object:
        self.asked.append(request)
        if request.name == "unknown":
            raise RecordError("no build of `unknown` is known")
        return REPORT

    def build(self, request: BuildRequest, _: object = None) -> BuildResult:
        self.asked.append(request)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Library:
    """Provide one known build, and builds with the same result."""
    stand_in = Library()
    monkeypatch.setattr("bxcache.cli.actions.history.find_report", stand_in.find)
    monkeypatch.setattr("bxcache.cli.actions.build.run_build", stand_in.build)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    monkeypatch.chdir(tmp_path)
    return stand_in


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], {}),
        (["api~1"], {"name": "api~1"}),
        (["--from", "r.example.com/app"], {"source": "r.example.com/app"}),
        (["--target", "test", "--branch", "x"], {"target": "test", "branch": "x"}),
        (["--platform", "linux/arm64"], {"platform": "linux/arm64"}),
        (["--config", "x.toml"], {"config_file": Path("x.toml")}),
    ],
)
def test_options_become_a_request(
    library: Library, words: Sequence[str], expected: dict[str, Any]
) -> None:
    """The request is that of `bxcache history`, and options that are not given are not set."""
    assert run(["report", *words]) == 0
    assert library.asked == [HistoryRequest(**expected)]


def test_a_report_is_printed(library: Library, capsys: pytest.CaptureFixture[str]) -> None:
    """A report is printed as lines for a person, or as a JSON document."""
    assert run(["report"]) == 0
    assert capsys.readouterr().out.startswith(f"{SCOPE}: built in 12.3 s, 2023-11-14 22:13 UTC\n")
    assert run(["report", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["counts"]["saved"] == 7.0
    assert len(library.asked) == 2


@pytest.mark.usefixtures("library")
def test_the_suffix_of_a_file_decides_its_form(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Several files can be written at once, and then nothing is printed."""
    words = [word for form in FORMS for word in ("-o", f"r.{form}")]
    assert run(["report", *words]) == 0
    assert capsys.readouterr().out == ""
    for form in FORMS:
        expected = render_report(REPORT, form)  # type: ignore[arg-type]  # it is one
        assert (tmp_path / f"r.{form}").read_text(encoding="utf-8") == expected


@pytest.mark.parametrize("words", [["report", "-o"], ["build", "--report"]], ids=["past", "build"])
@pytest.mark.parametrize("name", ["r.pdf", "r", "nowhere/r.md", "folder.md", "-"])
def test_an_unwritable_file_is_refused_first(
    words: list[str],
    name: str,
    library: Library,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """The usage error names the file; nothing is looked up or built, and no file is left."""
    (tmp_path / "folder.md").mkdir()
    assert run([*words, "good.json", words[-1], name]) == 2
    assert f"`{name}`" in capsys.readouterr().err
    assert library.asked == []
    assert [path.name for path in tmp_path.iterdir()] == ["folder.md"]


def test_an_unknown_build_leaves_no_file(library: Library, tmp_path: Path) -> None:
    """A report of an unknown build exits with 66 and writes no file."""
    assert run(["report", "unknown", "-o", "r.md"]) == 66
    assert [*tmp_path.iterdir()] == []
    assert len(library.asked) == 1


def test_a_build_writes_its_reports(library: Library, tmp_path: Path) -> None:
    """A report includes earlier builds, which are looked up only for a report."""
    assert run(["build", "--report", "r.json", "--report", "r.md"]) == 0
    assert json.loads((tmp_path / "r.json").read_text())["counts"]["saved"] == 7.0
    assert "7.0 s saved" in (tmp_path / "r.md").read_text()
    assert run(["build"]) == 0
    assert [request.with_earlier for request in library.asked] == [True, False]


@pytest.mark.parametrize(
    ("error", "status"), [(BuildFailedError, 3), (CacheError, 75)], ids=["build", "cache"]
)
def test_a_failed_build_writes_its_reports(
    error: Any,  # noqa: ANN401  # a class of errors
    status: int,
    library: Library,
    tmp_path: Path,
) -> None:
    """A failed build writes its reports and keeps its own exit status."""
    failed = replace(RESULT, exit_status=3 if error is BuildFailedError else 0)
    known = {"exit_status": 3} if error is BuildFailedError else {}
    library.outcome = error("it broke", result=failed, **known)
    assert run(["build", "--report", "r.json"]) == status
    assert json.loads((tmp_path / "r.json").read_text())["scope"]["name"] == SCOPE


def test_a_report_that_fails_late_keeps_the_status_of_a_failed_build(
    library: Library,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A late failure makes a successful build exit with 74; a failed one keeps its status."""

    def fail(path: Path, *_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("bxcache.cli.files.open_destination", fail)
    assert run(["build", "--report", str(tmp_path / "r.md")]) == 74
    assert "No space left on device" in capsys.readouterr().err
    library.outcome = BuildFailedError(
        "it broke", exit_status=3, result=replace(RESULT, exit_status=3)
    )
    assert run(["build", "--report", str(tmp_path / "r.md")]) == 3
    assert "r.md` was not written" in capsys.readouterr().err


def test_a_job_has_the_report_on_its_summary_page(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each build appends its report to the content of the summary page."""
    page = tmp_path / "summary.md"
    page.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(page))
    assert run(["build"]) == 0
    assert run(["build", "-q"]) == 0
    text = render_report(REPORT, "md")
    assert page.read_text(encoding="utf-8") == f"before\n{text}\n{text}\n"
    assert [request.with_earlier for request in library.asked] == [True, True]


@pytest.mark.usefixtures("library")
def test_an_unwritable_summary_page_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A summary page that cannot be written does not change the exit status."""
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "nowhere" / "summary.md"))
    assert run(["build"]) == 0
    assert "warning: the summary page was not written" in capsys.readouterr().err
