"""Tests of turning arguments into a request, and a result into text and an exit status."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from bxcache.backends.cache_result import CacheResult
from bxcache.buildx.metadata import Layer
from bxcache.buildx.stream.events import Event, Outcome, Said, StepFinished, Streamed, Warned
from bxcache.buildx.stream.names import StepName
from bxcache.cli.main import run
from bxcache.config.quantities import format_seconds
from bxcache.console.progress import DocumentLog
from bxcache.console.summary import render_totals
from bxcache.errors import BuildFailedError, CacheError, EngineError, GateError
from bxcache.insight.record_parts import Verdict
from bxcache.pipeline.request import BuildRequest
from bxcache.pipeline.result import BuildResult, Step
from tests.support.histories import make_record, make_step

STEP = StepName(None, "build", 2, 4, "RUN make\nRUN install")
RESULT = BuildResult(
    exit_status=0,
    digest="sha256:" + "d" * 64,
    tags=("app:1",),
    steps=(
        Step("build", "COPY . /", 2, Outcome.REUSED, 0.0, (Layer("sha256:" + "1" * 64, 10),)),
        Step("build", "RUN make", 3, Outcome.EXECUTED, 2.5),
    ),
    caches=(
        CacheResult(
            backend="local",
            place="/s",
            scope="image.linux-amd64",
            digest="sha256:c",
            bytes=205_300_000,
            imported=True,
            exported=True,
            new_bytes=12_000_000,
            layers=11,
            where="`image.linux-amd64` in /s",
        ),
        CacheResult("registry", "r/app:t", "t", "sha256:e", exported=True, where="r/app:t"),
    ),
    warnings=("careful",),
    seconds=3.2,
)


class Library:
    """A stand-in for the library that records requests and returns the chosen outcome."""

    def __init__(self) -> None:
        self.requests: list[BuildRequest] = []
        self.events: list[Event] = []
        self.outcome: BuildResult | Exception = RESULT

    def __call__(self, request: BuildRequest, observe: Any) -> BuildResult:  # noqa: ANN401
        self.requests.append(request)
        for event in self.events:
            observe(event)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    stand_in = Library()
    monkeypatch.setattr("bxcache.cli.actions.build.run_build", stand_in)
    monkeypatch.delenv("BUILDKIT_PROGRESS", raising=False)
    return stand_in


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ([], {}),
        (["app"], {"context": "app"}),
        (["-t", "a", "--tag", "b"], {"tags": ("a", "b")}),
        (["-f", "D"], {"file": "D"}),
        (["--target", "t"], {"target": "t"}),
        (["--platform", "linux/amd64,linux/arm64"], {"platforms": ("linux/amd64", "linux/arm64")}),
        (["--platform", "a/b", "--platform", "c/d"], {"platforms": ("a/b", "c/d")}),
        (["--build-arg", "A=b=c"], {"build_args": {"A": "b=c"}}),
        (["--build-arg", "A"], {"build_args": {"A": None}}),
        (["--build-arg", "A="], {"build_args": {"A": ""}}),
        (["--secret", "id=x,src=y"], {"secrets": ("id=x,src=y",)}),
        (["--ssh", "default"], {"ssh": ("default",)}),
        (["--build-context", "n=p"], {"build_contexts": {"n": "p"}}),
        (["--label", "a=b", "--label", "c"], {"labels": {"a": "b", "c": ""}}),
        (["--push"], {"push": True}),
        (["--load", "--pull", "--no-cache"], {"load": True, "pull": True, "no_cache": True}),
        (["-o", "type=local,dest=x"], {"outputs": ("type=local,dest=x",)}),
        (["--network", "none"], {"network": "none"}),
        (["--builder", "b"], {"builder": "b"}),
        (["--strict"], {"strict": True}),
        (["--no-strict"], {"strict": False}),
        (["--write", "never"], {"write": "never"}),
        (["--gate", "min_hit_ratio=0.8"], {"gate": {"min_hit_ratio": 0.8}}),
        (["--gate", "first=yes"], {"gate": {"first": True}}),
        (["--gate", "first=1"], {"gate": {"first": True}}),
        (["--gate", "first=True"], {"gate": {"first": True}}),
        (["--gate", "first=no"], {"gate": {"first": False}}),
        (
            ["--gate", "require-cached=a,b", "--gate", "max_size=2GB", "--gate", "warn=max_size"],
            {"gate": {"require_cached": ["a", "b"], "max_size": "2GB", "warn": ["max_size"]}},
        ),
        (["--backend", "type=inline,ref=a/b"], {"backends": ({"type": "inline", "ref": "a/b"},)}),
    ],
)
def test_flags_become_options(
    library: Library, arguments: list[str], options: dict[str, Any]
) -> None:
    """Only given flags are set, so that a config file can set the others."""
    assert run(["build", *arguments]) == 0
    assert library.requests[0].options == options


def test_arguments_after_two_dashes_go_to_docker(library: Library) -> None:
    """Arguments after `--` are passed on unchanged, even those that look like our flags."""
    assert run(["build", "app", "--", "--ulimit", "nofile=1", "-t", "x", "--"]) == 0
    assert library.requests[0].extra == ("--ulimit", "nofile=1", "-t", "x", "--")
    assert library.requests[0].options == {"context": "app"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["build", "--frob"],
        ["build", "--all", "a"],
        ["build", "--all", "--image", "a"],
        ["build", "a", "b", "--image", "c"],
        ["build", "--all", "--jobs", "0"],
        ["build", "--all", "--progress", "rawjson"],
        ["build", "--progress", "loud"],
        ["build", "--build-context", "x"],
        ["build", "--backend", "nonsense"],
        ["build", "--backend", '"type=local'],
        ["build", "--gate", "first=maybe"],
        ["build", "--gate", "first="],
        ["frob"],
        ["config", "check", "one.toml", "two.toml"],
    ],
)
def test_usage_errors_exit_with_2_and_build_nothing(library: Library, arguments: list[str]) -> None:
    """A wrong flag, word or value exits with 2 before anything is built."""
    assert run(arguments) == 2
    assert not library.requests


def test_the_most_similar_option_is_suggested_first(
    library: Library, capsys: pytest.CaptureFixture[str]
) -> None:
    """A mistyped option is answered with the most similar one first; click would sort by name."""
    assert run(["build", "--targt", "x"]) == 2
    assert "did you mean `--target` or `--tag`" in capsys.readouterr().err
    assert library.requests == []


def test_a_failed_build_exits_with_dockers_status(
    library: Library, capsys: pytest.CaptureFixture[str]
) -> None:
    """Docker's error is shown last, below a note that nothing was saved."""
    failed = replace(RESULT, exit_status=17, digest=None)
    library.events = [Said("ERROR: it broke")]
    library.outcome = BuildFailedError("it broke", exit_status=17, result=failed)
    assert run(["build"]) == 17
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[-2:] == [
        "nothing saved: the build failed; the caches are unchanged",
        "ERROR: it broke",
    ]


