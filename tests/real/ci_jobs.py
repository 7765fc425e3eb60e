"""CI jobs on this machine, with their system's variables, in clones of an example's repository."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from tests.bootstrap import ROOT
from tests.engines import LOGIN, busybox_image
from tests.real.machines import Machine
from tests.real.repositories import git
from tests.support.ci_systems import EXAMPLES, Step
from tests.unit.places.recordings import read_recordings

BXCACHE = str(Path(sys.executable).with_name("bxcache"))
HOSTS = re.compile(r"ghcr\.io|registry\.gitlab\.com|registry\.example\.com")
PUSH, FORK = "a push to a branch", "a pull request from a fork"
CASES = {
    ("gitlab", FORK): "a merge request from a fork, built in the parent project",
    ("jenkins", PUSH): "a branch of a multibranch project",
    ("jenkins", FORK): "a change from a fork",
}
# The recorded pushes go to other branches; these variables turn them to the default branch.
DEFAULT_BRANCH = {
    "github": {"GITHUB_REF": "refs/heads/trunk", "GITHUB_REF_NAME": "trunk"},
    "gitlab": {"CI_COMMIT_BRANCH": "main", "CI_COMMIT_REF_NAME": "main"},
    "circleci": {"CIRCLE_BRANCH": "main"},
    "buildkite": {"BUILDKITE_BRANCH": "main"},
    "jenkins": {"BRANCH_NAME": "main", "GIT_BRANCH": "main"},
    "azure": {"BUILD_SOURCEBRANCH": "refs/heads/main", "BUILD_SOURCEBRANCHNAME": "main"},
}
# Variables that the systems set and that bxcache's recordings do not need.
UNRECORDED = {
    "github": {"GITHUB_STEP_SUMMARY": "{folder}/summary.md"},
    "gitlab": {"CI_REGISTRY_USER": LOGIN.user, "CI_REGISTRY_PASSWORD": LOGIN.password},
    "buildkite": {"BUILDKITE_SOURCE": "webhook"},
}

# No package index here has bxcache, so its installers link the one of this environment. It is on
# PATH only after that, which proves that each file installs it where its shell finds it.
INSTALLER = """\
#!/bin/sh
case "${{0##*/}} $1 $2" in
    "pip install bxcache"* | "pipx install bxcache"* | "pipx install {root}")
        mkdir -p "$HOME/.local/bin" && ln -sf '{bxcache}' "$HOME/.local/bin/bxcache" ;;
    "pipx run --spec") shift 4 && exec '{bxcache}' "$@" ;;
    "uvx --from bxcache"*) shift 3 && exec '{bxcache}' "$@" ;;
    *) echo "not expected: $0 $*" >&2 && exit 64 ;;
esac
"""
SHIMS = {
    "pip": INSTALLER,
    "pipx": INSTALLER,
    "uvx": INSTALLER,
    # Alpine's package manager; what it would install is already here.
    "apk": "#!/bin/sh\n",
    # The image of a new builder is in a registry out of reach; the fixture provides a builder.
    "docker": '#!/bin/sh\n[ "$1 $2" = "buildx create" ] || exec "{docker}" "$@"\n',
    # Ends a job of CircleCI with success.
    "circleci-agent": '#!/bin/sh\n[ "$*" = "step halt" ] && touch "$HOME/halted"\n',
}


@dataclass(frozen=True)
class Job:
    """A job of a CI system on a machine, with a checkout of its own.

    Attributes:
        machine: where it runs.
        checkout: a clone of the example's repository.
        known: the variables that the system sets.
        home: the home of the user that it runs as.
        tools: where the shims are.
    """

    machine: Machine
    checkout: Path
    known: dict[str, str]
    home: Path
    tools: Path = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tools", self.checkout.parent / f"{self.checkout.name}-tools")
        self.tools.mkdir()
        self.home.mkdir(exist_ok=True)
        docker = shutil.which("docker", path=self.machine.environment()["PATH"])
        for name, text in SHIMS.items():
            (self.tools / name).write_text(text.format(bxcache=BXCACHE, docker=docker, root=ROOT))
            (self.tools / name).chmod(0o755)

    def environment(self, step: Step) -> dict[str, str]:
        """Return the variables of step and system, and those that keep builds off the network."""
        known = self.machine.environment(HOME=str(self.home), **self.known)
        # Pip's scripts are on PATH, but not in Docker's image.
        local = "" if "GITLAB_CI" in known else f"{self.home}/.local/bin:"
        return {
            **known,
            "PATH": f"{self.tools}:{local}{known['PATH']}",
            "BXCACHE_BUILD_NETWORK": "none",
            "BXCACHE_BUILD_BUILD_CONTEXTS": f"busybox=oci-layout://{busybox_image().layout}",
            **step.environment,
        }

    def run(self, step: Step) -> str:
        """Run a step, check that it succeeds, and return all that it printed."""
        done = subprocess.run(
            self.machine.command(*step.command),
            cwd=self.checkout,
            env=self.environment(step),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{step.command}\n{done.stdout}"
        assert not re.search("^warning:", done.stdout, re.MULTILINE), done.stdout
        return done.stdout


@dataclass
class Repository:
    """A repository with an example in it, or with other files, on a CI system."""

    folder: Path
    example: str | Path
    provider: str
    host: str
    jobs: int = 0

    def __post_init__(self) -> None:
        shutil.copytree(EXAMPLES / self.example, self.folder)
        for path in self.folder.rglob("*.toml"):
            path.write_text(HOSTS.sub(self.host, path.read_text()))
        git(self.folder, "-c", "init.defaultBranch=main", "init")
        self.commit()

    def commit(self) -> None:
        """Commit all files."""
        git(self.folder, "add", "--all")
        git(self.folder, "commit", "--message", "as it is")

    def change(self) -> None:
        """Change an input of the second stage."""
        (self.folder / "page.sh").write_text("echo changed && cat\n")
        self.commit()

    def job(self, machine: Machine, case: str = PUSH, home: str = "", **more: str) -> Job:
        """Start a new job; a push goes to the default branch."""
        self.jobs += 1
        checkout = self.folder.with_name(f"checkout-{self.jobs}")
        git(self.folder.parent, "clone", self.folder.as_uri(), str(checkout))
        known = self._variables(case, checkout)
        own = self.folder.with_name(home or f"home-{self.jobs}")
        return Job(machine, checkout, {**known, **more}, own)

    def _variables(self, case: str, checkout: Path) -> dict[str, str]:
        name = CASES.get((self.provider, case), case)
        recording = next(each for each in read_recordings(self.provider) if each.name == name)
        files = checkout.with_name(f"{checkout.name}-files")
        files.mkdir()
        known = recording.write(files)
        if case == PUSH:
            known |= DEFAULT_BRANCH[self.provider]
        for name, text in UNRECORDED.get(self.provider, {}).items():
            known[name] = text.replace("{folder}", str(files))
        if "CI_REGISTRY" in known:
            known["CI_REGISTRY"] = self.host.partition("/")[0]
        return known


def counts(output: str) -> list[tuple[int, int]]:
    """Count the steps that each build in an output reused and executed."""
    found = re.findall(
        r"^ *\d+ steps?: (\d+) reused(?: \(\d+ %\))?, (\d+) executed", output, re.MULTILINE
    )
    return [(int(reused), int(executed)) for reused, executed in found]
