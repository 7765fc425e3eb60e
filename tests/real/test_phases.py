"""Tests of what a real build's time is spent on."""

from __future__ import annotations

import time
from itertools import product
from pathlib import Path

import pytest

from tests.engines import Registry, busybox_context
from tests.real.conftest import MakeMachine
from tests.real.repositories import git
from tests.support.sampling import more

MOST_UNEXPLAINED = 0.05
STAGES = """
FROM base AS noise
RUN sleep 1; head -c 20000000 /dev/urandom > /noise
FROM base
COPY --from=noise /noise /noise
COPY note /note
"""
OUTPUTS = {
    "loaded": (["--tag", "app"], {"layers", "image", "unpack"}),
    "pushed": (["--tag", "{address}/app", "--push"], {"layers", "image", "push"}),
    "oci file": (["--output", "type=oci,dest={folder}/app.tar"], {"layers", "load"}),
    "files": (["--output", "type=local,dest={folder}/files"], {"load"}),
}
CACHES = {
    "local": ("type=local,dir={folder}/store", {"save", "commit"}),
    "registry": ("type=registry,ref={address}/cache", {"save", "commit"}),
    "inline": ("type=inline,ref={address}/inline,stages=all", {"rerun", "commit"}),
}
PAIRS = [*zip([*CACHES] * 2, [*OUTPUTS] * 2, strict=False)]
"""Each cache with two outputs, each output with a cache."""


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """Make an application whose build takes a second."""
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "Dockerfile").write_text(busybox_context(folder) + STAGES)
    (folder / "note").write_text("first")
    # Where git says that files changed, the build itself saves to a registry.
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "first")
    return folder


@pytest.mark.parametrize(
    ("cache", "output"), [*PAIRS, *more(*sorted({*product(CACHES, OUTPUTS)} - {*PAIRS}))]
)
def test_the_time_of_a_build_is_explained(
    cache: str, output: str, machines: MakeMachine, registry: Registry, app: Path
) -> None:
    """The phases add up to the time that passed, and 5 % of it at most have no name. A first build
    runs steps; the next one, on a new machine and with a changed file, fetches layers.
    """
    backend, saving = CACHES[cache]
    words, exporting = OUTPUTS[output]
    known = {"folder": str(app.parent), "address": f"{registry.address}/{app.parent.name}"}
    options = [each.format(**known) for each in ("--backend", backend, *words)]
    moved: dict[str, int] = {}
    for number, expected in enumerate([{"steps", "context"}, {"steps", "fetch", "import"}]):
        (app / "note").write_text(f"build {number}")
        machine = machines("docker")
        began = time.monotonic()
        built = machine.build(*options, folder=app)
        took = time.monotonic() - began
        phases = {each["name"]: each["seconds"] for each in built["phases"]}
        assert not built["warnings"]
        assert sum(phases.values()) == pytest.approx(built["seconds"], abs=0.02)
        worked = sum(step["seconds"] for step in built["steps"] if step["outcome"] == "executed")
        assert worked <= built["seconds"] <= took
        assert phases.get("other", 0.0) < MOST_UNEXPLAINED * built["seconds"], phases
        assert expected | exporting | saving | {"start", "docker"} <= phases.keys(), phases
        moved = {each["name"]: each["bytes"] for each in built["phases"]}
    # The noise cannot be compressed, and the new machine needs all of it. BuildKit does not always
    # report the bytes of what it reads from a registry.
    assert moved["fetch"] > (20_000_000 if cache == "local" else 0)
