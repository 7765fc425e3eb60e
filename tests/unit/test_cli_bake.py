"""Tests of `bxcache bake` and `bxcache.bake()`: they make the same request, and show results."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import bxcache
from bxcache.backends.base import EXPORT, CacheUse, Save
from bxcache.buildx.stream.events import Event, Noted, Said, Streamed
from bxcache.cli.main import run
from bxcache.errors import BuildFailedError, ConfigError, Problem, StoppedError
from bxcache.pipeline.bake import BakePreview
from bxcache.pipeline.bake_targets import BakeRequest
from bxcache.pipeline.plan import BuildPlan
from bxcache.pipeline.result import BuildResult, ImageOutcome, Outcomes, TargetOutcomes
from bxcache.place.scope import Owner, Scope
from tests.support.backends import make_local
from tests.unit.test_cli import RESULT


class Library:
    """A stand-in for the library that records requests and returns the chosen outcome."""

    def __init__(self) -> None:
        self.requests: list[BakeRequest] = []
        self.events: list[tuple[str, Event]] = []
        self.outcomes = {"api": ImageOutcome("api", RESULT)}
        self.error: Exception | None = None

    def __call__(
        self,
        request: BakeRequest,
        observe: Any,  # noqa: ANN401
        *,
        accept: Callable[[tuple[str, ...]], None] | None = None,
    ) -> Outcomes:
        self.requests.append(request)
        if accept is not None:
            accept(tuple(self.outcomes))
        for name, event in self.events:
            observe(name, event)
        if self.error is not None:
            raise self.error
        return TargetOutcomes(self.outcomes)


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    stand_in = Library()
    monkeypatch.setattr("bxcache.cli.actions.bake.bake_targets", stand_in)
    monkeypatch.setattr("bxcache.api.bake_targets", stand_in)
    monkeypatch.delenv("BUILDKIT_PROGRESS", raising=False)
    return stand_in


@pytest.mark.parametrize(
    ("arguments", "targets", "files", "sets"),
    [
        ([], (), (), ()),
        (["api", "web"], ("api", "web"), (), ()),
        (["-f", "a.hcl", "--file", "b.yaml"], (), ("a.hcl", "b.yaml"), ()),
        (["--set", "*.args.A=b=c", "--set", "api.tags="], (), (), ("*.args.A=b=c", "api.tags=")),
        (["-f", "-", "api"], ("api",), ("-",), ()),
    ],
)
def test_arguments_become_a_request(
    library: Library,
    arguments: list[str],
    targets: tuple[str, ...],
    files: tuple[str, ...],
    sets: tuple[str, ...],
) -> None:
    """Targets, files and values keep the order of the command line."""
    assert run(["bake", *arguments]) == 0
    [request] = library.requests
    assert (request.targets, request.files, request.sets) == (targets, files, sets)
    assert request.build.options == {}


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (["--push", "--load"], {"push": True, "load": True}),
        (["--pull", "--no-cache"], {"pull": True, "no_cache": True}),
        (["--builder", "b"], {"builder": "b"}),
        (["--write", "never"], {"write": "never"}),
        (["--read", "branch,base"], {"read": ("branch", "base")}),
        (["--strict"], {"strict": True}),
        (["--branch", "main"], {"branch": "main"}),
        (["--backend", "type=inline,ref=a/b"], {"backends": ({"type": "inline", "ref": "a/b"},)}),
    ],
)
def test_flags_apply_to_all_targets(
    library: Library, arguments: list[str], options: dict[str, Any]
) -> None:
    """Flags of a build that do not belong in the bake file become options."""
    assert run(["bake", *arguments]) == 0
    assert library.requests[0].build.options == options


def test_arguments_after_two_dashes_go_to_bake(library: Library) -> None:
    """Arguments after `--` are passed on unchanged, even those that look like our flags."""
    assert run(["bake", "api", "--", "--allow", "network.host", "--set", "a.b=c"]) == 0
    assert library.requests[0].build.extra == ("--allow", "network.host", "--set", "a.b=c")
    assert library.requests[0].targets == ("api",)


@pytest.mark.parametrize(
    "arguments",
    [
        *(["--layers", "--json"], ["--layers", "-q"], ["--layers", "--progress", "quiet"]),
        # These belong in the bake file.
        *(["-t", "x"], ["--target", "x"], ["--platform", "linux/amd64"], ["--build-arg", "A=1"]),
        *(["--image", "api"], ["--all"], ["--jobs", "2"], ["--fail-fast"]),
        *(["--secret", "id=x"], ["--output", "x"], ["--label", "a=b"], ["--network", "none"]),
    ],
)
def test_invalid_arguments_are_refused(library: Library, arguments: list[str]) -> None:
    """Invalid arguments exit with click's status before anything is baked."""
    assert run(["bake", *arguments]) == 2
    assert library.requests == []