def test_our_errors_have_a_status_and_a_hint(
    library: Library, capsys: pytest.CaptureFixture[str]
) -> None:
    """An error of bxcache appears on stderr with its hint and without a traceback."""
    library.outcome = EngineError("no docker", hint="`apt-get install docker.io`")
    assert run(["build"]) == 69
    assert capsys.readouterr().err == "error: no docker\n\nhint: `apt-get install docker.io`\n"


def test_strict_failures_show_the_result_first(
    library: Library, capsys: pytest.CaptureFixture[str]
) -> None:
    """The result of a build is printed before an error of `--strict`, since the image was built."""
    library.outcome = CacheError("the registry is down", result=RESULT)
    assert run(["build", "--json"]) == 75
    out, err = capsys.readouterr()
    assert json.loads(out)["image"]["digest"] == RESULT.digest
    assert err.endswith("error: the registry is down\n")


def test_a_path_that_is_not_utf8_is_valid_json(
    library: Library, capsys: pytest.CaptureFixture[str]
) -> None:
    """Invalid bytes of a path are escaped in JSON, and Python decodes them to the same path."""
    cache = replace(RESULT.caches[0], place=os.fsdecode(b"/caf\xe9"))
    library.outcome = replace(RESULT, caches=(cache,))
    assert run(["build", "--json"]) == 0
    out, _ = capsys.readouterr()
    assert out.encode()
    document = json.loads(out)
    assert document["version"] == "1"
    assert os.fsencode(document["caches"][0]["place"]) == b"/caf\xe9"


def test_each_failed_gate_has_a_line(library: Library, capsys: pytest.CaptureFixture[str]) -> None:
    """Several failed gates are reported on separate lines."""
    library.outcome = GateError(["the gate `a` is no", "the gate `b` is no"], result=RESULT)
    assert run(["build"]) == 65
    lines = capsys.readouterr().err.splitlines()
    assert lines[-2:] == ["error: the gate `a` is no", "error: the gate `b` is no"]


