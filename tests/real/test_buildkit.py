"""A BuildKit without Docker: Dockerfiles that name their frontend, and caches of another version.

An engine of the tests has no network for the frontend's container.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from tests.real.rebuilds import name_store, rebuild, write_base, write_files, write_new

if TYPE_CHECKING:
    from pathlib import Path

    from tests.real.machines import Machine
    from tests.real.stages import Shelf

FRONTEND = os.environ.get("BXCACHE_TEST_FRONTEND", "docker/dockerfile:1")
DOCKERFILE = """\
FROM base AS deps
COPY requirements.txt .
RUN sort requirements.txt > /deps
FROM base
COPY --from=deps /deps /deps
COPY app /app
RUN <<EOF
ls /app > /built
EOF
"""


def push_frontend(machine: Machine, shelf: Shelf, folder: Path, version: int) -> str:
    """Push a frontend that is like no other version of it, and return its name."""
    name = f"{shelf.ref}:frontend"
    folder.mkdir(exist_ok=True)
    (folder / "Dockerfile").write_text(f"FROM {FRONTEND}\nLABEL version={version}\n")
    output = f"type=image,name={name},push=true,registry.insecure=true"
    machine.raw("--output", output, ".", folder=folder)
    return name


def write_application(folder: Path) -> None:
    """Write an application."""
    write_base(folder, DOCKERFILE)
    write_files(folder, ("requirements.txt", "app/main.py"))


def make_application(machine: Machine, shelf: Shelf, folder: Path) -> tuple[Path, str]:
    """Make an application whose Dockerfile names its frontend; return both."""
    app = write_new(folder, write_application)
    name = push_frontend(machine, shelf, folder / "frontend", 1)
    dockerfile = app / "Dockerfile"
    dockerfile.write_text(f"# syntax={name}\n{dockerfile.read_text()}")
    return app, name


def list_causes(document: dict[str, Any]) -> list[tuple[str, str]]:
    """List the step and the cause of each change."""
    return [
        (miss["text"], each["cause"]) for miss in document["misses"] for each in miss["changes"]
    ]


def test_a_frontend_that_moved_is_no_cause_where_it_builds_the_same(
    buildkit: Machine, tmp_path: Path, shelf: Shelf
) -> None:
    """Every step is reused with another version of the frontend, and an edit is the only cause."""
    app, _ = make_application(buildkit, shelf, tmp_path)
    assert rebuild(buildkit, app)["counts"]["executed"] == 8
    for version in (1, 2):
        push_frontend(buildkit, shelf, tmp_path / "frontend", version)
        document = rebuild(buildkit, app)
        assert (document["counts"]["executed"], document["misses"]) == (0, [])
    push_frontend(buildkit, shelf, tmp_path / "frontend", 3)
    (app / "app" / "main.py").write_text("new")
    assert list_causes(rebuild(buildkit, app)) == [("COPY app /app", "content")]


def test_a_failed_build_with_a_frontend_is_salvaged(
    buildkit: Machine, tmp_path: Path, shelf: Shelf
) -> None:
    app, _ = make_application(buildkit, shelf, tmp_path)
    dockerfile = app / "Dockerfile"
    text = dockerfile.read_text()
    dockerfile.write_text(f"{text}RUN exit 3\n")
    failed = rebuild(buildkit, app, status=1)
    assert [each["salvaged"] for each in failed["caches"]] == [8]
    dockerfile.write_text(f"{text}RUN true\n")
    assert rebuild(buildkit, app)["counts"] == {"reused": 8, "executed": 1, "failed": 0}


def test_a_prediction_does_not_trust_a_frontend_that_may_move(
    buildkit: Machine, tmp_path: Path, shelf: Shelf
) -> None:
    app, name = make_application(buildkit, shelf, tmp_path)
    rebuild(buildkit, app)
    store = name_store(app)
    shown = buildkit.run("predict", ".", *store, "--network", "none", folder=app).out
    assert shown.startswith("8 of 8 steps would be reused")
    assert f"if the frontend `{name}` has not moved" in shown


def test_a_cache_serves_another_version_of_buildkit(
    buildkit: Machine, machine: Machine, tmp_path: Path
) -> None:
    """What one BuildKit has saved, the other one reuses, a failed build included."""
    for first, second in ((buildkit, machine), (machine, buildkit)):
        folder = tmp_path / (first.builder or "docker")
        folder.mkdir()
        app = write_new(folder, write_application)
        text = (app / "Dockerfile").read_text()
        (app / "Dockerfile").write_text(f"{text}RUN exit 3\n")
        assert rebuild(first, app, status=1)["caches"][0]["salvaged"] == 8
        (app / "Dockerfile").write_text(f"{text}RUN true\n")
        assert rebuild(second, app)["counts"] == {"reused": 8, "executed": 1, "failed": 0}
        assert rebuild(first, app)["counts"] == {"reused": 9, "executed": 0, "failed": 0}
