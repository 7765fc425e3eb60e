"""The CI files of `examples/` work as documented when they run as their systems run them.

Only host names are replaced. The scripts come from the files, and the variables from recorded
builds.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.engines import LOGIN, Registry, busybox_image
from tests.real.ci_jobs import BXCACHE, FORK, Job, Repository, counts
from tests.real.conftest import MakeMachine
from tests.real.machines import Machine
from tests.real.repositories import isolate_git
from tests.real.test_fleet import WRITING
from tests.support.ci_systems import (
    EXAMPLES,
    Environment,
    Step,
    azure_steps,
    buildkite_steps,
    circleci_run,
    circleci_steps,
    github_steps,
    gitlab_steps,
    jenkins_steps,
)

STEPS = 6
"""Of the image: 2 of the first stage, 3 of the second, 1 of the last."""

TakeSteps = Callable[[Path, Environment], list[Step]]
ON_REGISTRIES: dict[str, tuple[str, TakeSteps]] = {
    "github-actions": ("github", github_steps),
    "gitlab": ("gitlab", gitlab_steps),
    "buildkite": ("buildkite", buildkite_steps),
    "azure": ("azure", azure_steps),
}


@pytest.fixture(autouse=True)
def _own_git(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    isolate_git(monkeypatch, tmp_path)


@pytest.fixture
def at(tmp_path: Path, private_registry: Registry) -> Callable[[str], Repository]:
    """Create a repository with an example, whose images go to a corner of the private registry."""

    def make(example: str) -> Repository:
        provider = ON_REGISTRIES.get(example, (example,))[0]
        host = f"{private_registry.address}/{tmp_path.name.lower()}"
        return Repository(tmp_path / "shop", example, provider, host)

    return make


MakeRepository = Callable[[str], Repository]


def new_machine(example: str, machines: MakeMachine, registry: Registry) -> Machine:
    """Create a fresh machine as the system's file needs it, logged in unless its scripts log in."""
    if example == "gitlab":
        return machines()
    # GitHub's machine has a builder that an action made. An action or a plugin logs in.
    made = machines("docker-container" if example == "github-actions" else "docker")
    return made.logged_in(registry.address, LOGIN)


def run_all(job: Job, example: str) -> list[tuple[int, int]]:
    """Run the steps that the system would run, and return the counts of the builds."""
    steps = ON_REGISTRIES[example][1](job.checkout, job.known)
    assert steps
    return [each for step in steps for each in counts(job.run(step))]


def written(registry: Registry, mark: int) -> list[str]:
    """List what was written to any repository since a mark."""
    requests = registry.requests(mark)
    assert any(each.method == "GET" for each in requests)
    return [each.path for each in requests if each.method in WRITING]


@pytest.mark.parametrize("example", ON_REGISTRIES)
def test_a_fresh_machine_reuses_every_step_of_the_default_branch(
    example: str, at: MakeRepository, machines: MakeMachine, private_registry: Registry
) -> None:
    """The first run executes and pushes everything; the second, elsewhere, executes nothing."""
    repository, registry = at(example), private_registry
    mark = len(registry.requests())
    first = run_all(repository.job(new_machine(example, machines, registry)), example)
    second = run_all(repository.job(new_machine(example, machines, registry)), example)
    assert first[0] == (0, STEPS)
    assert set(first[1:]) | set(second) == {(STEPS, 0)}
    assert any(path.endswith("/shop/manifests/latest") for path in written(registry, mark))


@pytest.mark.parametrize("example", ON_REGISTRIES)
def test_a_fork_starts_from_the_default_branch_and_writes_nothing(
    example: str, at: MakeRepository, machines: MakeMachine, private_registry: Registry
) -> None:
    """A fork's build reuses an unchanged stage and writes nothing; its own log says so, and why."""
    repository, registry = at(example), private_registry
    run_all(repository.job(new_machine(example, machines, registry)), example)
    repository.change()
    mark = len(registry.requests())
    fork = repository.job(new_machine(example, machines, registry), FORK)
    log = "".join(fork.run(step) for step in ON_REGISTRIES[example][1](fork.checkout, fork.known))
    assert counts(log) == [(3, 3)]
    assert "no cache is saved: the build is not trusted, a pull request from a fork; " in log
    assert written(registry, mark) == []


@pytest.mark.parametrize(
    ("example", "schedule"),
    [
        ("gitlab", {"CI_PIPELINE_SOURCE": "schedule"}),
        ("buildkite", {"BUILDKITE_SOURCE": "schedule"}),
    ],
)
def test_the_scheduled_job_prunes_deleted_branches(
    example: str,
    schedule: dict[str, str],
    at: MakeRepository,
    machines: MakeMachine,
    private_registry: Registry,
) -> None:
    """The scheduled job builds nothing, and keeps the default branch's cache."""
    repository, registry = at(example), private_registry
    machine = new_machine(example, machines, registry)
    run_all(repository.job(machine), example)
    gone = repository.job(machine)
    # The run before has logged in.
    gone.run(Step((BXCACHE, "build", "--branch", "gone")))
    scopes = {"image.linux-amd64.main", "image.linux-amd64.gone"}
    assert scopes < set(list_tags(gone, registry))
    assert run_all(repository.job(machine, **schedule), example) == []
    assert list_tags(gone, registry) == ["image.linux-amd64.main", "image.linux-amd64.main.bxcache"]