def test_stdout_is_reserved_for_data(library: Library) -> None:
    """Docker's output goes to stderr if bxcache prints a document, layers or digests."""
    for arguments, descriptor in (
        ([], 1),
        (["--json"], 2),
        (["-q"], 2),
        (["--layers"], 2),
    ):
        assert run(["bake", *arguments]) == 0
        assert library.requests[-1].build.stdout == descriptor


@pytest.mark.parametrize(
    ("arguments", "progress"),
    [([], "plain"), (["-q"], "quiet"), (["--progress", "rawjson"], "rawjson")],
)
@pytest.mark.parametrize("words", [["--print"], ["--list=targets"], ["--call", "check"]])
def test_a_question_is_passed_on(
    library: Library,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    progress: str,
    words: list[str],
) -> None:
    """Bake answers the question on stdout with its own exit status, and nothing is built."""
    asked: list[Any] = []

    def ask(request: BakeRequest, tell: Callable[[str], None], progress: str) -> int:
        asked.append((request.build.extra, request.targets, request.build.stdout, progress))
        tell("docker says")
        return 7

    monkeypatch.setattr("bxcache.cli.actions.bake.ask_bake", ask)
    assert run(["bake", "api", *arguments, "--", *words]) == 7
    assert asked == [(tuple(words), ("api",), 1, progress)]
    assert capsys.readouterr().err == "docker says\n"
    assert library.requests == []


@pytest.mark.parametrize("json_", [True, False])
def test_without_a_target_nothing_is_done(
    library: Library,
    capsys: pytest.CaptureFixture[str],
    json_: bool,  # noqa: FBT001
) -> None:
    """A note says that there is no target, which is not an error, since a group may be empty."""
    library.outcomes = {}
    assert run(["bake", *(["--json"] if json_ else [])]) == 0
    out, err = capsys.readouterr()
    assert err.splitlines()[0] == "there is no target to build"
    assert json.loads(out)["targets"] == {} if json_ else out == ""


FAILED = BuildFailedError("it broke", exit_status=3, result=None)
OUTCOMES = {
    "api": ImageOutcome("api", RESULT),
    "web": ImageOutcome("web", None, StoppedError("it was stopped, since another target failed")),
    "worker": ImageOutcome("worker", BuildResult(3, None, (), (), (), (), 1.0), FAILED),
}


