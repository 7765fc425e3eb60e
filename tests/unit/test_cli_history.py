"""Tests of the requests, the output and the exit status of `bxcache history` and `bxcache diff`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from bxcache.cli.main import run
from bxcache.errors import RecordError
from bxcache.insight.chains import Chain
from bxcache.insight.history import History
from bxcache.insight.history_request import HistoryRequest
from tests.support.histories import (
    SCOPE,
    make_history,
    make_layer,
    make_record,
    make_stages,
    make_step,
    name_digest,
)

LAST = make_record(
    make_step("RUN a", 2, layers="a:10"),
    make_step("RUN b", 4, layers="b:20", parent=0),
    stages=make_stages(("one", 1, "scratch"), ("two", 3, "one"), ("-lint", 5, "one")),
)
BEFORE = make_record(
    make_step("RUN a", 2, layers="a:10"),
    make_step("RUN b", 4, layers="old:30", parent=0),
    make_step("RUN c", 6, layers="c:5", parent=0),
    stages=make_stages(("one", 1, "scratch"), ("two", 3, "one"), ("three", 5, "one")),
)
CHAINS = (Chain((make_layer("x", 7), make_layer("y", 8))),)
PLACES = {name_digest(name): f"/store/{name}" for name in ("a", "b")}


class Known:
    """Known histories by name, and the requests for them."""

    def __init__(self) -> None:
        self.asked: list[HistoryRequest] = []
        self.histories: dict[str | None, History] = {
            None: make_history(LAST),
            "~0": make_history(LAST),
            "~1": make_history(BEFORE),
            "plain": make_history(None, scope="plain", chains=CHAINS),
        }

    def find(self, request: HistoryRequest) -> History:
        self.asked.append(request)
        if request.name not in self.histories:
            raise RecordError(f"there is no scope `{request.name}`", hint="`bxcache store ls`")
        return self.histories[request.name]


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Known:
    """Provide two builds with a record each, and a cache without one."""
    known = Known()
    monkeypatch.setattr("bxcache.cli.actions.history.find_history", known.find)
    monkeypatch.setattr("bxcache.insight.difference.find_history", known.find)
    return known


def ask(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Return the stdout of a command that succeeds and prints nothing on stderr."""
    assert run(words) == 0
    told = capsys.readouterr()
    assert told.err == ""
    return told.out


def read(capsys: pytest.CaptureFixture[str], *words: str) -> Any:  # noqa: ANN401  # a document
    document = json.loads(ask(capsys, *words, "--json"))
    assert document["version"] == "1"
    return document


ASKED: list[tuple[Sequence[str], dict[str, object]]] = [
    ([], {}),
    (["--from", "r.example.com/app"], {"source": "r.example.com/app"}),
    (["--target", "test", "--branch", "feature/x"], {"target": "test", "branch": "feature/x"}),
    (["--platform", "linux/arm64"], {"platform": "linux/arm64"}),
    (["--config", "x/bxcache.toml"], {"config_file": Path("x/bxcache.toml")}),
]


@pytest.mark.parametrize(("words", "expected"), ASKED)
def test_options_become_a_request(
    known: Known, words: Sequence[str], expected: dict[str, Any]
) -> None:
    """Both commands make the same request, and options that are not given are not set."""
    assert run(["history", *words]) == 0
    assert run(["diff", *words]) == 0
    assert known.asked == [HistoryRequest(name=name, **expected) for name in (None, "~1", "~0")]


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["history", "~1"], ["~1"]),
        (["history", "plain"], ["plain"]),
        (["diff", "~0"], ["~0", "~0"]),
        (["diff", "~0", "~1"], ["~0", "~1"]),
    ],
)
def test_names_are_passed_on_unchanged(known: Known, words: list[str], names: list[str]) -> None:
    """Names reach the lookup as written, because their meaning depends on the known builds."""
    assert run(words) == 0
    assert [request.name for request in known.asked] == names


def test_each_stage_is_shown(known: Known, capsys: pytest.CaptureFixture[str]) -> None:
    """Each needed stage is shown with its layers and the steps that made them."""
    lines = ask(capsys, "history").splitlines()
    assert lines[0].startswith(f"{SCOPE}: built ")
    heads = [line for line in lines if "FROM" in line and "line" in line]
    assert heads == ["one  FROM scratch, line 1", "two  FROM one, line 3"]
    assert [line.split()[0] for line in lines if "RUN" in line] == [
        name_digest("a")[:19],
        name_digest("b")[:19],
    ]
    assert lines[-1] == "not part of this build: lint"
    assert len(known.asked) == 1


