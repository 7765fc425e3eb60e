"""Tests that no output on stdout or stderr is a command to a CI system."""

from __future__ import annotations

import fcntl
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bxcache.backends.cache_result import CacheResult
from bxcache.buildx.stream.events import Outcome, Streamed
from bxcache.cli.main import run
from bxcache.insight.record_parts import RecordedScope, RecordedStage, RecordedStep
from bxcache.insight.reporting import make_report
from bxcache.pipeline.result import BuildResult, Step
from bxcache.place.scope import Owner, Scope
from bxcache.registry.labels import Label, render_label
from bxcache.store.store import Store
from tests.support.histories import make_history, make_layer, make_record
from tests.support.job_logs import HOSTILE, READERS
from tests.support.layouts import build
from tests.support.registries import MemoryRegistry, cache_manifest
from tests.unit.places.recordings import read_recording

ALL = "\n".join(HOSTILE)
SIGN = "##vso[a.b]x ##teamcity[x] travis_fold:end:x ##[error]y"
"""What is obeyed wherever it stands, in a name that a file can have."""


def make_hostile_record(started: float) -> Any:  # noqa: ANN401  # a record
    """Make a record with hostile texts in every place."""
    steps = tuple(
        RecordedStep(
            text=text,
            stage=SIGN,
            lines=(at + 2,),
            outcome=Outcome.EXECUTED,
            seconds=started,
            log=f"{text}\n{ALL}",
            error=text,
            layers=(make_layer(f"{at} {started}"),),
        )
        for at, text in enumerate(HOSTILE)
    )
    return make_record(
        *steps,
        stages=(RecordedStage(name=SIGN, line=1, base=ALL),),
        started=started,
        scope=RecordedScope(name=SIGN, image=ALL, platforms=(SIGN,), branch=ALL),
        warnings=HOSTILE,
        build_warnings=HOSTILE,
        context=ALL,
    )


RECORDS = [make_hostile_record(2.0), make_hostile_record(1.0)]
RESULT = BuildResult(
    exit_status=0,
    digest=None,
    tags=(SIGN,),
    steps=tuple(Step(SIGN, text, 1, Outcome.EXECUTED, 1.0, error=text) for text in HOSTILE),
    caches=(CacheResult("local", SIGN, SIGN, exported=True),),
    warnings=HOSTILE,
    seconds=1.0,
    record=RECORDS[0],
)
COMMANDS = [
    *("build --json -q", "build --json --progress rawjson", "history", "history --json", "diff"),
    *("history -q", "diff --json", "report", "report --json", "store ls", "store ls --json"),
    *("store du", "store du --json", "store verify", "store verify --json", "store prune"),
    *("store prune --json", "registry ls", "registry ls --json", "config show"),
    *("config show --json", "config show --changed"),
    *("config check bxcache.toml", "key", "key --style circleci"),
]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Make a project with hostile texts and names, and a fake library for it."""
    folder = tmp_path / SIGN
    folder.mkdir()
    monkeypatch.chdir(folder)
    build(Store(folder / "store"), "app", b"s" * 100)
    with MemoryRegistry() as registry:
        digest = registry.put("app", cache_manifest(b"1"))
        scope = Scope(SIGN, None, (SIGN,), Owner.of_branch(ALL))
        registry.put("app.bxcache", render_label(Label(scope, digest, 1.0, 1.0)))
        ref = f"{registry.address}/app"
        quoted = json.dumps(ALL).replace("\\u007f", "\\u0020")
        (folder / "bxcache.toml").write_text(
            f"[build]\nlabels = {{ a = {quoted} }}\ntags = [{quoted}]\ntarget = {quoted}\n"
            f"[place]\nbranch = {quoted}\n"
            "[[cache.backends]]\ntype = 'local'\ndir = 'store'\n"
            f"[[cache.backends]]\ntype = 'registry'\nref = '{ref}'\n"
        )

        def tell(_: object, observe: Any) -> BuildResult:  # noqa: ANN401
            for text in HOSTILE:
                observe(Streamed(text))
                observe(Streamed(json.dumps({"vertexes": [{"name": text}]}, ensure_ascii=False)))
            return RESULT

        history = make_history(RECORDS[0], scope=SIGN, source=SIGN, notes=(ALL,))
        older = make_history(RECORDS[1], scope=SIGN, source=SIGN)
        monkeypatch.setattr("bxcache.cli.actions.build.run_build", tell)
        for home in ("cli.actions.history", "insight.difference"):
            monkeypatch.setattr(
                f"bxcache.{home}.find_history",
                lambda asked: older if asked.name == "~1" else history,
            )
        monkeypatch.setattr(
            "bxcache.cli.actions.history.find_report", lambda _: make_report(RECORDS)
        )
        yield folder


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("provider", sorted(READERS))
def test_no_command_prints_a_provider_command(
    provider: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """No line contains a provider's command, and documents stay the same."""
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    for name, value in read_recording(provider).write(tmp_path).items():
        monkeypatch.setenv(name, value)
    for command in COMMANDS:
        capsys.readouterr()
        assert run(command.split()) == 0, command
        told = capsys.readouterr()
        for text in (told.out, told.err):
            shown = READERS[provider](text)
            assert [line for line in shown.obeyed if "bxcache" not in line] == [], command
        document = json.loads(told.out) if "--json" in command else {}
        if command.startswith("build"):
            assert document["warnings"] == list(HOSTILE)


@pytest.mark.parametrize("provider", sorted(READERS))
def test_a_message_about_a_lock_is_not_a_command(
    provider: str,
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The text of a lock's holder is made safe to print."""
    for name, value in read_recording(provider).write(tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("bxcache.store.locks._SECONDS_BEFORE_WARNING", 0.01)
    own = project / "store" / ".bxcache"
    for note in (ALL, f"process 1 is {SIGN}", "process 7 is saving the scope `a.b-c`"):
        (own / "holder").write_text(note)
        lock = os.open(own / "lock", os.O_RDWR)
        fcntl.flock(lock, fcntl.LOCK_EX)
        timer = threading.Timer(0.5, os.close, [lock])
        timer.start()
        capsys.readouterr()
        assert run(["store", "prune"]) == 0
        timer.join()
        err = capsys.readouterr().err
        assert READERS[provider](err).obeyed == []
        assert len(err.splitlines()) == 1
        assert err[:-1].isprintable()
        shown = "process 7 is saving" if note.startswith("process 7") else "another process is"
        assert shown in err
