"""Several images of one repository, side by side on a real engine."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest

from bxcache.store.store import Store
from tests.engines import busybox_image
from tests.real.machines import Machine, count
from tests.real.test_examples import check_out

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
    """A fresh machine then executes nothing of any of them."""
    first = build_all(machines(kind), shop)
    assert list(first["images"]) == NAMES
    assert first["exit_status"] == 0
    scopes = Store(shop / ".bxcache").read_scopes()
    assert sorted(name.partition(".")[0] for name in scopes) == sorted(NAMES)
    second = build_all(machines(kind), shop)
    for name, document in second["images"].items():
        # What several have in common is built once, and no step is told of twice.
        assert count(document) == (len(first["images"][name]["steps"]), 0), name
        assert document["warnings"] == []
        assert document["caches"][-1]["scope"].startswith(f"{name}.")


def test_images_are_named_on_the_command_line(machine: Machine, shop: Path) -> None:
    """Two of them; one, which has a folder of the same name; and that folder itself."""
    machine.run("build", *words("web", "api"), folder=shop)
    assert sorted(Store(shop / ".bxcache").read_scopes()) == [
        "api.linux-amd64.no-branch",
        "web.site.linux-amd64.no-branch",
    ]
    document = machine.build("--build-context", words()[3], "api", folder=shop)
    assert document["caches"][-1]["scope"] == "api.linux-amd64.no-branch"
    shown = machine.run("build", "--dry-run", "./api", folder=shop).out
    assert "./api" in shown


def test_one_that_fails_leaves_the_others_alone(machine: Machine, shop: Path) -> None:
    """They are saved; docker's own status and words are told."""
    with (shop / "worker" / "Dockerfile").open("a") as file:
        file.write("RUN exit 3\n")
    document = build_all(machine, shop, status=1)
    assert {name: each["exit_status"] for name, each in document["images"].items()} == {
        "api": 0,
        "worker": 1,
        "web": 0,
    }
    assert "exit code: 3" in document["images"]["worker"]["error"]
    scopes = Store(shop / ".bxcache").read_scopes()
    assert sorted(name.partition(".")[0] for name in scopes) == ["api", "web"]


def test_the_others_are_stopped_where_that_is_asked_for(machine: Machine, shop: Path) -> None:
    """Long before they would be done."""
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
    """No docker is left that builds, and no staging layout."""
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
        process.communicate(timeout=60)
    assert process.returncode == 130
    left = subprocess.run(["pgrep", "-f", str(shop)], capture_output=True, text=True, check=False)
    assert left.stdout == ""
    assert list((shop / ".bxcache" / ".bxcache" / "staging").iterdir()) == []


def test_what_would_be_written_twice_is_refused(machine: Machine, shop: Path) -> None:
    """Before anything runs."""
    said = machine.run("build", "--all", *words("-t", "shop/one"), folder=shop, status=78).err
    assert "`shop/one` would be written by `api`, `worker` and `web`" in said
    assert not (shop / ".bxcache").exists()