def test_an_interrupt_exits_with_130(library: Library, capsys: pytest.CaptureFixture[str]) -> None:
    """The message of an interrupt reports the state of the caches."""
    library.outcome = KeyboardInterrupt()  # type: ignore[assignment]  # raised like an exception
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bxcache.cli.actions.build.run_build", _interrupt)
        assert run(["build"]) == 130
    assert capsys.readouterr().err.strip() == "stopped; no cache is left half saved"


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_bug_is_reported_as_a_bug(library: Library, capsys: pytest.CaptureFixture[str]) -> None:
    """An unexpected exception is shown with its traceback and without secrets."""
    library.outcome = ZeroDivisionError("at https://me:hunter22@example.com")
    assert run(["build"]) == 70
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert "hunter22" not in err
    assert err.startswith("error: this is a bug in bxcache; please report it")


def test_quiet_prints_only_the_digest(library: Library, capsys: pytest.CaptureFixture[str]) -> None:
    """The quiet flags print the digest on stdout and nothing on stderr."""
    library.events = [StepFinished(STEP, Outcome.REUSED, 0), Warned("careful")]
    for flag in ("-q", "--quiet", "--progress=quiet"):
        assert run(["build", flag]) == 0
        assert capsys.readouterr() == (f"{RESULT.digest}\n", "")


def test_plain_progress_shows_each_step(
    library: Library, capsys: pytest.CaptureFixture[str]
) -> None:
    """A step's line has its outcome, label and first line, and two summary lines follow."""
    library.events = [StepFinished(STEP, Outcome.EXECUTED, 2.5), Warned("careful")]
    assert run(["build"]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "executed    2.5 s [build 2/4] RUN make",
        "warning: careful",
        "2 steps: 1 reused (50 %), 1 executed, in 3.2 s",
        "saved 205.3 MB in 11 layers to `image.linux-amd64` in /s (12.0 MB new); to r/app:t",
    ]


def test_raw_progress_is_buildkits_stream(
    library: Library, capsys: pytest.CaptureFixture[str]
) -> None:
    """The stream is printed line by line, for another program."""
    library.events = [Streamed('{"vertexes":[]}'), StepFinished(STEP, Outcome.REUSED, 0)]
    assert run(["build", "--progress", "rawjson"]) == 0
    assert library.requests[0].raw
    assert capsys.readouterr().err.splitlines()[0] == '{"vertexes":[]}'


WARNED = replace(
    RESULT,
    record=make_record(make_step("RUN make", 3), build_warnings=("StageNameCasing: stage `A`",)),
    gates=(
        Verdict(gate="max_size", reason="it is large", fails=False),
        Verdict(gate="first", reason="x", fails=True),
    ),
)
WARNINGS = [
    "warning: StageNameCasing: stage `A`",
    "warning: careful",
    "warning: gate `max_size` failed: it is large",
]


@pytest.mark.parametrize("mode", ["none", "rawjson"])
def test_warnings_that_were_not_shown_follow_at_the_end(
    mode: str, library: Library, capsys: pytest.CaptureFixture[str]
) -> None:
    """Warnings are printed before the summary, which refers to them."""
    library.events, library.outcome = [Streamed("{}"), Warned("careful")], WARNED
    assert run(["build", "--progress", mode]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if line != "{}"][:4] == [
        *WARNINGS,
        "1 warning from BuildKit, see above: StageNameCasing",
    ]


@pytest.mark.parametrize("mode", ["plain", "quiet"])
def test_shown_warnings_are_not_repeated(
    mode: str, library: Library, capsys: pytest.CaptureFixture[str]
) -> None:
    """A warning is printed once with plain progress, and never with `quiet`."""
    library.events, library.outcome = [Warned("careful")], WARNED
    assert run(["build", "--progress", mode]) == 0
    assert capsys.readouterr().err.count("warning:") == (mode == "plain")


def test_an_unwritable_log_does_not_stop_the_build(
    library: Library, capsys: pytest.CaptureFixture[str]
) -> None:
    """A log that cannot be written causes one warning, before the digest or the summary."""
    library.events = [Streamed("{}"), Streamed("{}"), StepFinished(STEP, Outcome.REUSED, 0)]
    assert run(["build", "--log", "/dev/full", "-q"]) == 0
    warning = "warning: the log `/dev/full` is incomplete: No space left on device\n"
    assert capsys.readouterr() == (f"{RESULT.digest}\n", warning)
    assert run(["build", "--log", "/dev/full", "--progress", "plain"]) == 0
    err = capsys.readouterr().err
    assert err.count("warning: the log") == 1
    assert "2 steps: 1 reused (50 %), 1 executed" in err


