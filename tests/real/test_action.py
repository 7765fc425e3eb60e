"""GitHub's action in `action.yml` and the workflow without a registry, run as GitHub runs them."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.bootstrap import ROOT
from tests.engines import LOGIN, Registry
from tests.real.ci_jobs import FORK, PUSH, Job, Repository, counts
from tests.real.conftest import MakeMachine
from tests.real.repositories import isolate_git
from tests.support.ci_systems import Step, read_file

ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
STEPS = 6
"""Of the image: 2 of the first stage, 3 of the second, 1 of the last."""


@pytest.fixture(autouse=True)
def _own_git(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    isolate_git(monkeypatch, tmp_path)


@pytest.fixture
def repository(tmp_path: Path, private_registry: Registry) -> Repository:
    """The example for GitHub, without its config file: the action says where the cache is."""
    host = f"{private_registry.address}/{tmp_path.name.lower()}"
    made = Repository(tmp_path / "shop", "github-actions", "github", host)
    (made.folder / "bxcache.toml").unlink()
    made.commit()
    return made


@pytest.fixture(params=["action", "workflow"])
def keeper(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Repository, list[Any]]:
    """A repository whose store is in GitHub's cache, and the steps that keep it there."""
    if request.param == "action":
        return request.getfixturevalue("repository"), ACTION["runs"]["steps"]
    steps = read_file("github-files")["jobs"]["image"]["steps"]
    used = [step["uses"].partition("@")[0] for step in steps[:2]]
    # The job has a checkout, and its machine a builder.
    assert used == ["actions/checkout", "docker/setup-buildx-action"]
    return Repository(tmp_path / "shop", "github-files", "github", ""), steps[2:]


@dataclass
class Caches:
    """GitHub's cache: a folder by its key, found by the beginning of a key, never overwritten.

    https://docs.github.com/actions/reference/workflows-and-actions/dependency-caching
    """

    folder: Path
    keys: list[str] = field(default_factory=list)

    def restore(self, path: Path, key: str, others: list[str]) -> str:
        """Restore the key, or the newest one that another is the beginning of; return it."""
        found = [key] if key in self.keys else []
        for each in others:
            found += [saved for saved in reversed(self.keys) if saved.startswith(each)]
        if found:
            shutil.copytree(self.folder / found[0], path)
        return found[0] if found else ""

    def save(self, path: Path, key: str) -> None:
        """Save a folder under a new key."""
        assert key not in self.keys
        shutil.copytree(path, self.folder / key)
        self.keys.append(key)


@dataclass
class Run:
    """A run of the action's or a workflow's steps in a job."""

    job: Job
    caches: Caches
    inputs: dict[str, str]
    steps: list[Any] = field(default_factory=lambda: ACTION["runs"]["steps"])
    outputs: dict[str, dict[str, str]] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)

    def evaluate(self, expression: str) -> Any:  # noqa: ANN401  # any value of an expression
        """Evaluate an expression of the action."""

        def look_up(match: re.Match[str]) -> str:
            kind, *names = match[0].split(".")
            if kind == "inputs":
                return repr(self.inputs[names[0]])
            if kind == "runner":
                return repr(str(self.temp))
            return repr(self.outputs.get(names[0], {}).get(names[2], ""))

        text = re.sub(r"\b(?:inputs|steps|runner)(?:\.[\w-]+)+", look_up, expression)
        text = text.replace("&&", " and ").replace("!endsWith", " not endsWith")
        known = {"endsWith": lambda text, end: bool(end) and text.endswith(end)}
        return eval(text.strip(), known)  # an expression of this repository

    def fill(self, text: str) -> str:
        """Replace each `${{ expression }}` with its value."""
        pattern = r"\$\{\{ (.+?) \}\}"
        return re.sub(pattern, lambda match: str(self.evaluate(match[1])), text)

    @property
    def temp(self) -> Path:
        """The runner's folder for temporary files."""
        return self.job.home / "temp"

    def run(self) -> str:
        """Run the steps whose condition is true, and return what they printed."""
        self.temp.mkdir(parents=True, exist_ok=True)
        printed = ""
        for number, step in enumerate(self.steps):
            if self.evaluate(step.get("if", "True")):
                printed += self._run(step, f"step-{number}")
        return printed

    def _run(self, step: dict[str, Any], name: str) -> str:
        given = {key: self.fill(text) for key, text in step.get("with", {}).items()}
        if "uses" in step:
            self._use(step, given)
            return ""
        files = {f"GITHUB_{kind}": self.temp / f"{name}-{kind}" for kind in ("ENV", "OUTPUT")}
        for file in files.values():
            file.touch()
        own = {key: self.fill(text) for key, text in step.get("env", {}).items()}
        known = {"RUNNER_TEMP": str(self.temp), "GITHUB_ACTION_PATH": str(ROOT)}
        known |= {key: str(file) for key, file in files.items()}
        shell = ("bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"])
        printed = self.job.run(Step(shell, {**self.variables, **known, **own}))
        self.variables |= read_pairs(files["GITHUB_ENV"])
        self.outputs[step.get("id", name)] = read_pairs(files["GITHUB_OUTPUT"])
        return printed

    def _use(self, step: dict[str, Any], given: dict[str, str]) -> None:
        path = self.job.checkout / given["path"]
        if step["uses"].startswith("actions/cache/save@"):
            self.caches.save(path, given["key"])
        else:
            assert step["uses"].startswith("actions/cache/restore@")
            found = self.caches.restore(path, given["key"], given["restore-keys"].split())
            self.outputs[step["id"]] = {"cache-matched-key": found}


