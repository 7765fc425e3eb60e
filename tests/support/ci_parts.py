"""The GitLab component and the CircleCI orb of `examples/`, filled in as their systems do it."""

from __future__ import annotations

import re
from typing import Any

import yaml

from tests.support.ci_systems import EXAMPLES

COMPONENT = EXAMPLES / "gitlab-component" / "templates" / "bxcache.yml"
ORB = EXAMPLES / "circleci-orb" / "orb.yml"


def read_component() -> tuple[dict[str, Any], str]:
    """Return the inputs of the component, and the text below them."""
    head, _, body = COMPONENT.read_text().partition("\n---\n")
    inputs: dict[str, Any] = yaml.safe_load(head)["spec"]["inputs"]
    return inputs, body


def fill_component(**given: str) -> str:
    """Return what the component adds to a pipeline.

    https://docs.gitlab.com/ci/inputs/
    """
    inputs, body = read_component()
    values = {name: each["default"] for name, each in inputs.items()} | given
    assert values.keys() == inputs.keys()
    return re.sub(r"\$\[\[ inputs\.(\w+) \]\]", lambda match: values[match[1]], body)


def expand_orb(job: str, **given: Any) -> dict[str, Any]:  # noqa: ANN401  # texts and steps
    """Return a config with the steps of an orb's job in its own job `image`.

    https://circleci.com/docs/reference/reusing-config/
    """
    orb = yaml.safe_load(ORB.read_text())
    found = orb["jobs"][job]
    values = _choose(found, given)
    steps = [each for step in found["steps"] for each in _expand(orb, _fill(step, values))]
    image = {
        **orb["executors"][found["executor"]],
        "environment": _fill(found["environment"], values),
        "steps": steps,
    }
    workflows = {"build": {"jobs": ["image"]}}
    return {"version": 2.1, "jobs": {"image": image}, "workflows": workflows}


def _choose(part: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    values = {name: each["default"] for name, each in part["parameters"].items()}
    assert given.keys() <= values.keys()
    return {**values, **given}


def _expand(orb: dict[str, Any], step: Any) -> list[Any]:  # noqa: ANN401  # any step
    """Return the steps of a step: of a command of the orb, or of a parameter of steps."""
    pairs: dict[str, Any] = step if isinstance(step, dict) else {step: None}
    name, content = next(iter(pairs.items()))
    if name == "steps":
        return list(content)
    if name not in orb["commands"]:
        return [step]
    command = orb["commands"][name]
    return [_fill(each, _choose(command, content)) for each in command["steps"]]


def _fill(value: Any, values: dict[str, Any]) -> Any:  # noqa: ANN401  # any YAML
    if isinstance(value, dict):
        return {name: _fill(each, values) for name, each in value.items()}
    if isinstance(value, list):
        return [_fill(each, values) for each in value]
    if not isinstance(value, str):
        return value
    whole = re.fullmatch(r"<< parameters\.([\w-]+) >>", value)
    if whole:
        return values[whole[1]]
    return re.sub(r"<< parameters\.([\w-]+) >>", lambda match: str(values[match[1]]), value)
