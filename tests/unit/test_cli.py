"""Arguments to a request, a result to text and an exit status."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bxcache.backends.cache_result import CacheResult
from bxcache.buildx.metadata import Layer
from bxcache.buildx.stream.events import Event, Outcome, Said, StepFinished, Streamed, Warned
from bxcache.buildx.stream.names import StepName
from bxcache.cli.main import run
from bxcache.console.progress import DocumentLog, format_seconds
from bxcache.console.summary import describe_result, render_totals
from bxcache.errors import BuildFailedError, CacheError, EngineError, GateError
from bxcache.insight.record import Verdict
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
    """Stands in for the library: keeps the request, and does what the test wants."""

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
def test_flags_are_options(library: Library, arguments: list[str], options: dict[str, Any]) -> None:
    """What is not given is not set, so that a config file can set it."""
    assert run(["build", *arguments]) == 0
    assert library.requests[0].options == options


def test_what_follows_two_dashes_is_dockers(library: Library) -> None:
    """Unchanged, flags of ours included."""
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
        ["config", "check"],
    ],
)
def test_usage_errors_are_2_and_build_nothing(library: Library, arguments: list[str]) -> None:
    """As everywhere."""
    assert run(arguments) == 2
    assert not library.requests


def test_dockers_exit_status_is_ours(library: Library, capsys: pytest.CaptureFixture[str]) -> None:
    """With what docker said, and the two lines."""
    failed = replace(RESULT, exit_status=17, digest=None)
    library.events = [Said("ERROR: it broke")]
    library.outcome = BuildFailedError("it broke", exit_status=17, result=failed)
    assert run(["build"]) == 17
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[0] == "ERROR: it broke"
    assert err.splitlines()[-1] == "nothing saved: the build failed; the caches are unchanged"


def test_our_errors_have_a_status_and_a_hint(
    library: Library, capsys: pytest.CaptureFixture[str]
) -> None:
    """On stderr, without a traceback."""
    library.outcome = EngineError("no docker", hint="`apt-get install docker.io`")
    assert run(["build"]) == 69
    assert capsys.readouterr().err == "error: no docker\n\nhint: `apt-get install docker.io`\n"


def test_strict_failures_show_the_result_first(
    library: Library, capsys: pytest.CaptureFixture[str]
) -> None:
    """The image was built."""
    library.outcome = CacheError("the registry is down", result=RESULT)
    assert run(["build", "--json"]) == 75
    out, err = capsys.readouterr()
    assert json.loads(out)["image"]["digest"] == RESULT.digest
    assert err.endswith("error: the registry is down\n")


def test_a_path_that_is_not_utf8_is_json_all_the_same(
    library: Library, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its bytes have the escape that JSON has for them, and Python reads them as a path again."""
    cache = replace(RESULT.caches[0], place=os.fsdecode(b"/caf\xe9"))
    library.outcome = replace(RESULT, caches=(cache,))
    assert run(["build", "--json"]) == 0
    out, _ = capsys.readouterr()
    assert out.encode()
    document = json.loads(out)
    assert document["version"] == "1"
    assert os.fsencode(document["caches"][0]["place"]) == b"/caf\xe9"