def test_gitlab_pushes_a_release_by_its_git_tag(
    at: MakeRepository, machines: MakeMachine, private_registry: Registry
) -> None:
    """A tag's pipeline executes nothing, pushes the image by that tag alone and saves no cache."""
    repository, registry = at("gitlab"), private_registry
    run_all(repository.job(new_machine("gitlab", machines, registry)), "gitlab")
    mark = len(registry.requests())
    image = f"{repository.host}/acme/shop"
    tagged = {"CI_COMMIT_TAG": "v1.0", "CI_COMMIT_BRANCH": "", "CI_COMMIT_REF_NAME": "v1.0"}
    machine = new_machine("gitlab", machines, registry)
    job = repository.job(machine, **tagged, CI_REGISTRY_IMAGE=image)
    assert run_all(job, "gitlab") == [(STEPS, 0)]
    manifests = [path for path in written(registry, mark) if "/manifests/" in path]
    names = {path.rpartition("/")[2] for path in manifests}
    assert {each for each in names if ":" not in each} == {"v1.0"}


def list_tags(job: Job, registry: Registry) -> list[str]:
    """The tags of the cache that the job's config file names."""
    config = tomllib.loads((job.checkout / "bxcache.toml").read_text())
    name = config["cache"]["backends"][0]["ref"].partition("/")[2]
    answer = json.loads(registry.ask("GET", f"/v2/{name}/tags/list").body)
    return sorted(answer["tags"])


def test_github_shows_the_layers_of_every_stage(
    at: MakeRepository, machines: MakeMachine, private_registry: Registry
) -> None:
    """After a push, the run's page shows the build's report, and below it the layers as code."""
    job = at("github-actions").job(new_machine("github-actions", machines, private_registry))
    run_all(job, "github-actions")
    shown = Path(job.known["GITHUB_STEP_SUMMARY"]).read_text()
    assert shown.startswith("### ")
    assert shown.endswith("\n```\n")
    code = shown.removesuffix("```\n").rpartition("```\n")[2]
    assert {"words", "page", "stage-2"} <= {line.split(" ")[0] for line in code.splitlines()}


def test_a_release_builds_nothing_that_ci_has_built(
    at: MakeRepository, machines: MakeMachine, private_registry: Registry
) -> None:
    """The release script starts from the cache that GitHub's job has saved."""
    repository, registry = at("github-actions"), private_registry
    run_all(repository.job(new_machine("github-actions", machines, registry)), "github-actions")
    job = repository.job(new_machine("buildkite", machines, registry))
    base = f"busybox=oci-layout://{busybox_image().layout}"
    script = (sys.executable, str(EXAMPLES / "release.py"), "1.0", base)
    printed = job.run(Step(script))
    assert f"{STEPS} of {STEPS} steps reused" in printed
    assert "app:1.0 is sha256:" in printed


@dataclass
class Caches:
    """CircleCI's caches: folders by keys, found by the beginning of a key, never overwritten."""

    folder: Path
    keys: list[str] = field(default_factory=list)

    def restore(self, job: Job, keys: list[str]) -> None:
        """Restore the newest cache of the first key that is the beginning of a saved one."""
        for key in keys:
            for saved in reversed(self.keys):
                if saved.startswith(fill_key(job, key)):
                    shutil.copytree(self.folder / saved, job.checkout, dirs_exist_ok=True)
                    return

    def save(self, job: Job, key: str, paths: list[str]) -> None:
        """Save a cache, unless its key exists."""
        filled = fill_key(job, key)
        if filled in self.keys:
            return
        for path in paths:
            shutil.copytree(job.checkout / path, self.folder / filled / path)
        self.keys.append(filled)


def fill_key(job: Job, key: str) -> str:
    """Fill in a key as CircleCI does."""

    def hash_file(match: re.Match[str]) -> str:
        return hashlib.sha256((job.checkout / match[1]).read_bytes()).hexdigest()

    filled = key.replace("{{ .Branch }}", job.known["CIRCLE_BRANCH"])
    return re.sub(r'\{\{ checksum "([^"]+)" \}\}', hash_file, filled)


