"""Tests of `--trace`: its files for current and past builds, and the files that it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from bxcache.cli.files import open_destination
from bxcache.cli.main import run
from bxcache.console.report.trace_events import render_trace
from bxcache.errors import BuildFailedError
from bxcache.insight.reporting import make_report
from bxcache.pipeline.request import BuildRequest
from bxcache.pipeline.result import BuildResult
from tests.support.histories import make_record, make_step

RECORD = make_record(make_step("RUN a", 2, layers="a:10", began=0.5, seconds=7.0))
REPORT = make_report([RECORD])
RESULT = BuildResult(0, None, (), (), (), (), 1.0, record=RECORD)
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Library:
    """A stand-in for the library that knows one build, and builds with the same result."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.outcome: BuildResult | Exception = RESULT
        self.during: Callable[[], object] = lambda: None

    def find(self, request: object) -> object:
        self.asked.append(request)
        return REPORT

    def build(self, request: BuildRequest, _: object = None) -> BuildResult:
        self.asked.append(request)
        self.during()
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
    monkeypatch.delenv("TRACEPARENT", raising=False)
    monkeypatch.chdir(tmp_path)
    return stand_in


def test_a_build_writes_its_trace(library: Library, tmp_path: Path) -> None:
    """A trace has any file name, may be written with reports, and needs no earlier builds."""
    assert run(["build", "--trace", "r.trace"]) == 0
    assert (tmp_path / "r.trace").read_text() == render_trace(REPORT)
    assert library.asked[0].with_earlier is False
    assert run(["build", "--trace", "both", "--report", "r.json"]) == 0
    assert (tmp_path / "both").read_text() == render_trace(REPORT)
    assert json.loads((tmp_path / "r.json").read_text())["version"] == "1"


def test_a_failed_build_writes_its_trace(library: Library, tmp_path: Path) -> None:
    """A failed build writes its trace and exits with docker's status."""
    failed = replace(RESULT, exit_status=3)
    library.outcome = BuildFailedError("it broke", exit_status=3, result=failed)
    assert run(["build", "--trace", "t"]) == 3
    assert (tmp_path / "t").read_text() == render_trace(REPORT)