def read_pairs(file: Path) -> dict[str, str]:
    """Read a file of `NAME=VALUE` and `NAME<<END`.

    https://docs.github.com/actions/reference/workflow-commands-for-github-actions
    """
    found, lines = {}, iter(file.read_text().splitlines())
    for line in lines:
        name, equals, value = line.partition("=")
        if not equals:
            name, _, end = line.partition("<<")
            value = "\n".join(iter(lambda: next(lines), end))
        found[name] = value
    return found


DEFAULTS = {name: each["default"] for name, each in ACTION["inputs"].items()}


def run_action(job: Job, caches: Caches, **inputs: str) -> list[tuple[int, int]]:
    """Run the action and return the counts of its builds."""
    return counts(Run(job, caches, {**DEFAULTS, **inputs}).run())


def test_a_store_is_kept_in_githubs_cache(
    keeper: tuple[Repository, list[Any]], machines: MakeMachine, tmp_path: Path
) -> None:
    """A fresh machine reuses every step; an unchanged store is not saved, and a fork saves none."""
    caches, (repository, steps) = Caches(tmp_path / "caches"), keeper

    def build(case: str = PUSH) -> list[tuple[int, int]]:
        job = repository.job(machines("docker-container"), case)
        return counts(Run(job, caches, {**DEFAULTS, "backend": "files"}, steps).run())

    assert (build(), len(caches.keys)) == ([(0, STEPS)], 1)
    assert (build(), len(caches.keys)) == ([(STEPS, 0)], 1)
    assert (build(FORK), len(caches.keys)) == ([(STEPS, 0)], 1)
    repository.change()
    assert (build(), len(caches.keys)) == ([(3, 3)], 2)
    assert len(set(caches.keys)) == 2


def test_a_cache_is_kept_in_a_registry(
    repository: Repository, machines: MakeMachine, private_registry: Registry, tmp_path: Path
) -> None:
    """With a registry, the arguments arrive as a shell would split them, and nothing is a file."""
    caches = Caches(tmp_path / "caches")
    given = {"backend": "registry", "ref": f"{repository.host}/cache"}
    for expected in ((0, STEPS), (STEPS, 0)):
        machine = machines().logged_in(private_registry.address, LOGIN)
        job = repository.job(machine)
        words = "--label 'a=b c' -t shop:1 ."
        assert run_action(job, caches, args=words, **given) == [expected]
        form = '{{index .Config.Labels "a"}}'
        seen = machine.docker("image", "inspect", "--format", form, "shop:1", folder=tmp_path)
        assert seen.stdout == "b c\n"
    assert caches.keys == []


@pytest.mark.parametrize("given", [{"backend": "registry"}, {"backend": "other"}])
def test_a_wrong_input_is_an_error(
    given: dict[str, str], repository: Repository, machines: MakeMachine, tmp_path: Path
) -> None:
    """A wrong backend, and a registry without a ref, stop before anything is built."""
    with pytest.raises(AssertionError, match="::error::backend is"):
        run_action(repository.job(machines()), Caches(tmp_path / "caches"), **given)