@given(
    st.lists(
        st.text(st.characters(exclude_characters="\n{"))
        | st.sampled_from(['{"vertexes":[]}', "{", "[1]", "1", '{"a":', "ERROR: x", "[" * 9999])
    )
)
def test_a_log_contains_only_json(lines: list[str]) -> None:
    """Whatever docker prints, each line of the log is a document, and no line is lost."""
    file = io.StringIO()
    write = DocumentLog(file)
    for line in lines:
        write(Streamed(line))
    documents = [json.loads(line) for line in file.getvalue().splitlines()]
    assert [each.get("stderr", '{"vertexes":[]}') for each in documents] == lines


def test_the_document_has_the_published_keys() -> None:
    """The document contains the published keys, which later versions may only extend."""
    document = RESULT.to_dict()
    assert document["version"] == "1"
    assert document["exit_status"] == 0
    assert document["image"] == {"tags": ["app:1"], "digest": RESULT.digest, "pushed": []}
    assert document["counts"] == {"reused": 1, "executed": 1, "failed": 0}
    first = document["steps"][0]
    assert {key: first[key] for key in ("stage", "text", "line", "outcome", "seconds")} == {
        "stage": "build",
        "text": "COPY . /",
        "line": 2,
        "outcome": "reused",
        "seconds": 0.0,
    }
    assert first["layers"] == [{"digest": "sha256:" + "1" * 64, "bytes": 10}]
    assert {"backend", "scope", "digest", "bytes", "exported"} <= document["caches"][0].keys()
    assert document["warnings"] == ["careful"]
    json.dumps(document)


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([(Outcome.REUSED, None)], None),
        ([(Outcome.REUSED, 1.5), (Outcome.REUSED, None)], 1.5),
        ([(Outcome.REUSED, 0.0)], 0.0),
        ([(Outcome.EXECUTED, None)], 0.0),
        ([], 0.0),
    ],
)
def test_saved_seconds_are_null_without_a_record(
    steps: list[tuple[Outcome, float | None]], expected: float | None
) -> None:
    """Unknown saved seconds are null, not 0."""
    made = (make_step("RUN x", outcome=outcome, saved=saved) for outcome, saved in steps)
    document = replace(RESULT, record=make_record(*made)).to_dict()
    assert document["saved_seconds"] == expected


def test_the_totals_are_two_lines() -> None:
    """Any result has exactly two lines of totals."""
    for result in (
        RESULT,
        replace(RESULT, steps=(), caches=()),
        replace(RESULT, exit_status=1, steps=(Step("a", "RUN x", 1, Outcome.FAILED, 1.0),)),
    ):
        assert len(render_totals(result).splitlines()) == 2


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, "0.0 s"), (59.94, "59.9 s"), (59.97, "1 m 00 s"), (61, "1 m 01 s"), (3600, "1 h 00 m")],
)
def test_durations_are_readable(seconds: float, expected: str) -> None:
    """Durations are rounded to minutes and hours, and never show 60 seconds."""
    assert format_seconds(seconds) == expected


def test_config_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`config check`, `config show` and `config schema` print their results."""
    (tmp_path / "bxcache.toml").write_text('[build.build_args]\nTOKEN = "hunter22"\n')
    monkeypatch.chdir(tmp_path)
    for words in (["bxcache.toml"], []):
        assert run(["config", "check", *words]) == 0
        assert capsys.readouterr().out == "bxcache.toml is valid\n"
    assert run(["config", "show"]) == 0
    shown = capsys.readouterr().out
    assert 'build.build_args.TOKEN = "***"' in shown
    assert "bxcache.toml:2" in shown
    assert "cache.backends[0].dir" in shown
    assert "hunter22" not in shown
    assert run(["config", "schema"]) == 0
    assert json.loads(capsys.readouterr().out)["$schema"]
    (tmp_path / "bad.toml").write_text("[x]\n")
    assert run(["config", "check", "bad.toml"]) == 78
    assert "bad.toml:1: x: is unknown" in capsys.readouterr().err
    (tmp_path / "bxcache.toml").unlink()
    assert run(["config", "check"]) == 78
    assert "no bxcache.toml" in capsys.readouterr().err


@pytest.mark.parametrize("extra", ["--progress=plain", "--quiet", "-q"])
def test_flags_that_bxcache_needs_cannot_go_to_docker(
    extra: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error says where to write the flag instead, and docker is not run."""
    assert run(["build", ".", "--", extra]) == 78
    assert "before the `--`" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--json", "-q", "--progress=quiet"])