def run_circleci(job: Job, caches: Caches, log: list[str] | None = None) -> list[tuple[int, int]]:
    """Run the job to its end or to where it halts, and return the counts of the builds.

    Args:
        log: gets what each step prints.
    """
    printed = [] if log is None else log
    for kind, content in circleci_steps(job.checkout, job.known):
        if kind == "restore_cache":
            caches.restore(job, content["keys"])
        elif kind == "save_cache":
            caches.save(job, content["key"], content["paths"])
        elif kind == "run":
            printed.append(job.run(circleci_run(content)))
        else:
            assert kind == "checkout"
        if (job.home / "halted").exists():
            break
    return counts("".join(printed))


@pytest.fixture
def caches(tmp_path: Path) -> Caches:
    """Caches in which nothing is kept yet."""
    return Caches(tmp_path / "caches")


def test_circleci_brings_every_step_to_a_fresh_machine(
    at: MakeRepository, machines: MakeMachine, caches: Caches
) -> None:
    """A fresh machine and a new branch reuse the cache; an unchanged store is not saved again."""
    repository = at("circleci")
    first = run_circleci(repository.job(machines("docker-container")), caches)
    kept = list(caches.keys)
    second = run_circleci(repository.job(machines("docker-container")), caches)
    assert (first, second) == ([(0, STEPS)], [(STEPS, 0)])
    assert len(kept) == 1
    assert caches.keys == kept
    repository.change()
    topic = repository.job(machines("docker-container"), CIRCLE_BRANCH="topic")
    assert run_circleci(topic, caches) == [(3, 3)]
    assert [".topic~" in key for key in caches.keys] == [False, True]


def test_circleci_saves_nothing_for_a_fork(
    at: MakeRepository, machines: MakeMachine, caches: Caches
) -> None:
    """A fork's build saves nothing, whether it finds a cache or not, and uses what it finds."""
    repository = at("circleci")
    empty = Caches(caches.folder.with_name("none"))
    assert run_circleci(repository.job(machines("docker-container"), FORK), empty) == [(0, STEPS)]
    run_circleci(repository.job(machines("docker-container")), caches)
    fork = repository.job(machines("docker-container"), FORK)
    assert run_circleci(fork, caches) == [(STEPS, 0)]
    assert (len(empty.keys), len(caches.keys)) == (0, 1)


def test_circleci_saves_nothing_where_forks_cannot_be_recognized(
    at: MakeRepository, machines: MakeMachine, caches: Caches
) -> None:
    """A project of the GitHub App saves nothing until it is declared trusted, as its log says."""
    repository, app = at("circleci"), "a project of the GitHub App"
    halted = repository.job(machines("docker-container"), app)
    log: list[str] = []
    run_circleci(halted, caches, log)
    assert "CircleCI does not mark forks in such a project" in "".join(log)
    assert "set BXCACHE_PLACE_TRUSTED=true" in "".join(log)
    assert (halted.home / "halted").exists()
    assert caches.keys == []
    job = repository.job(machines("docker-container"), app, BXCACHE_PLACE_TRUSTED="true")
    run_circleci(job, caches)
    assert len(caches.keys) == 1


def run_jenkins(job: Job, *, by_timer: bool = False) -> list[tuple[int, int]]:
    """Run the stages of a build, and return the counts of its builds."""
    steps = jenkins_steps(job.checkout, by_timer=by_timer)
    return [each for step in steps for each in counts(job.run(step))]


def test_jenkins_reuses_every_step_in_another_workspace(
    at: MakeRepository, machines: MakeMachine
) -> None:
    """A new engine in another workspace reuses every step from the store in the agent's home."""
    repository = at("jenkins")
    first = run_jenkins(repository.job(machines(), home="agent"))
    second = run_jenkins(repository.job(machines(), home="agent"))
    assert (first, second) == ([(0, STEPS)], [(STEPS, 0)])


def test_jenkins_saves_nothing_for_a_fork(at: MakeRepository, machines: MakeMachine) -> None:
    """A fork's build uses the store, and leaves its scopes and layers as they were."""
    repository = at("jenkins")
    main = repository.job(machines(), home="agent")
    run_jenkins(main)
    store = main.home / ".cache" / "bxcache" / "shop"
    before = {path: path.read_bytes() for path in [store / "index.json", *store.glob("blobs/*/*")]}
    repository.change()
    assert run_jenkins(repository.job(machines(), FORK, home="agent")) == [(3, 3)]
    after = {path: path.read_bytes() for path in [store / "index.json", *store.glob("blobs/*/*")]}
    assert after == before


def test_jenkins_verifies_the_store_at_night(at: MakeRepository, machine: Machine) -> None:
    """A damaged layer fails the nightly build; an intact store does not."""
    repository = at("jenkins")
    run_jenkins(repository.job(machine, home="agent"), by_timer=True)
    broken = repository.job(machine, home="agent")
    blobs = (broken.home / ".cache" / "bxcache" / "shop").glob("blobs/sha256/*")
    largest = max(blobs, key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-1] + b"?")
    verify = jenkins_steps(broken.checkout, by_timer=True)[-2]
    with pytest.raises(AssertionError, match="store verify --full"):
        broken.run(verify)
