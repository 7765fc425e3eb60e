"""Tests of the CI files of `examples/` that need no engine."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any, NoReturn

import pytest
import yaml
from check_jsonschema import main as check_jsonschema  # type: ignore[import-untyped]
from click.testing import CliRunner, Result
from yamllint import linter  # type: ignore[import-untyped]
from yamllint.config import YamlLintConfig  # type: ignore[import-untyped]

from bxcache.cli.main import cli as bxcache
from tests.support.ci_systems import EXAMPLES, FILES, jenkins_stages, parse_jenkinsfile, read_file

SCHEMAS = {
    "github-actions": "vendor.github-workflows",
    "github-files": "vendor.github-workflows",
    "gitlab": "vendor.gitlab-ci",
    "circleci": "vendor.circle-ci",
    "buildkite": "vendor.buildkite",
    "azure": "vendor.azure-pipelines",
}
OPTIONS = {
    "gitlab": ("--data-transform", "gitlab-ci"),
    # Its schema has patterns that are only valid as old JavaScript.
    "azure": ("--data-transform", "azure-pipelines", "--regex-variant", "nonunicode"),
}
LINT = """\
extends: default
rules:
  document-start: disable
  line-length: {max: 100}
  quoted-strings: {quote-type: double, required: false, check-keys: true}
  # `on` is a key of GitHub's.
  truthy: {check-keys: false}
"""
ACTION = EXAMPLES.parent / "action.yml"
YAML = sorted(path for path in EXAMPLES.rglob("*.y*ml") if path.is_file())


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise AssertionError("a schema has to come out of the package")

    monkeypatch.setattr("socket.socket.connect", refuse)


def check(system: str, file: Path) -> Result:
    """Check a file against its system's schema from the installed package."""
    options = OPTIONS.get(system, ())
    return CliRunner().invoke(
        check_jsonschema, ["--builtin-schema", SCHEMAS[system], *options, str(file)]
    )


def lint(file: Path) -> list[str]:
    """Return yamllint's problems with a file; warnings count too."""
    with file.open() as opened:
        return [str(problem) for problem in linter.run(opened, YamlLintConfig(LINT), str(file))]


@pytest.mark.parametrize("system", SCHEMAS)
def test_a_file_is_valid_by_its_systems_schema(system: str) -> None:
    """The file of each example is valid by the schema that its system publishes."""
    checked = check(system, EXAMPLES / system / FILES[system])
    assert checked.exit_code == 0, checked.output


@pytest.mark.parametrize(
    ("system", "right", "wrong"),
    [
        ("github-actions", "runs-on:", "run-on:"),
        ("gitlab", "script:", "scripts:"),
        ("circleci", "machine:", "machines:"),
        ("buildkite", "depends_on:", "depend_on:"),
        ("azure", "inputs:", "input:"),
    ],
)
def test_the_schema_detects_a_mistake(system: str, right: str, wrong: str, tmp_path: Path) -> None:
    """A file with one changed word is invalid."""
    text = (EXAMPLES / system / FILES[system]).read_text()
    assert right in text
    broken = tmp_path / "broken.yml"
    broken.write_text(text.replace(right, wrong))
    checked = check(system, broken)
    assert checked.exit_code == 1
    assert "Schema validation errors" in checked.output


def test_the_action_is_valid() -> None:
    """GitHub's action is valid by its schema and by a strict yamllint."""
    words = ["--builtin-schema", "vendor.github-actions", str(ACTION)]
    checked = CliRunner().invoke(check_jsonschema, words)
    assert checked.exit_code == 0, checked.output
    assert lint(ACTION) == []


def test_all_yaml_is_clean() -> None:
    """A strict yamllint finds no problem in any file, including those of the five systems."""
    assert {EXAMPLES / system / FILES[system] for system in SCHEMAS} <= set(YAML)
    assert [problem for file in YAML for problem in lint(file)] == []


def test_the_lint_detects_a_mistake(tmp_path: Path) -> None:
    """A duplicate key is reported."""
    (tmp_path / "twice.yml").write_text("a: 1\na: 2\n")
    assert len(lint(tmp_path / "twice.yml")) == 1


def test_the_jenkinsfile_is_a_declarative_pipeline() -> None:
    """The pipeline is balanced and has each section that Jenkins requires once.

    Whether Jenkins knows every step, and has the plugins for them, is not checked: that takes a
    Jenkins.
    """
    root = parse_jenkinsfile((EXAMPLES / "jenkins" / FILES["jenkins"]).read_text())
    assert [each.head for each in root.blocks] == ["pipeline"]
    assert root.statements == []
    sections = [each.head for each in root.find("pipeline").blocks]
    assert sections == ["agent", "triggers", "stages"]
    stages = jenkins_stages()
    assert all(re.fullmatch(r"stage\('[^']+'\)", stage.head) for stage in stages)
    assert len({stage.head for stage in stages}) == len(stages)
    assert all({each.head for each in stage.blocks} <= {"when", "steps"} for stage in stages)
    assert all(stage.find("steps").statements for stage in stages)


