"""Tests of the requests, the output and the exit status of `bxcache explain`."""

from __future__ import annotations

import json
from typing import Any

import pytest

import bxcache
from bxcache.buildx.stream.events import Outcome
from bxcache.cli.main import run
from bxcache.errors import RecordError
from bxcache.insight import explanation
from bxcache.insight.causes import Cause
from bxcache.insight.history_request import HistoryRequest
from bxcache.insight.record import Record
from bxcache.insight.record_misses import (
    RecordedBasis,
    RecordedChange,
    RecordedMiss,
    RecordedPrediction,
)
from tests.support.histories import SCOPE, STARTED, make_record, make_step

CHANGE = RecordedChange(cause=Cause.CONTENT, name="app/main.py")
LAST = make_record(
    make_step("FROM a", 1, stage="build"),
    make_step("COPY app /app", 2, stage="build", parent=0),
    make_step("RUN make", 3, stage="build", parent=1),
    make_step("COPY own /", 9, stage="other", outcome=Outcome.REUSED, from_builder=True),
    misses=(RecordedMiss(step=1, changes=(CHANGE,), later=(2,), seconds=48.0),),
    basis=RecordedBasis(scope=SCOPE, branch="main", commit="3f2a" * 10, started=STARTED),
    prediction=RecordedPrediction(right=2),
)
OTHER = make_record(
    make_step("FROM a", 1, stage="build"),
    make_step("COPY lib /lib", 2, stage="build", parent=0),
    make_step("RUN make", 3, stage="build", parent=1),
)


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> list[HistoryRequest]:
    """Answer with two known builds; return the requests."""
    requests: list[HistoryRequest] = []

    def find(request: HistoryRequest, _command: str) -> tuple[Record, ...]:
        requests.append(request)
        if request.name == "nowhere":
            raise RecordError("no build of `nowhere` is known", hint="`bxcache build` leaves one")
        return (OTHER, LAST) if request.name == "~1" else (LAST, OTHER)

    monkeypatch.setattr(explanation, "find_builds", find)
    return requests


def ask(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Run the command and return what it prints on stdout."""
    assert run(["explain", *words]) == 0
    return capsys.readouterr().out


def test_each_step_has_its_reason(capsys: pytest.CaptureFixture[str]) -> None:
    lines = ask(capsys).splitlines()
    assert lines[1].startswith("compared with main@3f2a3f2 (")
    assert lines[3].startswith(
        "stage build, line 2 `COPY app /app`: content of `app/main.py` changed"
    )
    assert lines[5:] == [
        "build",
        "  executed    0.0 s  COPY app /app",
        "                     ^ content of `app/main.py` changed",
        "  executed    0.0 s  RUN make",
        "                     ^ it needs line 2, `COPY app /app`, which was executed",
        "",
        "other",
        "  reused      0.0 s  COPY own /",
        "                     ^ from the builder's own cache; the imported one does not have it",
    ]


def test_another_build_can_be_compared_with(capsys: pytest.CaptureFixture[str]) -> None:
    out = ask(capsys, "--against", "~1")
    assert "the instruction has `app /app`, not `lib /lib`" in out


def test_the_document_has_every_step(capsys: pytest.CaptureFixture[str]) -> None:
    document: dict[str, Any] = json.loads(ask(capsys, "--json"))
    assert document["basis"]["branch"] == "main"
    (miss,) = document["misses"]
    assert (miss["line"], miss["later"], miss["seconds"]) == (2, 1, 48.0)
    steps = document["steps"]
    assert [each["because"] and each["because"]["line"] for each in steps] == [None, 2, None]
    assert [each["from_builder"] for each in steps] == [False, False, True]
    assert document == bxcache.explain().to_dict()


def test_predictions_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(capsys, "--predictions").splitlines()[-1] == f"steps of {SCOPE}: 100 % were right"
    document = json.loads(ask(capsys, "--predictions", "--json"))
    assert document["builds"] == [{"started": STARTED, "right": 2, "wrong": 0, "unknown": 0}]


def test_options_reach_the_search(
    capsys: pytest.CaptureFixture[str], asked: list[HistoryRequest]
) -> None:
    ask(capsys, "api", "--branch", "topic", "--from", "/store")
    (request,) = asked
    assert (request.name, request.branch, request.source) == ("api", "topic", "/store")


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["nowhere"], 66, "no build of `nowhere` is known"),
        (["--against", "nowhere"], 66, "no build of `nowhere` is known"),
        (["--predictions", "--against", "~1"], 2, "exclude each other"),
        (["a", "b"], 2, "unexpected extra argument"),
        (["--agains"], 2, "did you mean `--against`"),
    ],
)
def test_a_failure_is_one_error(
    words: list[str], status: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["explain", *words]) == status
    told = capsys.readouterr()
    assert message in told.err
    assert (told.out, "Traceback" in told.err) == ("", False)