@pytest.mark.parametrize("output", ["-", "type=tar", "type=oci,dest=-"])
def test_stdout_is_used_only_once(
    flag: str, output: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A document and an image's archive cannot share stdout, which is checked without docker."""
    monkeypatch.setenv("PATH", "")
    assert run(["build", flag, "-o", output]) == 78
    out, err = capsys.readouterr()
    assert out == ""
    assert "--output: build.outputs: the image would go to stdout" in err


def test_the_hit_ratio_is_the_share_of_reused_steps() -> None:
    """Half of the steps give 0.5, and a build without steps has no ratio."""
    assert RESULT.hit_ratio == 0.5
    assert replace(RESULT, steps=()).hit_ratio is None


def test_a_file_error_is_not_a_bug(library: Library, capsys: pytest.CaptureFixture[str]) -> None:
    """A full disk is reported as such, with exit status 74."""
    library.outcome = OSError(28, "No space left on device", "/tmp/x")
    assert run(["build"]) == 74
    assert capsys.readouterr().err == "error: No space left on device: `/tmp/x`\n"


@pytest.mark.parametrize(
    ("words", "end"),
    [
        ("init --ci github-file", "'azure'; did you mean `github-files`?"),
        ("build --progress plan", "'none'; did you mean `plain`?"),
        ("key --style gitlb", "'gitlab'; did you mean `gitlab`?"),
        ("init --ci x", "'azure'."),
    ],
)
def test_a_wrong_choice_names_the_most_similar_one(
    words: str, end: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """All choices are listed, and the one that was probably meant is named."""
    assert run(words.split()) == 2
    assert capsys.readouterr().err.endswith(f"{end}\n")


def test_help_lists_every_flag(capsys: pytest.CaptureFixture[str]) -> None:
    """The help of `build` lists its flags, and the main help lists the exit statuses."""
    assert run(["build", "--help"]) == 0
    shown = capsys.readouterr().out
    for flag in ("--tag", "--dry-run", "--json", "--backend", "--progress", "--secret"):
        assert flag in shown
    assert run(["--help"]) == 0
    assert "Exit status" in capsys.readouterr().out


def test_help_loads_no_heavy_library() -> None:
    """Importing the command line loads no heavy library, so that help is fast."""
    assert subprocess.Popen.__name__
    heavy = {"pydantic", "python_on_whales", "platformdirs", "rich"}
    loaded = _modules_after("from bxcache.cli import main, build")
    assert not heavy & loaded


def _modules_after(code: str) -> set[str]:
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in sys.modules if name.split(".")[0] == "bxcache"]:
            patch.delitem(sys.modules, name)
        before = set(sys.modules)
        exec(code, {})
        return {name.split(".")[0] for name in set(sys.modules) - before}


def test_an_error_escapes_control_characters(
    library: Library, capsys: pytest.CaptureFixture[str]
) -> None:
    """Quoted text may have any origin, so its control characters are escaped; line breaks stay."""
    library.outcome = EngineError("no `\x1b[2J\x07x`", hint="a\nb\rc")
    assert run(["build", "."]) == 69
    err = capsys.readouterr().err
    assert err.splitlines() == ["error: no `\\x1b[2J\\x07x`", "", "hint: a", "b\\rc"]


@pytest.mark.parametrize(
    ("word", "image", "context"),
    [("api", "api", None), ("web", None, "web"), ("./aip", None, "./aip"), ("-", None, "-")],
)
def test_an_argument_is_an_image_or_a_path(
    word: str,
    image: str | None,
    context: str | None,
    library: Library,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A declared image takes precedence over a folder, and anything like a path is a path."""
    (tmp_path / "bxcache.toml").write_text("[images.api]\ncontext = 'api'\n")
    for folder in ("api", "web"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path)
    assert run(["build", word]) == 0
    (request,) = library.requests
    assert (request.image, request.options.get("context")) == (image, context)


def test_an_unknown_argument_is_refused(
    library: Library,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The error for an argument that is neither image nor path lists the known images."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bxcache.toml").write_text("[images.api]\ncontext = 'api'\n[images.web]\n")
    assert run(["build", "aip"]) == 78
    said = "`aip` is not a path, and is not declared in [images]; known: `api`, `web`"
    assert said in capsys.readouterr().err
    assert not library.requests