def test_each_gate_that_is_not_passed_has_a_line(
    library: Library, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where several are not."""
    library.outcome = GateError(["the gate `a` is no", "the gate `b` is no"], result=RESULT)
    assert run(["build"]) == 65
    _, told = capsys.readouterr().err.split("error: ")
    assert told.splitlines() == ["the gate `a` is no", "the gate `b` is no"]


def test_an_interrupt_is_130(library: Library, capsys: pytest.CaptureFixture[str]) -> None:
    """And says what became of the caches."""
    library.outcome = KeyboardInterrupt()  # type: ignore[assignment]  # raised like an exception
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bxcache.cli.actions.build.run_build", _interrupt)
        assert run(["build"]) == 130
    assert capsys.readouterr().err.strip() == "stopped; no cache is left half saved"


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_bug_says_that_it_is_one(library: Library, capsys: pytest.CaptureFixture[str]) -> None:
    """With the traceback, and without secrets."""
    library.outcome = ZeroDivisionError("at https://me:hunter22@example.com")
    assert run(["build"]) == 70
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert "hunter22" not in err
    assert err.startswith("error: this is a bug in bxcache; please report it")


def test_quiet_prints_the_digest_only(library: Library, capsys: pytest.CaptureFixture[str]) -> None:
    """On stdout, and nothing on stderr."""
    library.events = [StepFinished(STEP, Outcome.REUSED, 0), Warned("careful")]
    for flag in ("-q", "--quiet", "--progress=quiet"):
        assert run(["build", flag]) == 0
        assert capsys.readouterr() == (f"{RESULT.digest}\n", "")


def test_plain_progress_tells_each_step(
    library: Library, capsys: pytest.CaptureFixture[str]
) -> None:
    """Outcome, label and the instruction's first line, and the two lines at the end."""
    library.events = [StepFinished(STEP, Outcome.EXECUTED, 2.5), Warned("careful")]
    assert run(["build"]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "executed    2.5 s [build 2/4] RUN make",
        "warning: careful",
        "2 steps: 1 reused, 1 executed, in 3.2 s",
        "saved 205.3 MB in 11 layers to `image.linux-amd64` in /s (12.0 MB new); to r/app:t",
    ]


def test_raw_progress_is_buildkits_stream(
    library: Library, capsys: pytest.CaptureFixture[str]
) -> None:
    """Line by line, for another program."""
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
def test_warnings_that_nobody_saw_are_told_in_the_end(
    mode: str, library: Library, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before the summary, which says that they stand above."""
    library.events, library.outcome = [Streamed("{}"), Warned("careful")], WARNED
    assert run(["build", "--progress", mode]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if line != "{}"][:4] == [
        *WARNINGS,
        "1 warning from BuildKit, see above: StageNameCasing",
    ]


@pytest.mark.parametrize("mode", ["plain", "quiet"])
def test_warnings_that_were_shown_are_not_told_again(
    mode: str, library: Library, capsys: pytest.CaptureFixture[str]
) -> None:
    """And with `quiet` none is told."""
    library.events, library.outcome = [Warned("careful")], WARNED
    assert run(["build", "--progress", mode]) == 0
    assert capsys.readouterr().err.count("warning:") == (mode == "plain")


def test_a_stream_that_cannot_be_kept_stops_no_build(
    library: Library, capsys: pytest.CaptureFixture[str]
) -> None:
    """It costs one warning, which names the file, before the digest or the summary."""
    library.events = [Streamed("{}"), Streamed("{}"), StepFinished(STEP, Outcome.REUSED, 0)]
    assert run(["build", "--log", "/dev/full", "-q"]) == 0
    warning = "warning: the log `/dev/full` is incomplete: No space left on device\n"
    assert capsys.readouterr() == (f"{RESULT.digest}\n", warning)
    assert run(["build", "--log", "/dev/full", "--progress", "plain"]) == 0
    err = capsys.readouterr().err
    assert err.count("warning: the log") == 1
    assert "2 steps: 1 reused, 1 executed" in err


@given(
    st.lists(
        st.text(st.characters(exclude_characters="\n{"))
        | st.sampled_from(['{"vertexes":[]}', "{", "[1]", "1", '{"a":', "ERROR: x", "[" * 9999])
    )
)
def test_a_kept_stream_is_json_alone(lines: list[str]) -> None:
    """Whatever docker says: a document on each line, and nothing is lost."""
    file = io.StringIO()
    write = DocumentLog(file)
    for line in lines:
        write(Streamed(line))
    documents = [json.loads(line) for line in file.getvalue().splitlines()]
    assert [each.get("stderr", '{"vertexes":[]}') for each in documents] == lines


def test_the_document_has_the_published_keys() -> None:
    """Later versions add keys and rename none."""
    document = describe_result(RESULT)
    assert document["version"] == "1"
    assert document["exit_status"] == 0
    assert document["image"] == {"tags": ["app:1"], "digest": RESULT.digest}
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
def test_seconds_saved_are_null_where_no_record_tells_them(
    steps: list[tuple[Outcome, float | None]], expected: float | None
) -> None:
    """What is not known is not nothing."""
    made = (make_step("RUN x", outcome=outcome, saved=saved) for outcome, saved in steps)
    document = describe_result(replace(RESULT, record=make_record(*made)))
    assert document["saved_seconds"] == expected


def test_the_totals_are_two_lines() -> None:
    """Whatever there is to say."""
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
    """Never 60 seconds."""
    assert format_seconds(seconds) == expected


def test_config_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """check, show and schema print what they say."""
    (tmp_path / "bxcache.toml").write_text('[build.build_args]\nTOKEN = "hunter22"\n')
    monkeypatch.chdir(tmp_path)
    assert run(["config", "check", "bxcache.toml"]) == 0
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


@pytest.mark.parametrize("extra", ["--progress=plain", "--quiet", "-q"])
def test_what_bxcache_needs_cannot_be_dockers(
    extra: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says where to write it instead, and asks nobody."""
    assert run(["build", ".", "--", extra]) == 78
    assert "before the `--`" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--json", "-q", "--progress=quiet"])
@pytest.mark.parametrize("output", ["-", "type=tar", "type=oci,dest=-"])
def test_stdout_has_room_for_one_thing(
    flag: str, output: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The document and the image's archive cannot share it; no docker is needed to say so."""
    monkeypatch.setenv("PATH", "")
    assert run(["build", flag, "-o", output]) == 78
    out, err = capsys.readouterr()
    assert out == ""
    assert "--output: build.outputs: the image would go to stdout" in err


def test_the_hit_ratio_is_the_share_of_reused_steps() -> None:
    """And of nothing there is none."""
    assert RESULT.hit_ratio == 0.5
    assert replace(RESULT, steps=()).hit_ratio is None


def test_trouble_with_files_is_no_bug(library: Library, capsys: pytest.CaptureFixture[str]) -> None:
    """A full disk is told as one."""
    library.outcome = OSError(28, "No space left on device", "/tmp/x")
    assert run(["build"]) == 74
    assert capsys.readouterr().err == "error: No space left on device: `/tmp/x`\n"


def test_help_tells_every_flag(capsys: pytest.CaptureFixture[str]) -> None:
    """And the exit statuses."""
    assert run(["build", "--help"]) == 0
    shown = capsys.readouterr().out
    for flag in ("--tag", "--dry-run", "--json", "--backend", "--progress", "--secret"):
        assert flag in shown
    assert run(["--help"]) == 0
    assert "Exit status" in capsys.readouterr().out


def test_nothing_heavy_is_loaded_for_help() -> None:
    """Help has to come at once: the heavy libraries are loaded by what needs them."""
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


def test_an_error_moves_no_cursor(library: Library, capsys: pytest.CaptureFixture[str]) -> None:
    """What it quotes may come from anywhere; its own lines stay lines."""
    library.outcome = EngineError("no `\x1b[2J\x07x`", hint="a\nb\rc")
    assert run(["build", "."]) == 69
    err = capsys.readouterr().err
    assert err.splitlines() == ["error: no `\\x1b[2J\\x07x`", "", "hint: a", "b\\rc"]


@pytest.mark.parametrize(
    ("word", "image", "context"),
    [("api", "api", None), ("web", None, "web"), ("./aip", None, "./aip"), ("-", None, "-")],
)
def test_a_word_is_an_image_or_a_path(
    word: str,
    image: str | None,
    context: str | None,
    library: Library,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An image that is declared, before a folder; all that looks like a path is one."""
    (tmp_path / "bxcache.toml").write_text("[images.api]\ncontext = 'api'\n")
    for folder in ("api", "web"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path)
    assert run(["build", word]) == 0
    (request,) = library.requests
    assert (request.image, request.options.get("context")) == (image, context)


def test_a_word_that_is_neither_is_refused(
    library: Library,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With the images that are known."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bxcache.toml").write_text("[images.api]\ncontext = 'api'\n[images.web]\n")
    assert run(["build", "aip"]) == 78
    said = "`aip` is not a path, and is not declared in [images]; known: `api`, `web`"
    assert said in capsys.readouterr().err
    assert not library.requests