@pytest.mark.parametrize(
    ("words", "expected", "unexpected"),
    [
        (["--stage", "two"], ["RUN b"], ["RUN a", "lint"]),
        (["--stage", "two", "--stage", "ONE"], ["RUN a", "RUN b"], ["lint"]),
        (["--stage", "two", "--chain"], ["INHERITED FROM", "RUN a", "RUN b"], []),
        (["--no-trunc"], [name_digest("a")], []),
        ([], [], [name_digest("a"), "WHERE", "INHERITED"]),
    ],
)
def test_options_choose_the_output(
    known: Known,
    words: list[str],
    expected: list[str],
    unexpected: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Options choose the stages, the layers below them, and the length of digests."""
    out = ask(capsys, "history", *words)
    assert all(text in out for text in expected)
    assert not any(text in out for text in unexpected)
    assert not any(request.with_places for request in known.asked)


def test_blobs_are_located_on_request(known: Known, capsys: pytest.CaptureFixture[str]) -> None:
    """`--blobs` adds each blob's path to the table and the document, and only then looks for it."""
    known.histories[None] = make_history(LAST, places=PLACES)
    assert "/store/b" in ask(capsys, "history", "--blobs")
    (layer,) = read(capsys, "history", "--blobs", "--stage", "two")["stages"][0]["layers"]
    assert layer["place"] == "/store/b"
    assert [request.with_places for request in known.asked] == [True, True]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], ["a", "b"]),
        (["~1"], ["a", "old", "c"]),
        (["--stage", "two"], ["b"]),
        (["--stage", "two", "--chain"], ["a", "b"]),
        (["plain"], ["x", "y"]),
        (["--no-trunc"], ["a", "b"]),
    ],
)
@pytest.mark.parametrize("flag", ["-q", "--quiet"])
@pytest.mark.usefixtures("known")
def test_quiet_prints_only_digests(
    flag: str, words: list[str], expected: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Digests are printed in full, one per line."""
    out = ask(capsys, "history", flag, *words)
    assert out == "".join(f"{name_digest(name)}\n" for name in expected)


def test_quiet_prints_nothing_without_layers(
    known: Known, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not even an empty line, which a script could take for a digest, is printed."""
    known.histories[None] = make_history(make_record())
    assert ask(capsys, "history", "-q") == ""


@pytest.mark.usefixtures("known")
def test_the_history_has_a_json_document(capsys: pytest.CaptureFixture[str]) -> None:
    """The document contains the requested stages, and inherited layers on request."""
    document = read(capsys, "history")
    assert [stage["name"] for stage in document["stages"]] == ["one", "two", "lint"]
    assert "inherited" not in document["stages"][1]
    (stage,) = read(capsys, "history", "--stage", "two", "--chain")["stages"]
    assert [step["text"] for step in stage["inherited"]] == ["RUN a"]
    document = read(capsys, "history", "plain")
    assert [layer["bytes"] for layer in document["chains"][0]["layers"]] == [7, 8]


def test_notes_go_to_stderr(known: Known, capsys: pytest.CaptureFixture[str]) -> None:
    """Notes are printed once each on stderr, so that stdout contains only the document."""
    known.histories[None] = make_history(LAST, notes=("one\x1b[2J", "two"))
    known.histories["~0"] = make_history(LAST, notes=("two",))
    known.histories["~1"] = make_history(BEFORE, notes=("two", "three"))
    assert run(["history", "--json"]) == 0
    told = capsys.readouterr()
    assert told.err == "note: one\\x1b[2J\nnote: two\n"
    assert json.loads(told.out)["notes"] == ["one\x1b[2J", "two"]
    assert run(["diff"]) == 0
    assert capsys.readouterr().err == "note: two\nnote: three\n"


@pytest.mark.usefixtures("known")
def test_a_cache_without_a_record_shows_its_chains(capsys: pytest.CaptureFixture[str]) -> None:
    """The last line says that stage names need a record."""
    out = ask(capsys, "history", "plain")
    assert "chain 1" in out
    assert out.endswith("stage names need a record, which only builds with bxcache write\n")


@pytest.mark.usefixtures("known")
def test_two_builds_are_compared(capsys: pytest.CaptureFixture[str]) -> None:
    """Without names, the last two builds are compared."""
    lines = ask(capsys, "diff").splitlines()
    assert [line.split()[0] + " " + line.split()[-1] for line in lines[3:6]] == [
        "one same",
        "two changed",
        "three gone",
    ]
    assert lines[7:10] == ["two:", "  - 30 B  RUN b", "  + 20 B  RUN b"]
    assert "no layers differ" in ask(capsys, "diff", "~0")


@pytest.mark.parametrize(
    ("words", "states"),
    [
        ([], {"one": "same", "two": "changed", "three": "gone"}),
        (["--stage", "two"], {"two": "changed"}),
        (["--stage", "Three", "--stage", "one"], {"one": "same", "three": "gone"}),
    ],
)
@pytest.mark.usefixtures("known")
def test_the_comparison_has_a_json_document(
    words: list[str], states: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The document contains the requested stages, even one that only one side has."""
    document = read(capsys, "diff", *words)
    assert {stage["name"]: stage["state"] for stage in document["stages"]} == states
    assert document["same"] == (set(states.values()) == {"same"})


@pytest.mark.parametrize(
    ("words", "status", "messages"),
    [
        (["history", "--quiet", "--json"], 2, ["`--quiet` and `--json`"]),
        (["history", "a", "b"], 2, ["unexpected extra argument"]),
        (["diff", "a", "b", "c"], 2, ["unexpected extra argument"]),
        (["diff", "--quiet"], 2, ["No such option"]),
        (["diff", "--chain"], 2, ["No such option"]),
        (["history", "nowhere"], 66, ["there is no scope `nowhere`", "hint: `bxcache store ls`"]),
        (["history", "--stage", "tow"], 66, ["there is no stage `tow`", "`one`, `two`, `lint`"]),
        (["history", "--stage", "lint"], 66, ["`lint` is not part of this build", "--target lint"]),
        (["history", "plain", "--stage", "one"], 66, ["the cache of `plain` has no record"]),
        (["history", "plain", "-q", "--stage", "one"], 66, ["its stages have no names"]),
        (["diff", "plain"], 66, ["`plain` has no record, so the cache of `plain` in /store"]),
        (["diff", "~1", "plain"], 66, ["`plain` has no record", "`bxcache build` leaves one"]),
        (["diff", "--stage", "tow"], 66, ["there is no stage `tow`"]),
        (["diff", "~0", "--stage", "lint"], 66, ["`lint` is not part of this build"]),
    ],
)
@pytest.mark.usefixtures("known")
def test_a_failure_is_one_error(
    words: list[str], status: int, messages: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A failure is one error with advice, without a traceback, and with nothing on stdout."""
    assert run(words) == status
    told = capsys.readouterr()
    assert all(message in told.err for message in messages), told.err
    assert "Traceback" not in told.err
    assert told.out == ""


def test_a_usage_error_reads_no_history(known: Known) -> None:
    """A usage error is reported before any history is read, since a registry may be slow."""
    assert run(["history", "--quiet", "--json"]) == 2
    assert known.asked == []


@pytest.mark.parametrize("command", ["history", "diff"])
def test_the_help_explains_how_builds_are_named(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The help of `history` and `diff` explains how to name an earlier build."""
    out = ask(capsys, command, "--help")
    assert "[NAME]" in out or "[BEFORE] [AFTER]" in out
    assert "the build before the last one" in " ".join(out.split())


@pytest.mark.parametrize("command", [["history"], ["history", "unknown ##vso[task.x]"], ["diff"]])
def test_an_instruction_is_not_a_command_to_a_ci_job(
    known: Known,
    command: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """On Azure, which reads commands anywhere in a line, a space breaks the marker of a command."""
    hostile = make_record(
        make_step("RUN echo ##vso[task.x]", 2, layers="new:1"),
        stages=make_stages(("one", 1, "scratch")),
    )
    known.histories[None] = known.histories["~0"] = make_history(hostile)
    run(command)
    plain = "".join(capsys.readouterr())
    monkeypatch.setenv("TF_BUILD", "True")
    run(command)
    told = "".join(capsys.readouterr())
    assert "##vso[" in plain
    assert told == plain.replace("##vso[", "# #vso[")
