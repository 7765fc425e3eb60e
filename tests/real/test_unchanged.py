"""Unchanged builds with a local store: nothing is exported that is there."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.engines import busybox_context
from tests.real.conftest import MakeMachine
from tests.real.machines import Machine

DOCKERFILE = """
FROM base AS notes
COPY notes /notes
RUN sort /notes > /sorted
FROM base
COPY --from=notes /sorted /sorted
"""
EXPORTING = "exporting cache to client directory"


def git(*words: str, folder: Path) -> None:
    who = ("-c", "user.name=t", "-c", "user.email=t@example.com")
    subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Make a git checkout of an application."""
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "Dockerfile").write_text(busybox_context(folder) + DOCKERFILE)
    (folder / "notes").write_text("b\na\n")
    git("init", "-q", "-b", "main", folder=folder)
    git("add", ".", folder=folder)
    git("commit", "-qm", "first", folder=folder)
    return folder


def build(machine: Machine, folder: Path, store: Path) -> tuple[dict[str, Any], int]:
    """Build from an emptied builder; return the document, and how often BuildKit exported."""
    machine.docker("buildx", "prune", "--all", "--force", folder=folder)
    log = store.parent / "log"
    words = ("--backend", f"type=local,dir={store}", "--tag", "app", "--log", str(log))
    built = machine.build(*words, folder=folder)
    phases = {each["name"] for each in built["phases"]}
    return built, (EXPORTING in log.read_text()) + ("rerun" in phases)


@pytest.mark.parametrize("kind", ["docker", "oldest"])
def test_an_unchanged_checkout_is_not_exported_again(
    kind: str, machines: MakeMachine, checkout: Path, tmp_path: Path
) -> None:
    """A build of the same files from its own scope exports nothing, if nothing is new; a build of
    other files exports, also when git alone could not tell.
    """
    machine, store = machines(kind), tmp_path / "store"
    first, exports = build(machine, checkout, store)
    assert exports == 1
    digest = first["caches"][0]["digest"]

    for _ in range(2):
        again, exports = build(machine, checkout, store)
        (cache,) = again["caches"]
        assert again["counts"]["executed"] == 0
        assert (cache["digest"], cache["unchanged"], again["warnings"]) == (digest, True, [])
        # buildx before 0.14 does not report layers, so that it exports in another run.
        assert exports == (kind == "oldest")

    # Git does not see this change, so the guess is wrong.
    (checkout / ".git" / "info" / "exclude").write_text("notes\n")
    git("rm", "-q", "--cached", "notes", folder=checkout)
    git("commit", "-qm", "second", folder=checkout)
    build(machine, checkout, store)
    (checkout / "notes").write_text("d\nc\n")
    changed, exports = build(machine, checkout, store)
    (cache,) = changed["caches"]
    assert changed["counts"]["executed"] == 3
    assert (cache["exported"], cache["unchanged"], changed["warnings"]) == (True, False, [])
    assert exports == 1
    fresh = machines(kind).build("--backend", f"type=local,dir={store}", folder=checkout)
    assert (fresh["counts"]["executed"], fresh["counts"]["reused"]) == (0, 5)
