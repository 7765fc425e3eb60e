"""The commands that the CI files of `examples/` run, read from the unchanged files."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

EXAMPLES = Path(__file__).parents[2] / "examples"
FILES = {
    "github-actions": ".github/workflows/build.yml",
    "github-files": ".github/workflows/build.yml",
    "gitlab": ".gitlab-ci.yml",
    "circleci": ".circleci/config.yml",
    "buildkite": ".buildkite/pipeline.yml",
    "jenkins": "Jenkinsfile",
    "azure": "azure-pipelines.yml",
}
FOLDERS = {name.removesuffix("-actions"): name for name in FILES}
"""The folder of `examples/` by the name that `bxcache init --ci` has for the system."""
Environment = Mapping[str, str]

# Each condition in the files, as a function of that system's variables. A test fails on any
# condition that is missing here.
CONDITIONS: dict[str, Callable[[Environment], bool]] = {
    "github.event_name == 'push'": lambda known: known["GITHUB_EVENT_NAME"] == "push",
    '$CI_PIPELINE_SOURCE == "schedule"': lambda known: known["CI_PIPELINE_SOURCE"] == "schedule",
    '$CI_PIPELINE_SOURCE == "merge_request_event"': (
        lambda known: known["CI_PIPELINE_SOURCE"] == "merge_request_event"
    ),
    "$CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH": (
        lambda known: known.get("CI_COMMIT_BRANCH") == known["CI_DEFAULT_BRANCH"]
    ),
    "$CI_COMMIT_TAG": lambda known: bool(known.get("CI_COMMIT_TAG")),
    'build.source == "schedule"': lambda known: known["BUILDKITE_SOURCE"] == "schedule",
    'build.source != "schedule"': lambda known: known["BUILDKITE_SOURCE"] != "schedule",
    "build.branch == pipeline.default_branch": (
        lambda known: known["BUILDKITE_BRANCH"] == known["BUILDKITE_PIPELINE_DEFAULT_BRANCH"]
    ),
    "eq(variables['Build.SourceBranch'], 'refs/heads/main')": (
        lambda known: known["BUILD_SOURCEBRANCH"] == "refs/heads/main"
    ),
    "build.pull_request.id == null": lambda known: known["BUILDKITE_PULL_REQUEST"] == "false",
}


@dataclass(frozen=True)
class Step:
    """A command that a CI system runs.

    Attributes:
        command: the shell with its options and the script, as the system starts it.
        environment: the variables that the file sets for it.
    """

    command: tuple[str, ...]
    environment: Environment = field(default_factory=dict)


def read_file(system: str, folder: Path | None = None) -> Any:  # noqa: ANN401  # any YAML
    """Read the system's own file, from the example or from a copy of it."""
    return yaml.safe_load(((folder or EXAMPLES / system) / FILES[system]).read_text())


def holds(condition: str, known: Environment) -> bool:
    """Return whether a condition of a file is true in a build; an empty one is."""
    return all(CONDITIONS[part.strip()](known) for part in condition.split("&&") if condition)


def github_steps(folder: Path, known: Environment) -> list[Step]:
    """Return the `run` steps, in GitHub's default shell."""
    job = read_file("github-actions", folder)["jobs"]["image"]
    variables = {name: _fill(text, known) for name, text in job.get("env", {}).items()}
    return [
        Step(("bash", "-e", "-c", step["run"]), variables)
        for step in job["steps"]
        if "run" in step and holds(step.get("if", ""), known)
    ]


def _fill(text: str, known: Environment) -> str:
    """Replace each `${{ condition }}` with its value as GitHub writes it."""
    return re.sub(r"\$\{\{ (.+?) \}\}", lambda match: str(holds(match[1], known)).lower(), text)


def gitlab_steps(folder: Path, known: Environment) -> list[Step]:
    """Return one script per job of the pipeline, run in the only shell of Docker's image."""
    file = read_file("gitlab", folder)
    before = file["default"]["before_script"]
    steps = []
    for name in ("build", "release", "prune"):
        rule = _first_rule(file[name]["rules"], known)
        if rule is not None and rule.get("when") != "never":
            script = "\n".join(("set -e", *before, *file[name]["script"]))
            variables = {**file["variables"], **rule.get("variables", {})}
            steps.append(Step(("sh", "-c", script), variables))
    return steps


def _first_rule(rules: list[dict[str, Any]], known: Environment) -> dict[str, Any] | None:
    return next((rule for rule in rules if holds(rule["if"], known)), None)