def test_the_document_contains_each_target(
    library: Library, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each target has its result, its status and its error, with status 71 for a stopped one."""
    library.outcomes = OUTCOMES
    assert run(["bake", "--json"]) == 3
    document = json.loads(capsys.readouterr().out)
    assert document["exit_status"] == 3
    targets = document["targets"]
    assert {name: (each["exit_status"], each["error"]) for name, each in targets.items()} == {
        "api": (0, ""),
        "web": (71, "it was stopped, since another target failed"),
        "worker": (3, "it broke"),
    }
    assert targets["api"]["image"]["digest"] == RESULT.digest
    assert targets["api"]["counts"] == {"reused": 1, "executed": 1, "failed": 0}


def test_the_result_of_each_target_is_shown(
    library: Library, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each target has its own lines; a summary of all targets follows, and why some failed."""
    library.outcomes = OUTCOMES
    library.events = [("api", Noted("hello")), ("worker", Said("ERROR: it broke"))]
    assert run(["bake"]) == 3
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert lines[0] == "api | note: hello"
    assert "web: it was stopped, since another target failed" in lines
    assert lines[-2].startswith("3 targets: 1 built, 2 failed, in ")
    assert lines[-1] == "worker | ERROR: it broke"


def test_quiet_prints_only_digests(library: Library, capsys: pytest.CaptureFixture[str]) -> None:
    """The digests of the targets that were built are printed, one per line."""
    library.outcomes = OUTCOMES
    assert run(["bake", "-q"]) == 3
    assert capsys.readouterr().out == f"api {RESULT.digest}\n"


def test_raw_progress_is_dockers_stream(
    library: Library, capsys: pytest.CaptureFixture[str]
) -> None:
    """Docker's stream is printed line by line, without bxcache's own events."""
    library.events = [("api", Streamed('{"vertexes":[]}')), ("api", Noted("hello"))]
    assert run(["bake", "--progress", "rawjson"]) == 0
    assert library.requests[0].build.raw
    err = capsys.readouterr().err.splitlines()
    assert err[0] == '{"vertexes":[]}'
    assert "api | note: hello" not in err


def test_a_bake_error_is_reported(library: Library, capsys: pytest.CaptureFixture[str]) -> None:
    """Bake's error is shown in its words, with the exit status of an invalid configuration."""
    library.error = ConfigError([Problem("docker buildx bake", "", "failed to find target x")])
    assert run(["bake", "x"]) == 78
    assert "docker buildx bake: failed to find target x" in capsys.readouterr().err


def test_a_dry_run_shows_each_target_and_one_command(
    library: Library, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The reasons are comments for the shell, and nothing is baked."""
    scope = Scope("api", None, ("linux/amd64",), Owner.of_branch("main"))
    use = CacheUse(EXPORT, make_local(), "/s", scope.name, (("type", "local"),), "for the next one")
    plans = {
        "api": BuildPlan(scope, saves=(Save(use),)),
        "web": BuildPlan(scope, notes=("left alone",)),
    }
    preview = BakePreview(("docker", "buildx", "bake", "--set", "a b=c"), plans, ("of all",))
    monkeypatch.setattr("bxcache.cli.actions.bake.preview_bake", lambda _: preview)
    assert run(["bake", "--dry-run"]) == 0
    assert library.requests == []
    assert capsys.readouterr().out.splitlines() == [
        "# target api:",
        "# --cache-to /s: for the next one",
        "# target web:",
        "# left alone",
        "# of all",
        "docker buildx bake \\",
        "  --set 'a b=c'",
    ]


def test_the_api_makes_the_same_request(library: Library) -> None:
    """Paths may be objects, and options that are not given are not set."""
    heard: list[tuple[str, Event]] = []
    library.events = [("api", Noted("hello"))]
    outcomes = bxcache.bake(
        "api",
        files=[Path("a.hcl"), "b.hcl"],
        sets=["api.tags=x"],
        extra=["--allow", "network.host"],
        config_file="c.toml",
        observe=lambda name, event: heard.append((name, event)),
        push=True,
    )
    assert outcomes == library.outcomes
    assert heard == library.events
    [request] = library.requests
    assert (request.targets, request.files, request.sets) == (
        *(("api",), ("a.hcl", "b.hcl"), ("api.tags=x",)),
    )
    assert request.build.extra == ("--allow", "network.host")
    assert request.build.config_file == Path("c.toml")
    assert request.build.options == {"push": True}


@pytest.mark.parametrize("option", ["tags", "target", "build_args", "outputs", "file", "nonsense"])
def test_an_option_of_a_build_belongs_in_the_bake_file(library: Library, option: str) -> None:
    """The error contains the option's name, and nothing is baked."""
    options: dict[str, Any] = {option: ["x"]}
    with pytest.raises(TypeError, match=f"no option `{option}`; it belongs in the bake file"):
        bxcache.bake("api", **options)
    assert library.requests == []