@pytest.mark.usefixtures("library")
def test_a_trace_belongs_to_its_pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`TRACEPARENT` is the parent of the current build, but not of a past one."""
    monkeypatch.setenv("TRACEPARENT", TRACEPARENT)
    assert run(["build", "--trace", "now"]) == 0
    assert (tmp_path / "now").read_text() == render_trace(REPORT, TRACEPARENT)
    assert run(["report", "--trace", "past"]) == 0
    assert (tmp_path / "past").read_text() == render_trace(REPORT)


@pytest.mark.usefixtures("library")
def test_a_past_build_has_a_trace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`report --trace` writes the trace, and prints only a requested document."""
    assert run(["report", "--trace", "t"]) == 0
    assert capsys.readouterr().out == ""
    assert (tmp_path / "t").read_text() == render_trace(REPORT)
    assert run(["report", "--trace", "t", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["version"] == "1"


@pytest.mark.parametrize("command", ["build", "report"])
@pytest.mark.parametrize("name", ["nowhere/t.json", "folder", ""])
def test_an_unwritable_file_is_refused_first(
    command: str,
    name: str,
    library: Library,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """The usage error names the file; nothing is built or looked up, and no file is left."""
    (tmp_path / "folder").mkdir()
    assert run([command, "--trace", name]) == 2
    said = capsys.readouterr().err
    assert "--trace" in said
    assert f"`{name or '.'}` cannot be written" in said
    assert library.asked == []
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


@pytest.mark.parametrize(
    "words",
    [
        ["build", "--report", "t.json", "--trace", "t.json"],
        ["build", "--report", "t.json", "--trace", "./nowhere/../t.json"],
        ["build", "--log", "t.json", "--trace", "t.json"],
        ["report", "-o", "t.json", "--trace", "t.json"],
    ],
)
def test_two_outputs_cannot_share_a_file(
    words: list[str], library: Library, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The same file is refused in any spelling, and its content stays unchanged."""
    (tmp_path / "nowhere").mkdir()
    (tmp_path / "t.json").write_text("old")
    assert run(words) == 2
    assert "use two file names" in capsys.readouterr().err
    assert library.asked == []
    assert (tmp_path / "t.json").read_text() == "old"


@pytest.mark.parametrize("option", ["--trace", "--report"])
def test_a_file_that_fails_late_is_reported(
    option: str, capsys: pytest.CaptureFixture[str], library: Library
) -> None:
    """The error names the file; a successful build exits with 74, a failed one keeps its status."""
    Path("full.md").symlink_to("/dev/full")
    words = ["build", option, "full.md"]
    why = "the file `full.md` was not written: No space left on device"
    assert run(words) == 74
    assert f"error: the build is done, but {why}" in capsys.readouterr().err
    failed = replace(RESULT, exit_status=3)
    library.outcome = BuildFailedError("it broke", exit_status=3, result=failed)
    assert run(words) == 3
    assert f"warning: {why}" in capsys.readouterr().err
    assert run(["report", "-o" if option == "--report" else option, "full.md"]) == 74
    assert "error: No space left on device: `full.md`" in capsys.readouterr().err


def test_an_unwritable_file_does_not_prevent_the_others(library: Library) -> None:
    """The other report and the trace are still written."""
    Path("full.md").symlink_to("/dev/full")
    assert run(["build", "--report", "full.md", "--report", "r.json", "--trace", "t"]) == 74
    assert json.loads(Path("r.json").read_text())["version"] == "1"
    assert Path("t").read_text() == render_trace(REPORT)
    assert len(library.asked) == 1


LINKED = {
    "a file": "outside/file",
    "nothing": "outside/new",
    "a folder": "outside",
    "itself": "there.md",
    "a link": "other.md",
}


@pytest.mark.parametrize("leads_to", LINKED)
@pytest.mark.parametrize(
    "words", [["build", "--trace"], ["build", "--report"], ["build", "--log"], ["report", "-o"]]
)
def test_nothing_is_written_through_a_link(
    words: list[str], leads_to: str, library: Library, capsys: pytest.CaptureFixture[str]
) -> None:
    """A link in the checkout is refused before anything is built, and its target is unchanged."""
    Path("outside").mkdir()
    Path("outside/file").write_text("mine")
    Path("other.md").symlink_to("outside/file")
    Path("there.md").symlink_to(LINKED[leads_to])
    assert run([*words, "there.md"]) == 2
    said = capsys.readouterr().err
    is_folder = leads_to == "a folder" and "is a directory" in said
    assert is_folder or "is a link, and bxcache does not write through links" in said
    assert library.asked == []
    assert Path("there.md").is_symlink()
    assert [each.read_text() for each in Path("outside").iterdir()] == ["mine"]


@pytest.mark.parametrize("option", ["--trace", "--report"])
def test_a_link_created_after_the_check_is_not_followed(
    option: str, library: Library, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error says that the file was not written, and the link's target stays unchanged."""
    Path("mine").write_text("mine")
    library.during = partial(Path("there.md").symlink_to, "mine")
    assert run(["build", option, "there.md"]) == 74
    assert "`there.md` was not written: it is a link" in capsys.readouterr().err
    assert Path("mine").read_text() == "mine"


def test_the_systems_own_links_are_followed(tmp_path: Path) -> None:
    """A link such as /dev/stdout is followed, even if it leads to a file."""
    with (
        (tmp_path / "out").open("w") as out,
        open_destination(Path(f"/dev/fd/{out.fileno()}")) as to,
    ):
        to.write("written")
    assert (tmp_path / "out").read_text() == "written"


def test_a_dry_run_writes_nothing(
    library: Library, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A dry run has no trace, so no file is written."""
    monkeypatch.setattr("bxcache.cli.actions.build.preview_build", lambda _: None)
    monkeypatch.setattr("bxcache.console.preview.render_preview", lambda _: "")
    assert run(["build", "--dry-run", "--trace", "t"]) == 0
    assert library.asked == []
    assert [*tmp_path.iterdir()] == []
