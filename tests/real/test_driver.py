"""Tests of the driver with a misbehaving docker: real processes, no engine."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from bxcache import process
from bxcache.buildx import driver
from bxcache.buildx.command import Command
from bxcache.buildx.driver import Docker
from bxcache.buildx.run import Runner, run_quietly
from bxcache.errors import EngineError
from bxcache.process import run
from bxcache.redaction import Redactor


def script(folder: Path, text: str) -> Docker:
    """Write a docker that is a shell script."""
    path = folder / "docker"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return Docker((str(path),))


def alive(folder: Path) -> bool:
    """Whether any running process names the folder."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(folder).encode() in path.read_bytes():
                return True
        except OSError:
            continue
    return False


def build(docker: Docker, folder: Path, stdout: int | None = None) -> tuple[int, list[str]]:
    """Run a build to its end."""
    with run(
        (*docker.command, "x"), variables={"A": "b"}, directory=folder, stdout=stdout
    ) as process:
        lines = list(process.read_lines())
        return process.wait(), lines


def interrupt(docker: Docker, folder: Path) -> None:
    """Start a build, wait for its first line, then press Ctrl-C."""
    with run(docker.command, variables={}, directory=folder, stdout=None) as process:
        next(process.read_lines())
        raise KeyboardInterrupt


def test_lines_and_status_are_dockers(tmp_path: Path) -> None:
    """Docker's stderr and exit status are passed on."""
    docker = script(tmp_path, 'echo "one $A $1" >&2; printf "last" >&2; exit 17')
    assert build(docker, tmp_path) == (17, ["one b x", "last"])


def test_nothing_is_left_of_a_build(tmp_path: Path) -> None:
    """The guard process is gone before the block ends."""
    docker = script(tmp_path, "echo up >&2; read -r line")
    # What another test has left may still be there, and may end meanwhile.
    others = find_guards()
    with run(docker.command, variables={}, directory=tmp_path, stdout=None, fed=True) as running:
        next(running.read_lines())
        (guard,) = find_guards() - others
        running.feed(b"go on")
        running.wait()
    assert guard not in find_guards()


def find_guards() -> set[str]:
    """Find the processes that wait for the end of this one."""
    parent = f"PPid:\t{os.getpid()}\n".encode()
    found = [each for each in Path("/proc").glob("[0-9]*") if parent in _read(each / "status")]
    return {each.name for each in found if b"kill -9" in _read(each / "cmdline")}


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_docker_has_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Docker gets `TRACEPARENT`, which buildx uses for its own spans."""
    context = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    monkeypatch.setenv("TRACEPARENT", context)
    docker = script(tmp_path, 'echo "$TRACEPARENT" >&2')
    assert build(docker, tmp_path) == (0, [context])


def test_a_status_by_signal_is_that_of_a_shell(tmp_path: Path) -> None:
    """If a signal ends docker, the status is 128 plus the signal."""
    assert build(script(tmp_path, "kill -9 $$"), tmp_path)[0] == 137


def test_invalid_utf8_is_replaced(tmp_path: Path) -> None:
    """Bytes of a step that are not valid text are replaced."""
    assert build(script(tmp_path, "printf 'a\\377b\\n' >&2"), tmp_path)[1] == ["a\ufffdb"]


def test_an_interrupted_build_is_stopped_in_order(tmp_path: Path) -> None:
    """An interrupted build gets SIGINT, and time to finish."""
    note = tmp_path / "note"
    text = f'trap "echo stopped > {note}; exit 130" INT; echo up >&2; while :; do sleep 0.1; done'
    docker = script(tmp_path, text)
    with pytest.raises(KeyboardInterrupt):
        interrupt(docker, tmp_path)
    assert note.read_text() == "stopped\n"
    assert not alive(tmp_path)


def test_a_build_that_ignores_signals_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A build that ignores signals is killed after its time, even if it keeps printing."""
    steps = ((signal.SIGINT, 0.3), (signal.SIGTERM, 0.3), (signal.SIGKILL, 5))
    monkeypatch.setattr(process, "_SECONDS_TO_STOP", steps)
    docker = script(tmp_path, "trap '' INT TERM; while :; do echo more >&2; sleep 0.01; done")
    with pytest.raises(KeyboardInterrupt):
        interrupt(docker, tmp_path)
    assert not alive(tmp_path)


