"""The gates that a build must pass, on a real engine."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from bxcache.errors import GateError
from tests.real.machines import count

if TYPE_CHECKING:
    from pathlib import Path

    from tests.real.machines import Machine

GATES = ("--gate", "min_hit_ratio=1.0", "--gate", "require_cached=deps")


def test_a_build_that_reuses_too_little_fails_and_is_saved(machine: Machine, project: Path) -> None:
    """A first build and an unchanged one pass; one that reuses too little fails, but is saved."""
    words = ("--backend", f"type=local,dir={project.parent / 'store'}", *GATES)
    first = machine.build(*words, folder=project)
    assert (first["exit_status"], first["gates"]) == (0, [])
    again = machine.build(*words, folder=project)
    assert (again["counts"]["executed"], again["gates"]) == (0, [])
    (project / "deps.txt").write_text(f"changed {project}\n")
    report = project.parent / "report.json"
    command = ("build", "--json", "--network", "none", "--report", str(report), *words)
    failed = machine.run(*command, folder=project, status=GateError.exit_status)
    told = json.loads(failed.out)["gates"]
    assert [each["gate"] for each in told] == ["min_hit_ratio", "require_cached"]
    assert all(each["fails"] for each in told)
    assert json.loads(report.read_text())["gates"] == told
    first_line, second_line = failed.err.splitlines()[-2:]
    assert first_line.startswith("error: gate `min_hit_ratio` failed")
    assert second_line.startswith("error: gate `require_cached` failed")
    saved = machine.build(*words, folder=project)
    assert count(saved)[1] == 0


def test_a_gate_that_only_warns_lets_the_build_pass(machine: Machine, project: Path) -> None:
    """A gate that only warns causes a warning, in a first build only if `first` is set."""
    store = ("--backend", f"type=local,dir={project.parent / 'store'}")
    gates = ("--gate", "max_size=1kB", "--gate", "warn=max_size", "--gate", "first=yes")
    command = ("build", "--network", "none", *store)
    warning = "warning: gate `max_size` failed: the cache has"
    assert warning not in machine.run(*command, *gates[:4], folder=project).err
    assert warning in machine.run(*command, *gates[:4], folder=project).err
    (project.parent / "store").rename(project.parent / "old")
    assert warning in machine.run(*command, *gates, folder=project).err


def test_an_unknown_stage_is_reported_with_the_known_ones(machine: Machine, project: Path) -> None:
    """A gate on an unknown stage fails the first build already, with a list of the known stages."""
    words = ("--backend", f"type=local,dir={project.parent / 'store'}")
    ran = machine.run(
        *("build", "--network", "none", *words, "--gate", "require_cached=dep"),
        folder=project,
        status=GateError.exit_status,
    )
    assert "there is no stage `dep`; the stages are `base`, `deps`, `build`, `check`" in ran.err


def test_github_shows_failed_gates_beside_the_job(machine: Machine, project: Path) -> None:
    """On GitHub, each failed gate has an error line of GitHub's own form."""
    gates = ("--gate", "max_seconds=1s", "--gate", "require_cached=none", "--gate", "first=1")
    with (project / "Dockerfile").open("a") as file:
        file.write("RUN sleep 1.5\n")
    ran = machine.run(
        *("build", "--network", "none", *gates),
        folder=project,
        status=GateError.exit_status,
        GITHUB_ACTIONS="true",
    )
    shown = [line for line in ran.err.splitlines() if line.startswith("::error ")]
    assert [line.partition("`")[2].partition("`")[0] for line in shown] == [
        "require_cached",
        "max_seconds",
    ]
    assert all(line.startswith("::error title=bxcache::gate `") for line in shown)
