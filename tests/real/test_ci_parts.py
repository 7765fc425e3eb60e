"""The GitLab component and the CircleCI orb of `examples/` build as their systems run them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from tests.engines import Registry
from tests.real.ci_jobs import FORK, Repository, counts
from tests.real.conftest import MakeMachine
from tests.real.repositories import isolate_git
from tests.real.test_ci_examples import Caches, run_circleci, written
from tests.support.ci_parts import expand_orb, fill_component
from tests.support.ci_systems import EXAMPLES, FILES, Step

STEPS = 6
"""Of the image: 2 of the first stage, 3 of the second, 1 of the last."""


@pytest.fixture(autouse=True)
def _own_git(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    isolate_git(monkeypatch, tmp_path)


def make(folder: Path, system: str, text: str, host: str = "") -> Repository:
    """Make a repository of an example, with another CI file and without a config file."""
    shutil.copytree(EXAMPLES / system, folder / "source")
    (folder / "source" / "bxcache.toml").unlink()
    (folder / "source" / FILES[system]).write_text(text)
    return Repository(folder / "shop", folder / "source", system, host)


def test_the_component_keeps_the_cache_in_the_projects_registry(
    tmp_path: Path, machines: MakeMachine, private_registry: Registry
) -> None:
    """A fresh machine reuses every step of the default branch; a fork only reads."""
    host = f"{private_registry.address}/{tmp_path.name.lower()}"
    shop = make(tmp_path, "gitlab", fill_component(args="-t shop"), host)
    found = []
    for case in ("a push to a branch", FORK):
        mark = len(private_registry.requests())
        job = shop.job(machines(), case, CI_REGISTRY_IMAGE=f"{host}/shop")
        [part] = yaml.safe_load((job.checkout / FILES["gitlab"]).read_text()).values()
        script = "\n".join(("set -e", *part["before_script"], *part["script"]))
        variables = {
            name: text.replace("$CI_REGISTRY_IMAGE", f"{host}/shop")
            for name, text in part["variables"].items()
        }
        printed = job.run(Step(("sh", "-c", script), variables))
        found.append((counts(printed), bool(written(private_registry, mark))))
    assert found == [([(0, STEPS)], True), ([(STEPS, 0)], False)]


def test_the_orb_keeps_a_store_between_jobs(tmp_path: Path, machines: MakeMachine) -> None:
    """A fresh machine reuses every step, after which the parameter's own steps run."""
    after = [{"run": "docker image inspect shop"}]
    config = expand_orb("image", command="bxcache build -t shop --load", after=after)
    shop = make(tmp_path, "circleci", yaml.safe_dump(config))
    caches, variables = Caches(tmp_path / "caches"), config["jobs"]["image"]["environment"]
    found = [
        run_circleci(shop.job(machines("docker-container"), **variables), caches) for _ in range(2)
    ]
    assert found == [[(0, STEPS)], [(STEPS, 0)]]
    assert len(caches.keys) == 1
