"""Unchanged builds: nothing is exported that is there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.engines import Registry, busybox_context
from tests.real.conftest import MakeMachine
from tests.real.machines import Machine
from tests.real.repositories import git

DOCKERFILE = """
FROM base AS notes
COPY notes /notes
RUN sort /notes > /sorted
FROM base
COPY --from=notes /sorted /sorted
"""
EXPORTING = "exporting cache to client directory"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Make a git checkout of an application."""
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "Dockerfile").write_text(busybox_context(folder) + DOCKERFILE)
    (folder / "notes").write_text("b\na\n")
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "first")
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
    git(checkout, "rm", "-q", "--cached", "notes")
    git(checkout, "commit", "-qm", "second")
    build(machine, checkout, store)
    (checkout / "notes").write_text("d\nc\n")
    changed, exports = build(machine, checkout, store)
    (cache,) = changed["caches"]
    assert changed["counts"]["executed"] == 3
    assert (cache["exported"], cache["unchanged"], changed["warnings"]) == (True, False, [])
    assert exports == 1
    fresh = machines(kind).build("--backend", f"type=local,dir={store}", folder=checkout)
    assert (fresh["counts"]["executed"], fresh["counts"]["reused"]) == (0, 5)


def test_a_registry_is_saved_by_the_build_itself(
    machines: MakeMachine, checkout: Path, registry: Registry, tmp_path: Path
) -> None:
    """Docker runs once for a build: it exports what is new, and nothing if nothing is new.

    A wrong guess exports what is there, and is made right for the next build.
    """
    machine = machines("docker")
    ref, log = f"{registry.address}/{tmp_path.name.lower()}", tmp_path / "log"

    def build(*more: str) -> tuple[bool, dict[str, Any], dict[str, Any]]:
        """Build from an emptied builder; whether the build itself exported its cache."""
        machine.docker("buildx", "prune", "--all", "--force", folder=checkout)
        words = ("--backend", f"type=registry,ref={ref}", "--log", str(log), *more)
        built = machine.build(*words, folder=checkout)
        assert built["warnings"] == []
        assert "rerun" not in {each["name"] for each in built["phases"]}
        *_, cache = built["caches"]
        return "exporting cache to registry" in log.read_text(), cache, built

    exports, first, _ = build()
    assert (exports, first["exported"]) == (True, True)
    exports, same, built = build()
    assert (exports, same["unchanged"], same["digest"]) == (False, True, first["digest"])
    assert built["counts"]["executed"] == 0

    (checkout / "notes").write_text("c\nb\n")
    exports, changed, built = build()
    assert (exports, changed["exported"]) == (True, True)
    assert changed["digest"] != first["digest"]
    assert built["counts"]["executed"] > 0

    # No step copies this file, and nothing else can have changed.
    (checkout / "README.md").write_text("Read me.\n")
    exports, same, built = build()
    assert (exports, built["counts"]["executed"]) == (False, 0)
    assert (same["unchanged"], same["digest"]) == (True, changed["digest"])

    # An argument for docker may matter, so this is a guess.
    (checkout / "README.md").write_text("Read this.\n")
    exports, guessed, built = build("--", "--debug")
    assert (exports, built["counts"]["executed"]) == (True, 0)
    assert (guessed["unchanged"], guessed["digest"]) == (True, changed["digest"])
    exports, same, _ = build()
    assert (exports, same["unchanged"]) == (False, True)

    # Another branch starts from this one, and has nothing of its own.
    exports, alias, _ = build("--branch", "other")
    assert (exports, alias["aliased"]) == (False, True)
    for branch in ("main", "other"):
        fresh, words = machines("docker"), ("--backend", f"type=registry,ref={ref}")
        read = fresh.build(*words, "--branch", branch, "--write", "never", folder=checkout)
        assert read["counts"]["executed"] == 0