def buildkite_steps(folder: Path, known: Environment) -> list[Step]:
    """Return the commands of the steps whose condition is true."""
    return [
        Step(("bash", "-e", "-c", step["command"]))
        for step in read_file("buildkite", folder)["steps"]
        if holds(step["if"], known)
    ]


def azure_steps(folder: Path, known: Environment) -> list[Step]:
    """Return the `script` steps, in the shell of Azure's agents on Linux."""
    file = read_file("azure", folder)
    variables = {
        # Azure writes `True` and `False`.
        name: str(holds(text.removeprefix("$[").removesuffix("]"), known))
        for name, text in file.get("variables", {}).items()
    }
    return [
        Step(("bash", "--noprofile", "--norc", "-c", step["script"]), variables)
        for step in file["steps"]
        if "script" in step
    ]


def circleci_steps(folder: Path, known: Environment) -> Iterator[tuple[str, Any]]:
    """Yield the job's steps with their kinds, including those of each `when` that is true."""
    for step in read_file("circleci", folder)["jobs"]["image"]["steps"]:
        pairs: dict[str, Any] = step if isinstance(step, dict) else {step: None}
        kind, content = next(iter(pairs.items()))
        if kind != "when":
            yield kind, content
        elif _matches_not(content["condition"], known):
            yield from (pair for each in content["steps"] for pair in each.items())


def _matches_not(condition: dict[str, Any], known: Environment) -> bool:
    """Evaluate the only kind of condition in the file."""
    test = condition["not"]["matches"]
    value = test["value"].replace("<< pipeline.git.branch >>", known["CIRCLE_BRANCH"])
    return re.search(test["pattern"], value) is None


def circleci_run(content: str | dict[str, str]) -> Step:
    """Return a `run` step, in CircleCI's default shell."""
    text = content if isinstance(content, str) else content["command"]
    return Step(("bash", "-eo", "pipefail", "-c", text))


TOKENS = re.compile(
    r"//[^\n]*|(?P<text>'(?:[^'\\\n]|\\.)*'|\"(?:[^\"\\\n]|\\.)*\"|[^{}'\"\n/]+)|(?P<mark>[{}\n])"
)


@dataclass
class Block:
    """A block of a Jenkinsfile: the text before its brace, its statements and its blocks."""

    head: str
    statements: list[str] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)

    def find(self, head: str) -> Block:
        """Return the inner block with this head."""
        return next(each for each in self.blocks if each.head == head)

    def has(self, head: str) -> bool:
        """Return whether an inner block has this head."""
        return any(each.head == head for each in self.blocks)


def parse_jenkinsfile(text: str) -> Block:
    """Parse a Jenkinsfile that contains only blocks, one-line statements and texts.

    Raises:
        ValueError: a text or block is not closed, a brace is unmatched, or a token is unknown.
    """
    open_blocks, words, position = [Block("")], "", 0
    while position < len(text):
        match = TOKENS.match(text, position)
        if match is None:
            raise ValueError(f"what is this: {text[position : position + 20]!r}")
        position = match.end()
        words += match["text"] or ""
        if match["mark"] == "{":
            block = Block(words.strip())
            open_blocks[-1].blocks.append(block)
            open_blocks.append(block)
        elif match["mark"] and words.strip():
            open_blocks[-1].statements.append(words.strip())
        if match["mark"] == "}":
            open_blocks.pop()
        if not open_blocks:
            raise ValueError("a block is closed that was not opened")
        words = "" if match["mark"] else words
    if len(open_blocks) > 1:
        raise ValueError(f"this is not closed: {open_blocks[-1].head}")
    return open_blocks[0]


def jenkins_stages(folder: Path | None = None) -> list[Block]:
    """Return the stages of the Jenkinsfile in order."""
    text = ((folder or EXAMPLES / "jenkins") / FILES["jenkins"]).read_text()
    return parse_jenkinsfile(text).find("pipeline").find("stages").blocks


def jenkins_steps(folder: Path, *, by_timer: bool = False) -> list[Step]:
    """Return the `sh` steps in Jenkins' shell; stages with a `when` run only by timer."""
    return [
        Step(("sh", "-xe", "-c", text))
        for stage in jenkins_stages(folder)
        if by_timer or not stage.has("when")
        for text in shell_texts(stage)
    ]


def shell_texts(stage: Block) -> list[str]:
    """Return the commands of a stage's `sh` steps.

    Raises:
        ValueError: the stage has another kind of step.
    """
    found = []
    for statement in stage.find("steps").statements:
        match = re.fullmatch(r"sh '([^'\\]+)'", statement)
        if match is None:
            raise ValueError(f"no `sh` step: {statement}")
        found.append(match[1])
    return found
