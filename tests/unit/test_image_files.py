"""Tests that `--report`, `--trace` and `--log` write a file per image of a build or bake."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from bxcache.buildx.stream.events import Outcome, Streamed
from bxcache.cli.actions.several import name_file
from bxcache.cli.files import open_destination
from bxcache.cli.main import run
from bxcache.errors import BuildFailedError
from bxcache.pipeline.result import BuildResult, ImageOutcome, Outcomes, TargetOutcomes
from tests.support.histories import STARTED, make_record, make_stages, make_step

RECORD = make_record(make_step("RUN a", 2, layers="a:10", outcome=Outcome.EXECUTED))
RESULT = BuildResult(0, None, (), (), (), (), 1.0, record=RECORD)
FAILED = replace(
    RESULT,
    exit_status=2,
    record=make_record(
        make_step("RUN b", 2, outcome=Outcome.FAILED), started=STARTED, exit_status=2
    ),
)
STREAM = '{{"vertexes":[],"name":"{}"}}'


@dataclass
class Library:
    """A stand-in for builds of several images, with chosen results."""

    requests: list[Any] = field(default_factory=list)
    results: dict[str, BuildResult] = field(default_factory=dict)
    names: Sequence[str] = ("api", "worker")

    def build(self, request: Any, *rest: Any, accept: Any = None, **_: Any) -> Any:  # noqa: ANN401
        names = rest[0] if len(rest) == 2 else self.names  # of a bake it is the observer alone
        if accept is not None:
            accept(tuple(names))
        self.requests.append(request)
        outcomes = (Outcomes if len(rest) == 2 else TargetOutcomes)()
        for name in names:
            rest[-1](name, Streamed(STREAM.format(name)))
            result = self.results.get(name, RESULT)
            error = BuildFailedError("broke", exit_status=2) if result.exit_status else None
            outcomes[name] = ImageOutcome(name, result, error)
        return outcomes


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Library:
    """Provide two images, `api` and `worker`."""
    stand_in = Library()
    monkeypatch.setattr("bxcache.cli.actions.several.build_batch", stand_in.build)
    monkeypatch.setattr("bxcache.cli.actions.bake.bake_targets", stand_in.build)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    monkeypatch.chdir(tmp_path)
    declare("api", "worker")
    return stand_in


def declare(*names: str) -> None:
    Path("bxcache.toml").write_text("".join(f"[images.{json.dumps(name)}]\n" for name in names))


def list_files() -> list[str]:
    return sorted(path.name for path in Path().iterdir() if path.name != "bxcache.toml")


BOTH = pytest.mark.parametrize("words", [["build", "--all"], ["build", "api", "worker"], ["bake"]])


@BOTH
def test_each_image_has_its_own_reports_and_trace(library: Library, words: list[str]) -> None:
    """Each file has the image's name before its suffix, even if the image failed."""
    library.results["worker"] = FAILED
    options = ["--report", "r.json", "--report", "page.html", "--trace", "t.json"]
    assert run([*words, *options]) == 2
    assert list_files() == [
        *("page.api.html", "page.worker.html", "r.api.json", "r.worker.json"),
        *("t.api.json", "t.worker.json"),
    ]
    texts = {name: Path(f"r.{name}.json").read_text() for name in ("api", "worker")}
    assert {name: json.loads(text)["exit_status"] for name, text in texts.items()} == {
        "api": 0,
        "worker": 2,
    }
    assert "RUN b" in Path("page.worker.html").read_text()
    [request] = library.requests
    assert getattr(request, "build", request).with_earlier


def test_each_image_has_its_own_log(library: Library) -> None:
    """A build of several images has a log for each, and a bake has one log."""
    assert run(["build", "--all", "--log", "build.log"]) == 0
    assert list_files() == ["build.api.log", "build.worker.log"]
    assert Path("build.api.log").read_text() == f"{STREAM.format('api')}\n"
    assert library.requests[0].raw
    assert run(["bake", "--log", "bake.log"]) == 0
    assert Path("bake.log").read_text().splitlines() == [
        STREAM.format("api"),
        STREAM.format("worker"),
    ]
    assert library.requests[1].build.raw


