"""Several images of one repository, built side by side on a real engine."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from bxcache.store.store import Store
from tests.engines import busybox_image
from tests.real.drawings import list_stages
from tests.real.machines import Machine, count
from tests.real.test_examples import check_out
from tests.support.job_logs import list_others, read_github
from tests.support.terminal import Terminal
from tests.unit.places.recordings import read_recording

if TYPE_CHECKING:
    from pathlib import Path

    from tests.real.conftest import MakeMachine

NAMES = ["api", "worker", "web"]
WORDS = ("--network", "none", "--build-context")


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A checkout of the example with three images and one store."""
    checkout = check_out("monorepo", tmp_path)
    # Other tests build the same example on the same engine.
    (checkout / "common" / "own.txt").write_text(f"{tmp_path}\n")
    return checkout


def words(*more: str) -> tuple[str, ...]:
    return (*WORDS, f"busybox=oci-layout://{busybox_image().layout}", *more)


def build_all(machine: Machine, shop: Path, *more: str, status: int = 0) -> dict[str, Any]:
    ran = machine.run("build", "--all", "--json", *words(*more), folder=shop, status=status)
    document: dict[str, Any] = json.loads(ran.out)
    return document


@pytest.mark.parametrize("kind", ["docker", "docker-container"])
def test_three_images_have_three_scopes(kind: str, machines: MakeMachine, shop: Path) -> None:
    """A fresh machine reuses every step of three images, each from a scope of its own."""
    first = build_all(machines(kind), shop)
    assert list(first["images"]) == NAMES
    assert first["exit_status"] == 0
    scopes = Store(shop / ".bxcache").read_scopes()
    assert sorted(name.partition(".")[0] for name in scopes) == sorted(NAMES)
    second = build_all(machines(kind), shop)
    for name, document in second["images"].items():
        # A step that several images share is built once and listed once.
        assert count(document) == (len(first["images"][name]["steps"]), 0), name
        assert document["warnings"] == []
        assert document["caches"][-1]["scope"].startswith(f"{name}.")


def test_images_are_named_on_the_command_line(machine: Machine, shop: Path) -> None:
    """A name selects an image even if a folder has that name; a path selects the folder."""
    machine.run("build", *words("web", "api"), folder=shop)
    assert sorted(Store(shop / ".bxcache").read_scopes()) == [
        "api.linux-amd64.no-branch",
        "web.site.linux-amd64.no-branch",
    ]
    document = machine.build("--build-context", words()[3], "api", folder=shop)
    assert document["caches"][-1]["scope"] == "api.linux-amd64.no-branch"
    shown = machine.run("build", "--dry-run", "./api", folder=shop).out
    assert "./api" in shown


def test_a_failing_image_does_not_affect_the_others(
    machine: Machine, shop: Path, tmp_path: Path
) -> None:
    """The other images are saved; docker's status and message are shown outside of the fold."""
    with (shop / "worker" / "Dockerfile").open("a") as file:
        file.write("RUN echo ::endgroup:: && echo '##[error]why' && exit 3\n")
    job = read_recording("github").write(tmp_path)
    options = ("--all", "--json", "--report", "report.html", "--log", "build.log")
    ran = machine.run("build", *options, *words(), folder=shop, status=1, **job)
    document = json.loads(ran.out)
    assert {name: each["exit_status"] for name, each in document["images"].items()} == {
        "api": 0,
        "worker": 1,
        "web": 0,
    }
    assert "exit code: 3" in document["images"]["worker"]["error"]
    scopes = Store(shop / ".bxcache").read_scopes()
    assert sorted(name.partition(".")[0] for name in scopes) == ["api", "web"]
    shown = read_github(ran.err)
    [begun, ended, note] = shown.obeyed
    assert (begun, ended) == ("::group::docker buildx build", "::endgroup::")
    assert re.match("::error file=worker/Dockerfile,line=[0-9]+,title=worker%3A ", note)
    assert {line.partition(" ")[0] for line in shown.folded} == set(NAMES)
    assert re.fullmatch(r"log of worker \| \[\S+ \d/\d\] RUN echo .*:", list_others(shown.open)[-3])
    assert list_others(shown.open)[-2:] == [": :endgroup::", "# #[error]why"]
    for name in NAMES:
        assert f"{name}." in (shop / f"report.{name}.html").read_text()
        assert '"vertexes"' in (shop / f"build.{name}.log").read_text()


def test_several_images_are_drawn_on_one_terminal(machine: Machine, shop: Path) -> None:
    """Each stage is drawn with its image, before the results and the log of the failed image."""
    with (shop / "worker" / "Dockerfile").open("a") as file:
        file.write("RUN sleep 2 && echo why && exit 3\n")
    terminal = Terminal(80, 24)
    command = machine.command(sys.executable, "-m", "bxcache", "build", *words("api", "worker"))
    environment = machine.environment(TERM="xterm-256color")
    assert terminal.run(command, folder=shop, environment=environment) == 1
    drawn = {name.split()[0] for screen in terminal.seen for name in list_stages(screen)}
    assert drawn == {"api", "worker"}
    lines = [line for line in terminal.all_lines if line]
    assert not [line for line in lines if line.startswith(("> ", "+ ", "= "))]
    assert lines[-1] == "why"
    assert lines[-2].startswith("log of worker | [")
    assert any(line.startswith("2 images: 1 built, 1 failed, in ") for line in lines)
    assert not terminal.is_cursor_hidden


def test_fail_fast_stops_the_others(machine: Machine, shop: Path) -> None:
    """`--fail-fast` stops the other images long before they would end."""
    for name in ("api", "web"):
        file = shop / name / "Dockerfile"
        file.write_text(file.read_text().replace("RUN mkdir", "RUN sleep 300; mkdir"))
    with (shop / "worker" / "Dockerfile").open("a") as dockerfile:
        dockerfile.write("RUN exit 3\n")
    begun = time.monotonic()
    document = build_all(machine, shop, "--fail-fast", status=1)
    assert time.monotonic() - begun < 120
    assert [each["exit_status"] for each in document["images"].values()] == [71, 1, 71]
    assert list(Store(shop / ".bxcache").read_scopes()) == []


def test_ctrl_c_stops_them_all(machine: Machine, shop: Path) -> None:
    """After Ctrl-C, no docker process and no staging layout is left."""
    for name in NAMES:
        file = shop / name / "Dockerfile"
        file.write_text(file.read_text().replace("RUN mkdir", "RUN sleep 300; mkdir"))
    with machine.start("build", "--all", *words(), folder=shop) as process:
        assert process.stderr is not None
        waiting = set(NAMES)
        for line in process.stderr:
            if "started" in line and "sleep 300" in line:
                waiting.discard(line.partition(" ")[0])
            if not waiting:
                break
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    left = subprocess.run(["pgrep", "-f", str(shop)], capture_output=True, text=True, check=False)
    assert left.stdout == ""
    assert list((shop / ".bxcache" / ".bxcache" / "staging").iterdir()) == []


def test_a_tag_for_several_images_is_refused(machine: Machine, shop: Path) -> None:
    """A tag that several images would write is refused before anything runs."""
    said = machine.run("build", "--all", *words("-t", "shop/one"), folder=shop, status=78).err
    assert "`shop/one` would be written by `api`, `worker` and `web`" in said
    assert not (shop / ".bxcache").exists()
