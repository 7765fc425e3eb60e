"""A backend that is registered from outside works like any other, with one file and one line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.engines import busybox_context
from tests.real.bakes import forget

if TYPE_CHECKING:
    from tests.real.machines import Machine

TOY = Path(__file__).parents[1] / "support" / "toy_backend.py"
STAGES = """\
FROM base AS deps
RUN echo deps > /deps
FROM base
COPY --from=deps /deps /deps
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose only cache is the toy."""
    folder = tmp_path / "project"
    (folder / ".git").mkdir(parents=True)
    (folder / "Dockerfile").write_text(busybox_context(folder) + STAGES)
    toy = tmp_path / "toy"
    (folder / "bxcache.toml").write_text(
        f"[[cache.backends]]\ntype = 'toy'\nfolder = '{toy}'\n[build]\nnetwork = 'none'\n"
    )
    return folder


def play(machine: Machine, project: Path, *words: str, status: int = 0) -> str:
    """Run bxcache with the toy, and return all that it printed."""
    ran = subprocess.run(
        [sys.executable, str(TOY), *words],
        cwd=project,
        env=machine.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == status, ran.stderr
    return ran.stdout if "--json" in words else ran.stdout + ran.stderr


def test_a_backend_from_outside_works_everywhere(machine: Machine, project: Path) -> None:
    """A backend from outside is validated, shown, saved to, read and named in every view."""
    name = "the toy `image.linux-amd64.no-branch`"
    assert "cache.backends[0].folder" in play(machine, project, "config", "show")
    preview = play(machine, project, "build", "--dry-run")
    assert f"candidate {name}" in preview
    assert "the toy is away" in preview
    assert "put it back" in preview
    assert f"to {name}" in play(machine, project, "build")
    document = json.loads(play(forget(machine, project), project, "build", "--json"))
    assert document["counts"]["executed"] == 0
    assert [each["backend"] for each in document["caches"]] == ["toy"]
    assert document["caches"][0]["imported"]
    assert "RUN echo deps" in play(machine, project, "history")
    assert "toy" in play(machine, project, "report")
    assert "no registry is declared" in play(machine, project, "registry", "ls", status=78)


def test_the_declaration_of_a_backend_is_checked(machine: Machine, project: Path) -> None:
    """An unknown key and an unregistered type are configuration errors."""
    file = project / "bxcache.toml"
    file.write_text(file.read_text().replace("folder", "directory"))
    text = play(machine, project, "build", status=78)
    assert "cache.backends[0].directory: is unknown" in text
    assert "cache.backends[0].folder: is required" in text
    assert "`toy` is not a backend" in machine.run("build", folder=project, status=78).err