@BOTH
@pytest.mark.parametrize("option", ["--report", "--trace"])
def test_an_unwritable_file_stops_the_command_before_it_begins(
    library: Library, words: list[str], option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file of one image is enough to stop the command."""
    Path("r.worker.json").mkdir()
    assert run([*words, option, "r.json"]) == 2
    assert "`r.worker.json` cannot be written: Is a directory" in capsys.readouterr().err
    assert library.requests == []
    assert list_files() == ["r.worker.json"]


@pytest.mark.parametrize(
    ("names", "options"),
    [
        (("a/b", "a:b"), ["--report", "r.json"]),
        (("api", "API"), ["--report", "r.json"]),
        (("a?", "a*"), ["--log", "b.log"]),
        (("a?", "a*"), ["--trace", "t.json"]),
        # One image's report is another one's if the names of files contain dots.
        (("b.c", "c"), ["--report", "r.json", "--report", "r.b.json"]),
    ],
)
def test_no_two_images_write_the_same_file(
    library: Library,
    names: tuple[str, str],
    options: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Images whose file names would be equal on some file system are reported and refused."""
    declare(*names)
    assert run(["build", "--all", *options]) == 2
    err = capsys.readouterr().err
    assert f"`{names[0]}` and `{names[1]}` would both write" in err
    assert library.requests == []
    assert list_files() == []


@pytest.mark.parametrize(
    "options",
    [
        ["--report", "r.html", "--log", "r.html"],
        ["--report", "r.html", "--log", "./x/../r.html"],
        ["--report", "r.html", "--report", "./r.html"],
        ["--trace", "r.json", "--log", "r.json"],
        ["--report", "r.json", "--trace", "r.json"],
    ],
)
@pytest.mark.parametrize("words", [["build", "."], ["build", "--all"], ["build", "api"], ["bake"]])
def test_no_two_outputs_share_a_file(
    library: Library, words: list[str], options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The same file is refused in any spelling, and nothing is built."""
    assert run([*words, *options]) == 2
    assert "use two file names" in capsys.readouterr().err
    assert library.requests == []
    assert list_files() == []


def test_the_log_of_a_bake_is_not_a_report_of_a_target(
    library: Library, capsys: pytest.CaptureFixture[str]
) -> None:
    """A bake's log is refused if it is a target's report, as soon as the targets are known."""
    assert run(["bake", "--report", "r.html", "--log", "r.api.html"]) == 2
    assert "`--log` and `api` would both write `r.api.html`" in capsys.readouterr().err
    assert library.requests == []


def test_one_images_files_differ(library: Library, capsys: pytest.CaptureFixture[str]) -> None:
    """Two files of an image are refused if a link makes them the same."""
    Path("r.api.html").symlink_to("l.api.html")
    assert run(["build", "--all", "--report", "r.html", "--log", "l.html"]) == 2
    assert "`api` would write `r.api.html` twice" in capsys.readouterr().err
    assert library.requests == []


@pytest.mark.parametrize("words", [["build", "--all"], ["bake"]])
def test_an_unwritable_log_does_not_stop_the_build(
    library: Library, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """One warning names the file that could not be written."""
    for name in ("b.log", "b.api.log"):
        Path(name).symlink_to("/dev/full")
    assert run([*words, "--log", "b.log"]) == 0
    file = "b.log" if words == ["bake"] else "b.api.log"
    err = capsys.readouterr().err
    assert err.count("warning:") == 1
    assert f"warning: the log `{file}` is incomplete: No space left on device" in err
    assert "2 images: 2 built" in err or "2 targets: 2 built" in err
    assert len(library.requests) == 1


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["build", "--all", "--progress", "none"], "images"),
        (["bake", "--progress", "rawjson"], "targets"),
    ],
)
def test_each_image_has_its_summary_under_its_name(
    library: Library, words: list[str], what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A summary has stages, slow steps and warnings, and unseen warnings precede it."""
    steps = (
        make_step("RUN a", 2, seconds=2.0, stage="deps"),
        make_step("RUN b", 4, seconds=1.0, stage="app"),
    )
    stages = make_stages(("deps", 1, "scratch"), ("app", 3, "deps"))
    record = make_record(*steps, stages=stages, build_warnings=("Casing: stage `A`",))
    library.results["api"] = replace(RESULT, record=record, warnings=("careful",))
    assert run(words) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("{")]
    assert lines[:2] == ["api: warning: Casing: stage `A`", "api: warning: careful"]
    assert [line.split()[0] for line in lines[2:6]] == ["api:", "STAGE", "deps", "app"]
    assert lines[6:9] == [
        "  slowest     2.0 s [deps] RUN a",
        "              1.0 s [app] RUN b",
        "  1 warning from BuildKit, see above: Casing",
    ]
    assert all(line.startswith("  ") for line in lines[3:11])
    assert lines[11] == "worker:"
    assert lines[-1].startswith(f"2 {what}: 2 built, in ")


def test_a_link_to_another_images_file_is_refused(library: Library) -> None:
    """A link counts as the file that it leads to."""
    Path("r.api.json").symlink_to("r.worker.json")
    assert run(["build", "--all", "--report", "r.json"]) == 2
    assert library.requests == []


NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)


@given(NAMES)
def test_any_image_name_can_be_part_of_a_file_name(name: str) -> None:
    """The file stays in its folder and keeps its suffix, whatever the image's name contains."""
    named = name_file(Path("out") / "report.html", name)
    assert named.parent == Path("out")
    assert named.suffix == ".html"
    assert not set(named.name) & set('/\\:*?"<>|\0\n')


def test_one_failed_report_leaves_the_others(
    library: Library, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The other reports and the summary are still written, and the command exits with 74."""

    def refuse(path: Path) -> TextIO:
        if path.name == "r.api.md":
            raise OSError(28, "No space left on device", str(path))
        return open_destination(path)

    monkeypatch.setattr("bxcache.cli.files.open_destination", refuse)
    assert run(["build", "--all", "--report", "r.md"]) == 74
    assert "r.worker.md" in list_files()
    err = capsys.readouterr().err
    assert "2 images: 2 built" in err
    assert "the build is done, but the file `r.api.md` was not written: No space" in err
    assert len(library.requests) == 1


def test_a_dry_run_writes_no_file(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dry run has no build to report, so it writes no report and no log."""
    monkeypatch.setattr("bxcache.cli.actions.several.preview_build", lambda _: None)
    monkeypatch.setattr("bxcache.console.preview.render_preview", lambda _: "")
    assert run(["build", "--all", "--report", "r.json", "--log", "b.log", "--dry-run"]) == 0
    assert list_files() == []
    assert library.requests == []


def test_rawjson_of_several_images_is_refused_with_advice(
    library: Library, capsys: pytest.CaptureFixture[str]
) -> None:
    """The streams of several images would be mixed, so the error suggests `--log`."""
    assert run(["build", "--all", "--progress", "rawjson"]) == 2
    assert "use `--log FILE` for several" in capsys.readouterr().err
    assert library.requests == []