@pytest.mark.parametrize("text", ["pipeline {", "pipeline {}\n}", "sh 'x", "a / b"])
def test_the_parser_of_jenkinsfiles_refuses_unbalanced_text(text: str) -> None:
    """An unbalanced or unknown text raises an error, so the previous test can fail."""
    with pytest.raises(ValueError, match=r"closed|what is this"):
        parse_jenkinsfile(text)


def test_circleci_uses_the_keys_that_bxcache_prints(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The example contains the output of `bxcache key --style circleci` for that repository."""
    shutil.copytree(EXAMPLES / "circleci", tmp_path / "shop")
    (tmp_path / "shop" / ".git").mkdir()
    monkeypatch.chdir(tmp_path / "shop")
    # The file is for machines with this platform, whatever the current one is.
    monkeypatch.setenv("BXCACHE_BUILD_PLATFORMS", "linux/amd64")
    shown = CliRunner().invoke(bxcache, ["key", "--style=circleci"])
    printed = yaml.safe_load(shown.output)
    caches = [step for step in walk(read_file("circleci")) if CACHES & set(step)]
    assert [{name: each[name] for name in CACHES & set(each)} for each in caches] == printed


CACHES = {"restore_cache", "save_cache"}


def walk(value: Any) -> list[dict[str, Any]]:  # noqa: ANN401  # any YAML
    """Return all tables of a document, outermost first."""
    if isinstance(value, dict):
        return [value, *(found for each in value.values() for found in walk(each))]
    if isinstance(value, list):
        return [found for each in value for found in walk(each)]
    return []


def test_external_components_have_a_version() -> None:
    """Actions, images and plugins are pinned in their usual form."""
    steps = read_file("github-actions")["jobs"]["image"]["steps"]
    used = [step["uses"] for step in steps if "uses" in step]
    assert len(used) == 3
    assert all(re.fullmatch(r"[\w.-]+/[\w.-]+@v\d+", each) for each in used)
    gitlab = read_file("gitlab")["default"]
    images = [gitlab["image"], *gitlab["services"]]
    assert all(re.fullmatch(r"docker:\d+\.\d+\.\d+(-dind)?", each) for each in images)
    tasks = [step["task"] for step in read_file("azure")["steps"] if "task" in step]
    assert tasks == ["Docker@2"]
    plugins = [name for table in walk(read_file("buildkite")) for name in table if "#" in name]
    assert plugins
    assert all(re.fullmatch(r"[\w-]+#v\d+\.\d+\.\d+", each) for each in plugins)


def test_github_has_a_builder_and_a_login_before_it_builds() -> None:
    """The workflow sets up a builder and logs in first; the real tests replace both actions."""
    steps = read_file("github-actions")["jobs"]["image"]["steps"]
    used = [step.get("uses", step.get("run", "")).partition("@")[0] for step in steps]
    build = used.index("bxcache build")
    assert {"docker/setup-buildx-action", "docker/login-action"} < set(used[:build])


def test_azure_logs_in_before_it_builds_but_not_for_forks() -> None:
    """The pipeline logs in first, unless a fork is built; the real tests replace the task."""
    steps = read_file("azure")["steps"]
    [login] = [step for step in steps if "task" in step]
    assert (
        login["condition"] == "and(succeeded(), ne(variables['System.PullRequest.IsFork'], 'True'))"
    )
    build = next(step for step in steps if "bxcache build" in step.get("script", ""))
    assert steps.index(login) < steps.index(build)


def test_every_step_of_buildkite_logs_in() -> None:
    """Every step uses the login plugin; the real tests replace it."""
    steps = read_file("buildkite")["steps"]
    logins = [plugin for step in steps for plugin in step["plugins"]]
    assert [set(login) for login in logins] == [{"docker-login#v3.0.0"}] * len(steps)


@pytest.mark.parametrize("name", [*FILES, *(p.parent.name for p in EXAMPLES.glob("*/Dockerfile"))])
def test_the_list_contains_each_example(name: str) -> None:
    """The list has a link to the folder of each example."""
    assert f"]({name}/)" in (EXAMPLES / "README.md").read_text()


def test_every_link_of_the_list_is_valid() -> None:
    """Each link leads to an existing file or folder."""
    links = re.findall(r"\]\(([^)#]+)\)", (EXAMPLES / "README.md").read_text())
    assert len(links) >= len(FILES)
    assert [link for link in links if "://" not in link and not (EXAMPLES / link).exists()] == []
