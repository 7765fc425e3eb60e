"""Tests of reports of real builds, with expected values from the build's document and docker."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.engines import Registry
from tests.real.conftest import STEPS, MakeMachine
from tests.real.machines import Machine
from tests.real.manifests import stored_layers
from tests.real.repositories import git

FORMS = ("json", "md", "html")


def words_for(folder: Path) -> list[str]:
    return [word for form in FORMS for word in ("--report", str(folder / f"r.{form}"))]


def read(folder: Path) -> Any:  # noqa: ANN401  # a document
    return json.loads((folder / "r.json").read_text())


def ask(machine: Machine, project: Path, store: Path | str, folder: Path, name: str = "~0") -> None:
    """Have `bxcache report` write the same files, and the trace."""
    folder.mkdir()
    words = [word.replace("--report", "-o") for word in words_for(folder)]
    words += ["--trace", str(folder / "trace")]
    machine.run("report", name, "--from", str(store), *words, folder=project)


@pytest.mark.parametrize("kind", ["docker", "docker-container"])
def test_a_report_matches_the_build(
    kind: str, machines: MakeMachine, project: Path, tmp_path: Path
) -> None:
    """Steps, layers and caches match `--json` and the saved manifest. On a fresh machine all is
    reused, and the time saved is what the first build spent, less the time to fetch.
    """
    store = tmp_path / "store"
    backend = ("--backend", f"type=local,dir={store}")
    first = machines(kind).build(*backend, *words_for(tmp_path), folder=project)
    cold = read(tmp_path)
    assert (cold["counts"]["executed"], cold["counts"]["reused"]) == (STEPS, 0)
    layers = stored_layers(store, first["caches"][0]["digest"])
    seen = {e["digest"]: e["size"] for stage in cold["stages"] for e in stage["layers"]}
    assert seen == {each["digest"]: each["size"] for each in layers}
    assert cold["bytes"] == sum(seen.values())
    assert [cache["bytes"] for cache in cold["caches"]] == [first["caches"][0]["bytes"]]
    texts = sorted(step["text"] for step in first["steps"])
    assert sorted(step["text"] for step in cold["steps"]) == texts
    assert all(step["began"] + step["seconds"] <= cold["seconds"] for step in cold["steps"])

    machines(kind).build(*backend, *words_for(tmp_path), folder=project)
    warm = read(tmp_path)
    assert (warm["counts"]["reused"], warm["counts"]["hit_ratio"]) == (STEPS, 1.0)
    spent = sum(step["seconds"] for step in first["steps"])
    saved = spent - sum(step["seconds"] for step in warm["steps"])
    assert warm["counts"]["saved"] == pytest.approx(saved, abs=0.05)
    assert warm["counts"]["unknown"] == 0
    assert [build["hit_ratio"] for build in warm["trend"]] == [0.0, 1.0]
    compared = warm["compared"]
    assert (compared["started"], compared["seconds"]) == (cold["started"], cold["seconds"])
    assert compared["slower"] == pytest.approx(warm["seconds"] - cold["seconds"], abs=0.01)
    assert (compared["more_executed"], compared["first_executed"]) == (-STEPS, None)
    assert cold["compared"] is None


@pytest.mark.parametrize("kept", ["local", "registry"])
def test_a_past_build_has_the_report_that_it_wrote(
    kept: str, machine: Machine, registry: Registry, project: Path, tmp_path: Path
) -> None:
    """Reports of the last build and the one before are identical byte for byte. The trace has an
    event for the build and each step.
    """
    repository = f"{registry.address}/{tmp_path.name}"
    spec, store = {
        "local": (f"type=local,dir={tmp_path}/store", f"{tmp_path}/store"),
        "registry": (f"type=registry,ref={repository}", repository),
    }[kept]
    backend = ("--backend", spec)
    for number in (1, 2):
        (tmp_path / f"{number}").mkdir()
        (project / "src" / "main.c").write_text(f"// {tmp_path} {number}\n")
        words = (*words_for(tmp_path / f"{number}"), "--trace", f"{tmp_path}/{number}/trace")
        machine.build(*backend, *words, folder=project, TRACEPARENT="")
    for name, number in (("~0", 2), ("~1", 1)):
        ask(machine, project, store, tmp_path / name, name)
        for file in (*(f"r.{form}" for form in FORMS), "trace"):
            wrote = (tmp_path / f"{number}" / file).read_bytes()
            assert (tmp_path / name / file).read_bytes() == wrote
        events = json.loads((tmp_path / name / "trace").read_bytes())["traceEvents"]
        kinds = [event["cat"] for event in events if event["ph"] == "X"]
        assert len(kinds) - kinds.count("phase") == 1 + STEPS
        assert kinds.count("phase") >= len(read(tmp_path / f"{number}")["phases"]) - 1


def test_times_are_known_after_a_change_of_the_backend(
    machine: Machine, project: Path, tmp_path: Path
) -> None:
    """A backend without records does not make the time saved unknown where the steps ran before."""
    counts = []
    for name in ("one", "other"):
        backend = ("--backend", f"type=local,dir={tmp_path / name}")
        machine.build(*backend, *words_for(tmp_path), folder=project)
        counts.append(read(tmp_path)["counts"])
    assert counts[1]["reused"] == STEPS
    # Other tests may have executed steps on the same engine.
    assert counts[1]["unknown"] == counts[0]["unknown"] < STEPS


def test_a_build_that_fails_has_a_report(machine: Machine, project: Path, tmp_path: Path) -> None:
    """A failed build has a report with the step, its log and docker's error.

    The report is the same until the next build, and the exit status is docker's.
    """
    store = tmp_path / "store"
    backend = ("--backend", f"type=local,dir={store}")
    machine.build(*backend, folder=project)
    text = (project / "Dockerfile").read_text()
    broken = text.replace("RUN echo done > /done", "RUN echo the reason; exit 7")
    line = 1 + broken.splitlines().index("RUN echo the reason; exit 7")
    (project / "Dockerfile").write_text(broken)
    built = machine.build(*backend, *words_for(tmp_path), folder=project, status=1)
    report = read(tmp_path)
    (failed,) = [step for step in report["steps"] if step["outcome"] == "failed"]
    assert failed["log"] == "the reason\n"
    assert "exit code: 7" in failed["error"]
    assert failed["lines"] == [line]
    assert report["exit_status"] == built["exit_status"] == 1
    assert [bool(build["exit_status"]) for build in report["trend"]] == [False, True]
    for form in ("md", "html"):
        text = (tmp_path / f"r.{form}").read_text()
        assert "the reason" in text
        assert "exit code: 7" in text
        assert f"Dockerfile:{line}" in text
    ask(machine, project, store, tmp_path / "past")
    for form in FORMS:
        wrote = (tmp_path / f"r.{form}").read_bytes()
        assert (tmp_path / "past" / f"r.{form}").read_bytes() == wrote


def test_the_first_build_of_a_branch_knows_what_it_saved(
    machine: Machine, project: Path, tmp_path: Path
) -> None:
    """The times come from the default branch's build, whose scope it imports, and is compared."""
    git(project, "init", "-q", "-b", "main")
    git(project, "add", ".")
    git(project, "-c", "user.name=x", "-c", "user.email=x@y", "commit", "-q", "-m", "one")
    commit = (project / ".git/refs/heads/main").read_text().strip()
    store = tmp_path / "store"
    words = ("--backend", f"type=local,dir={store}", "--trusted", "--default-branch", "main")
    main = machine.build(*words, "--branch", "main", folder=project)
    topic = machine.build(
        *words, "--branch", "topic", "--base-branch", "main", *words_for(tmp_path), folder=project
    )
    scopes = [[e["scope"] for e in each["caches"] if e["exported"]] for each in (main, topic)]
    assert scopes[0] != scopes[1]
    counts = read(tmp_path)["counts"]
    assert counts["reused"] == STEPS
    assert counts["unknown"] == 0
    assert counts["saved"] == pytest.approx(sum(s["seconds"] for s in main["steps"]), abs=0.05)
    assert len(read(tmp_path)["trend"]) == 1
    compared = read(tmp_path)["compared"]
    assert [compared[key] for key in ("scope", "branch", "commit")] == [*scopes[0], "main", commit]
    assert f"than `main@{commit[:7]}` (" in (tmp_path / "r.md").read_text()


def test_github_has_the_report_on_the_summary_page(
    machine: Machine, project: Path, tmp_path: Path
) -> None:
    """The report is appended to what other steps of the job wrote."""
    page = tmp_path / "summary.md"
    page.write_text("before\n")
    backend = ("--backend", f"type=local,dir={tmp_path / 'store'}")
    words = (*backend, *words_for(tmp_path))
    machine.build(*words, folder=project, GITHUB_STEP_SUMMARY=str(page))
    assert page.read_text() == f"before\n{(tmp_path / 'r.md').read_text()}\n"


def test_a_file_that_cannot_be_written_stops_the_build_before_docker_runs(
    machine: Machine, project: Path, tmp_path: Path
) -> None:
    """A report file that cannot be written stops the build, even without docker."""
    for name in ("nowhere/r.md", "r.pdf"):
        words = ("build", "--report", str(tmp_path / name), ".")
        said = machine.run(*words, folder=project, status=2, DOCKER_HOST="unix:///nowhere").err
        assert str(tmp_path / name) in said
    assert [path.name for path in tmp_path.iterdir()] == [project.name]