def test_a_docker_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A docker that hangs causes one error and leaves no process."""
    monkeypatch.setattr(driver, "_SECONDS_TO_ANSWER", 0.5)
    docker = script(tmp_path, "exec sleep 1000")
    with (
        pytest.raises(EngineError, match="did not answer within"),
        docker.probe("") as probe,
    ):
        probe.wait(lambda: None)
    assert not alive(tmp_path)


def test_an_abandoned_probe_leaves_no_process(tmp_path: Path) -> None:
    """A probe that any error ends leaves no process."""
    docker = script(tmp_path, "exec sleep 1000")
    with pytest.raises(ZeroDivisionError), docker.probe(""):
        raise ZeroDivisionError
    assert not alive(tmp_path)


def test_a_slow_builder_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wait for a slow builder is reported once."""
    monkeypatch.setattr(driver, "_SECONDS_BEFORE_WAITING_IS_SAID", 0.2)
    text = '[ "$1" = buildx ] && sleep 1 && echo "Name: slow" && echo "Driver: remote"; exit 0'
    said: list[str] = []
    with script(tmp_path, text).probe("slow") as probe:
        found = probe.wait(lambda: said.append("waiting"))
    assert found.builder.driver == "remote"
    assert said == ["waiting"]


SLEEPER = """\
[ "$1" = version ] && exec echo '{"Client":{"Version":"28"},"Server":{"Version":"28"}}'
echo "$@" >> LOG
echo "Name: $3"; echo "Driver: docker-container"; echo; echo "Nodes:"; echo "Name: node"
case "$*" in *--bootstrap*) echo "Status: running";; *) echo "Status: inactive";; esac
"""


@pytest.mark.parametrize(("boot", "asked"), [(True, 2), (False, 1)])
def test_a_sleeping_builder_is_started_for_a_build_only(
    boot: bool,  # noqa: FBT001
    asked: int,
    tmp_path: Path,
) -> None:
    """A build starts a sleeping builder, and a dry run does not."""
    docker = script(tmp_path, SLEEPER.replace("LOG", str(tmp_path / "log")))
    with docker.probe("mine") as ahead:
        docker.learn(ahead, "mine", boot=boot, on_slow=lambda: None)
    lines = (tmp_path / "log").read_text().splitlines()
    assert lines == ["buildx inspect mine", "buildx inspect --bootstrap mine"][:asked]


def test_an_unexpected_builder_is_inspected(tmp_path: Path) -> None:
    """Docker is asked about the builder that the config file names, even if it is not expected."""
    docker = script(tmp_path, SLEEPER.replace("LOG", str(tmp_path / "log")))
    with docker.probe("") as ahead:
        found, _ = docker.learn(ahead, "mine", boot=False, on_slow=lambda: None)
    assert found.builder.name == "mine"


def quiet_run(docker: Docker, folder: Path, seconds: float) -> tuple[float, str]:
    """Save with a fake docker; return its duration, and why it ended early."""
    command = Command(("buildx", "build", "."), folder / "none.json")
    unused: Any = None
    runner = Runner(
        docker, unused, unused, folder, (), folder, Redactor(), lambda _: None, lambda *_: command
    )
    begun = time.monotonic()
    _, ended = run_quietly(runner, command, seconds)
    return time.monotonic() - begun, ended


def test_saving_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    """Saving that takes too long is stopped and leaves no process."""
    took, ended = quiet_run(script(tmp_path, "exec sleep 1000"), tmp_path, 0.5)
    assert took < 30
    assert "took longer than" in ended
    assert not alive(tmp_path)


def test_saving_that_would_build_anew_is_stopped(tmp_path: Path) -> None:
    """A builder that evicted a step does not build it twice."""
    vertex = {"digest": "sha256:1", "name": "[1/1] RUN make", "started": "2026-01-01T00:00:00Z"}
    line = json.dumps({"vertexes": [vertex]})
    docker = script(tmp_path, f"echo '{line}' >&2; exec sleep 1000")
    _, ended = quiet_run(docker, tmp_path, 1000)
    why = "evicted from the builder, or the context changed"
    assert ended == f"`[stage-0 1/1] RUN make` would run again ({why})"
    assert not alive(tmp_path)
