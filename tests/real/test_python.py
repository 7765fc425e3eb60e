"""Tests of the Python API on a real engine: documents, questions, and builds that are stopped."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.bootstrap import ROOT
from tests.real.conftest import STEPS
from tests.real.machines import Machine
from tests.unit.test_docs import list_fences


def run_program(text: str, machine: Machine, folder: Path) -> Any:  # noqa: ANN401  # any document
    """Run a Python program that prints one document and nothing else."""
    done = subprocess.run(
        [sys.executable, "-c", f"import bxcache, json\n{textwrap.dedent(text)}"],
        cwd=folder,
        env=machine.environment(PYTHONPATH=str(ROOT)),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


DOCUMENTS = """
import contextlib, io
from bxcache.cli import main
from bxcache.cli.actions import build

results = []

def keep(*given):
    results.append(bxcache_build(*given))
    return results[-1]

# The result of this build goes both ways.
bxcache_build, build.run_build = build.run_build, keep
with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()):
    assert main.run(["build", "--json", "--network", "none"]) == 0
[result] = results
history = bxcache.history()
store = bxcache.Store(result.caches[0].place)
documents = {
    "build": [result.to_dict(), json.loads(out.getvalue())],
    "history": history.to_dict(),
    "history --chain --stage build": history.to_dict("build", chain=True),
    "diff ~1 ~0": bxcache.diff("~1", "~0").to_dict(),
    "report": bxcache.report().to_dict(),
    "store du": store.usage().to_dict(),
    "store verify": store.verify().to_dict(),
    "store collect --dry-run": store.collect(dry_run=True).to_dict(),
}
print(json.dumps(documents))
"""


def test_python_has_the_documents_of_the_command_line(machine: Machine, project: Path) -> None:
    """What `to_dict` returns is what `--json` prints, key by key."""
    machine.build(folder=project)
    documents = run_program(DOCUMENTS, machine, project)
    result, printed = documents.pop("build")
    assert result == printed
    assert result["counts"] == {"reused": STEPS, "executed": 0, "failed": 0}
    for command, document in documents.items():
        printed = machine.run(*command.split(), "--json", folder=project).out
        assert json.loads(printed) == document, command


QUESTIONS = """
check = bxcache.build(call="check")
outline = bxcache.build(call="outline", build_args={"VERSION": "2"})
try:
    bxcache.build("nowhere", call="check")
except bxcache.BuildFailedError as error:
    failed = [error.exit_status, str(error)]
print(json.dumps([check.exit_status, check.to_dict(), outline.to_dict(), failed]))
"""


def test_a_question_has_an_answer_in_python(machine: Machine, project: Path) -> None:
    """A call returns docker's document and status; a question without an answer raises."""
    with (project / "Dockerfile").open("a") as dockerfile:
        dockerfile.write("ARG VERSION=1\nRUN echo $VERSION\nmaintainer me\n")
    raw = machine.raw("--call=check,format=json", ".", folder=project, check=False)
    status, check, outline, failed = run_program(QUESTIONS, machine, project)
    # Docker lists warnings in any order.
    names, wanted = (
        sorted(each["ruleName"] for each in document["warnings"])
        for document in (check, json.loads(raw.stdout))
    )
    assert (status, names) == (raw.returncode, wanted)
    assert "MaintainerDeprecated" in names
    assert {each["name"]: each["value"] for each in outline["args"]} == {"VERSION": "2"}
    assert failed[0]
    assert "nowhere" in failed[1]


STOPPED = """
import threading, time
from pathlib import Path
from tests.real.test_python import wait_for, list_clients, list_sleepers
cancel, seen = threading.Event(), []

def observe(*found):
    if isinstance(found[-1], bxcache.StepStarted) and "sleep" in found[-1].step.text:
        seen.append(wait_for(lambda: list_clients(Path.cwd()) and list_sleepers()))
        if {by_event}:
            cancel.set()

begun = time.monotonic()
try:
    found = {call}
except bxcache.StoppedError as error:
    found = error
else:
    found = found["app"].error
again = bxcache.build(network="none", target="deps", strict=True)
print(json.dumps({{
    "seconds": time.monotonic() - begun,
    "error": [type(found).__name__, str(found), found.exit_status],
    "damages": len(bxcache.Store(again.caches[0].place).verify(full=True).damages),
    "threads": [each.name for each in threading.enumerate()],
    "steps": len(again.steps),
    "seen": seen,
}}))
"""
LIMIT = 15
"""Seconds in which a step begins, on a slow machine too."""
OWN = 'network="none", timeout={timeout}, cancel=cancel, observe=observe'
CALLS = {
    "build": f"bxcache.build({OWN})",
    "images": f'bxcache.build_images("app", {OWN})',
    "bake": f'bxcache.bake("app", {OWN})'.replace('network="none", ', ""),
}


def list_clients(folder: Path) -> list[str]:
    """List the processes of docker that work in a folder."""
    found = []
    for each in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (each / "cwd").readlink() == folder and b"docker" in (each / "cmdline").read_bytes():
                found.append(each.name)
    return found


def list_sleepers() -> str:
    """List the processes of the step that sleeps."""
    words = ("pgrep", "-fx", "sleep 61")
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout


def wait_for(is_true: Callable[[], object]) -> bool:
    """Wait some seconds for something to become true; whether it did."""
    end = time.monotonic() + 10
    while not is_true() and time.monotonic() < end:
        time.sleep(0.1)
    return bool(is_true())


@pytest.mark.parametrize(
    ("call", "timeout"), [("build", LIMIT), ("build", None), ("images", LIMIT), ("bake", None)]
)
def test_a_build_can_be_stopped(
    call: str, timeout: int | None, machine: Machine, project: Path
) -> None:
    """A time limit and an event stop docker and its steps; the store stays whole and usable."""
    with (project / "Dockerfile").open("a") as dockerfile:
        dockerfile.write(f"RUN sleep 61 # {project}\n")
    (project / "bxcache.toml").write_text('[images.app]\ntags = ["app"]\n')
    (project / "docker-bake.hcl").write_text('target "app" {\n  network = "none"\n}\n')
    text = STOPPED.format(call=CALLS[call].format(timeout=timeout), by_event=timeout is None)
    found = run_program(text, machine, project)
    why = f"took longer than {timeout} s" if timeout else "was canceled"
    name, said, status = found["error"]
    assert (name, status) == ("StoppedError", 71)
    assert why in said
    assert found["seconds"] < 60
    assert found["damages"] == 0
    assert found["threads"] == ["MainThread"]
    assert found["steps"] == 5
    # Docker's client and the step ran, and are gone.
    assert found["seen"] == [True]
    assert wait_for(lambda: not (list_clients(project) or list_sleepers()))


def test_every_snippet_of_the_page_runs(machine: Machine, project: Path) -> None:
    """The snippets of the page run one after the other, in a project that has their parts."""
    folder = project.parent
    (folder / "bxcache.toml").write_text(
        '[build]\ncontext = "app"\nnetwork = "none"\n'
        '[images.api]\n[images.worker]\ntarget = "check"\n'
    )
    (folder / "docker-bake.hcl").write_text(
        'target "web" {\n  context = "app"\n  network = "none"\n}\n'
    )
    snippets = [text for place, text in list_fences("python") if place.startswith("python.md")]
    assert len(snippets) > 8
    # A timer must not keep the program from ending.
    program = "\n".join(snippets).replace("threading.Timer(600, cancel.set)", "threading.Thread()")
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env={**machine.environment(), "TOKEN": "t"},
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{STEPS} steps" in done.stdout or "required" in done.stdout
