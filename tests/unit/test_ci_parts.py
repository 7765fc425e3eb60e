"""Tests of the GitLab component and the CircleCI orb of `examples/` that need no engine."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from bxcache.version import __version__
from tests.support.ci_parts import COMPONENT, ORB, expand_orb, fill_component, read_component
from tests.support.ci_systems import EXAMPLES
from tests.unit.test_ci_examples import check

INPUTS = [{}, {"job": "images", "command": "bake", "args": "--push api"}]


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.mark.parametrize("given", INPUTS, ids=str)
def test_the_component_is_valid(given: dict[str, str], tmp_path: Path) -> None:
    """Its header and what it adds to a pipeline are valid by GitLab's schema, in one file each."""
    head, *_ = COMPONENT.read_text().partition("\n---\n")
    filled = fill_component(**given)
    assert "$[[" not in filled
    for number, text in enumerate((head, filled)):
        checked = check("gitlab", write(tmp_path / f"{number}.yml", text))
        assert checked.exit_code == 0, checked.output
    broken = check("gitlab", write(tmp_path / "x.yml", head.replace("inputs:", "input:")))
    assert broken.exit_code == 1


def test_the_component_uses_each_input() -> None:
    """Each input has a use, a description and a default; each use is of an input."""
    inputs, body = read_component()
    assert {*re.findall(r"inputs\.(\w+)", body)} == inputs.keys()
    assert all({"description", "default"} <= each.keys() for each in inputs.values())


def test_the_orb_is_valid(tmp_path: Path) -> None:
    """Its source, a config that has it inline and what it expands to are valid by the schema."""
    orb = yaml.safe_load(ORB.read_text())
    inline = {name: orb[name] for name in ("commands", "executors", "jobs")}
    jobs = [{"bxcache/image": {"command": "bxcache build --all"}}]
    config = {"version": 2.1, "orbs": {"bxcache": inline}, "workflows": {"build": {"jobs": jobs}}}
    expanded = expand_orb("image", after=[{"run": "docker image ls"}])
    for number, document in enumerate((orb, config, expanded)):
        text = yaml.safe_dump(document)
        checked = check("circleci", write(tmp_path / f"{number}.yml", text))
        assert checked.exit_code == 0, checked.output
    assert "<< parameters" not in yaml.safe_dump(expanded)
    broken = yaml.safe_dump(expanded).replace("machine:", "machines:")
    assert check("circleci", write(tmp_path / "x.yml", broken)).exit_code == 1


def test_the_orb_and_the_example_have_the_same_steps() -> None:
    """The orb's job does what the example's does."""
    example = yaml.safe_load((EXAMPLES / "circleci" / ".circleci" / "config.yml").read_text())
    words = "bxcache build -t shop --layers"
    after = [{"run": "docker image inspect shop"}]
    ours = expand_orb("image", command=words, after=after)["jobs"]["image"]["steps"]
    assert ours == example["jobs"]["image"]["steps"]


def test_versions_are_pinned() -> None:
    """Both install this version of bxcache, and name their images by a version."""
    inputs, body = read_component()
    assert inputs["version"]["default"] == __version__
    assert re.fullmatch(r"\d+\.\d+\.\d+", inputs["docker"]["default"])
    assert [*re.findall(r"docker:\S+ \S+ \]\](-dind)?", body)] == ["", "-dind"]
    orb = yaml.safe_load(ORB.read_text())
    parts = (*orb["commands"].values(), *orb["jobs"].values())
    versions = [each["parameters"]["version"] for each in parts if "version" in each["parameters"]]
    assert {each["default"] for each in versions} == {__version__}
    assert re.fullmatch(
        r"ubuntu-\d+:\d+\.\d+\.\d+", orb["executors"]["machine"]["machine"]["image"]
    )
