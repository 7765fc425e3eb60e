"""Tests of `bxcache init`: what it finds, writes and asks, and that the jobs it writes run."""

from __future__ import annotations

import os
import pty
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from bxcache.cli.main import run
from bxcache.config.discovery import read_config_file
from bxcache.config.loading import check_file, default_store
from bxcache.console.starter.systems import SYSTEMS
from bxcache.pipeline.survey import CI_FILES, survey
from bxcache.store.store import Store
from tests.engines import LOGIN, Registry
from tests.real.ci_jobs import Repository, counts
from tests.real.conftest import MakeMachine
from tests.real.repositories import git, isolate_git
from tests.support.ci_systems import (
    EXAMPLES,
    FILES,
    FOLDERS,
    azure_steps,
    jenkins_stages,
    jenkins_steps,
    read_file,
    shell_texts,
)
from tests.support.layouts import build
from tests.support.starters import REPOSITORIES
from tests.unit.conftest import CI_MARKS


@pytest.fixture(autouse=True)
def _own_git(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    isolate_git(monkeypatch, tmp_path)
    for name in CI_MARKS:
        monkeypatch.delenv(name, raising=False)


def make(folder: Path, files: dict[str, str], remote: str = "") -> Path:
    """Make a repository of some files."""
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    git(folder, "init", "--initial-branch=main")
    if remote:
        git(folder, "remote", "add", "origin", remote)
    return folder


@pytest.fixture
def repository(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """The working directory: a repository named `shop`, whose files the test's parameter names."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg-cache"))
    folder = make(tmp_path / "shop", REPOSITORIES[getattr(request, "param", "one")])
    monkeypatch.chdir(folder)
    return folder


def read_all(folder: Path) -> dict[str, str]:
    """The text of every file of a repository, without git's own."""
    paths = (path for path in folder.rglob("*") if path.is_file() and ".git" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_text() for path in paths}


@pytest.mark.parametrize(
    ("remote", "expected"),
    [
        ("git@github.com:Acme/Shop.git", ("github.com", "acme/shop", "shop", ("github",))),
        ("https://me:pw@gitlab.com/a/b/c.git", ("gitlab.com", "a/b/c", "c", ("gitlab",))),
        ("ssh://git@git.example.com:2222/a/b", ("git.example.com", "a/b", "b", ())),
        ("/srv/git/x.git", (None, None, "here", ())),
        ("", (None, None, "here", ())),
    ],
)
def test_the_remote_names_the_repository(
    remote: str, expected: tuple[Any, ...], tmp_path: Path
) -> None:
    """Host, path, name and the host's CI system come from git's remote, without its login."""
    found = survey(make(tmp_path / "here", {"Dockerfile": "FROM a"}, remote))[1]
    assert (found.host, found.remote, found.name, found.systems) == expected


@pytest.mark.parametrize("system", CI_FILES)
def test_a_ci_system_is_recognized_by_its_file(system: str, tmp_path: Path) -> None:
    """Each system's usual file is found; it comes before the system of the remote's host."""
    file = SYSTEMS[system].file
    folder = make(tmp_path, {"Dockerfile": "FROM a", file: ""}, "https://gitlab.com/a/b")
    assert survey(folder)[1].systems == tuple(dict.fromkeys((system, "gitlab")))


def test_caches_that_are_used_already_are_noted(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All lines that build with a cache are named, so that they can be removed."""
    workflow = repository / ".github" / "workflows" / "ci.yml"
    workflow.parent.mkdir(parents=True)
    workflow.write_text(
        "x:\n  - uses: docker/build-push-action@v6\n    with:\n      cache-to: gha\n"
        "y:\n  - run: docker build --cache-to type=gha .\n"
    )
    assert run(["init"]) == 0
    notes = capsys.readouterr().err
    assert ".github/workflows/ci.yml:2 has `docker/build-push-action`" in notes
    assert ".github/workflows/ci.yml:4, 6 has `cache-to`" in notes
    assert "`bxcache init --ci github` writes a job for GitHub Actions" in notes


def list_shells(system: str, folder: Path) -> list[str]:
    """Every text in a CI file that its system gives to a shell."""
    if system == "jenkins":
        return [text for stage in jenkins_stages(folder) for text in shell_texts(stage)]
    return [*_walk(read_file(FOLDERS[system], folder))]


def _walk(value: Any) -> Iterator[str]:  # noqa: ANN401  # any YAML
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in ("run", "script", "before_script", "command") and not isinstance(inner, dict):
                yield from [inner] if isinstance(inner, str) else inner
            else:
                yield from _walk(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _walk(inner)


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("repository", REPOSITORIES, indirect=True)
def test_each_shell_text_is_one_and_builds_everything(
    system: str, repository: Path, request: pytest.FixtureRequest
) -> None:
    """Bash can parse each text for a shell, and one of them builds what was found."""
    assert run(["init", "--ci", system]) == 0
    texts = list_shells(system, repository)
    for text in texts:
        subprocess.run(["bash", "-n", "-c", text], check=True)
    kind = request.node.callspec.params["repository"]
    words = {"one": "bxcache build", "bake": "bxcache bake", "monorepo": "bxcache build --all"}
    assert any(f" {words[kind]} " in f" {text} " for text in texts)


@pytest.mark.parametrize("repository", REPOSITORIES, indirect=True)
def test_circleci_gets_the_keys_that_bxcache_prints(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever is built, the job restores and saves by the keys of `bxcache key`."""
    monkeypatch.setenv("BXCACHE_BUILD_PLATFORMS", "linux/amd64")
    assert run(["init", "--ci", "circleci"]) == 0
    capsys.readouterr()
    assert run(["key", "--style", "circleci"]) == 0
    restore, save = yaml.safe_load(capsys.readouterr().out)
    *_, restored, _, _, guarded = read_file("circleci", repository)["jobs"]["image"]["steps"]
    assert restored == restore
    assert guarded["when"]["steps"][-1] == save


@pytest.mark.parametrize("repository", REPOSITORIES, indirect=True)
def test_github_gets_the_steps_that_bxcache_prints(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a registry, the job restores and saves by the steps of `bxcache key`."""
    assert run(["init", "--ci", "github-files"]) == 0
    capsys.readouterr()
    assert run(["key", "--style", "github"]) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    workflow = read_file("github-files", repository)
    *_, before, restore, _, after, save, _ = workflow["jobs"]["image"]["steps"]
    assert [before, restore, after, save] == printed
    assert workflow["permissions"] == {"contents": "read"}
    assert "registry" not in (repository / "bxcache.toml").read_text()


@pytest.mark.parametrize("repository", REPOSITORIES, indirect=True)
def test_without_a_ci_system_the_config_alone_is_written(repository: Path) -> None:
    """Without a terminal and `--ci`, there is a valid config file and nothing else."""
    before = read_all(repository)
    assert run(["init"]) == 0
    assert read_all(repository).keys() - before.keys() == {"bxcache.toml"}
    check_file(read_config_file(repository / "bxcache.toml"))


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_examples_are_what_is_written(
    system: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each example of a CI system has just the files that `init` writes beside its Dockerfile."""
    example = EXAMPLES / FOLDERS[system]
    shutil.copytree(example, tmp_path / "shop")
    for name in ("bxcache.toml", FILES[FOLDERS[system]], ".dockerignore", ".gitignore"):
        (tmp_path / "shop" / name).unlink(missing_ok=True)
    monkeypatch.chdir(make(tmp_path / "shop", {}))
    assert run(["init", "--ci", system]) == 0
    assert read_all(tmp_path / "shop") == read_all(example)


def test_the_remote_names_image_and_cache(repository: Path) -> None:
    """On the registry's own host nothing has to be put in; a name that is given counts more."""
    git(repository, "remote", "add", "origin", "https://github.com/Acme/Shop")
    assert run(["init", "--ci", "github"]) == 0
    text = (repository / "bxcache.toml").read_text()
    assert "Put your own" not in text
    assert tomllib.loads(text)["build"]["tags"] == ["ghcr.io/acme/shop"]
    assert tomllib.loads(text)["cache"]["backends"][0]["ref"] == "ghcr.io/acme/shop-cache"
    given = ["--ci", "buildkite", "--repository", "quay.io/x/y", "--force"]
    assert run(["init", *given]) == 0
    text = (repository / "bxcache.toml").read_text()
    assert tomllib.loads(text)["cache"]["backends"][0]["ref"] == "quay.io/x/y-cache"
    pipeline = yaml.safe_load((repository / ".buildkite" / "pipeline.yml").read_text())
    [login] = pipeline["common"][0]["login"].values()
    assert login["server"] == "quay.io"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--repository", "a/b:c"], "is not a repository"),
        (["--ci", "jenkins", "--repository", "ghcr.io/a/b"], "keeps its cache as files"),
        (["--ci", "github", "--repository", "quay.io/a/b"], "logs in to ghcr.io"),
        (["--ci", "gitlab", "--repository", 'x/"a'], "is not a repository"),
        (["--ci", "hudson"], "'--ci'"),
    ],
)
def test_a_name_without_use_is_a_usage_error(
    words: list[str], message: str, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A repository that the job cannot use is refused, and nothing is written."""
    before = read_all(repository)
    assert run(["init", *words]) == 2
    assert message in capsys.readouterr().err
    assert read_all(repository) == before


@pytest.mark.parametrize(
    ("package", "noted"),
    [
        ("./tools/missing.whl", True),
        ("missing-1-py3-none-any.whl", True),
        ("./tools/there.whl", False),
        ("/opt/bxcache.whl", False),
        ("git+https://example.com/bxcache.git", False),
        ("bxcache==1", False),
    ],
)
def test_a_missing_package_is_noted(
    package: str, *, noted: bool, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A path that the repository does not have yet is noted; the job is written all the same."""
    (repository / "tools").mkdir()
    (repository / "tools" / "there.whl").touch()
    assert run(["init", "--ci", "jenkins", "--package", package]) == 0
    note = f"note: there is no `{package}` in the repository yet"
    assert (note in capsys.readouterr().err) == noted
    assert package in (repository / "Jenkinsfile").read_text()


def test_nothing_is_overwritten(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One error names all files that exist, and nothing is written; `--force` writes them."""
    (repository / "bxcache.toml").write_text("# mine\n")
    (repository / "Jenkinsfile").write_text("// mine\n")
    before = read_all(repository)
    assert run(["init", "--ci", "jenkins"]) == 78
    error = capsys.readouterr().err
    assert "bxcache.toml: exists already" in error
    assert "Jenkinsfile: exists already" in error
    assert read_all(repository) == before
    assert "configuration" not in error
    assert run(["init", "--ci", "jenkins", "--force"]) == 0
    assert "pipeline {" in (repository / "Jenkinsfile").read_text()
    assert "note: the whole `bxcache.toml` is replaced\n" in capsys.readouterr().err
    assert run(["init", "--ci", "jenkins"]) == 0
    assert "nothing to write" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("system", "text", "jobs"),
    [
        ("gitlab", "stages: [a]\nbuild-api:\n  script: make\ndeploy:\n  script: x\n", "deploy"),
        ("github-files", "on:\n  push:\njobs:\n  build-api:\n    x: 1\n  lint:\n", "lint"),
        ("circleci", "jobs:\n  build-api:\n    x: 1\n  e2e:\nworkflows:\n  all:\n", "e2e"),
        ("buildkite", "steps:\n  - label: build-api\n  - label: 'push it'\n", "push it"),
        ("jenkins", "stage('build-api') {}\nstage(\"Try\") {}\n", "Try"),
        ("azure", "jobs:\n  - job: build-api\n  - job: Other\n", "Other"),
    ],
)
def test_the_jobs_of_a_replaced_file_are_named(
    system: str, text: str, jobs: str, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--force` says that the whole file is replaced, and which jobs it had."""
    file = SYSTEMS[system].file
    make(repository, {file: text})
    assert run(["init", "--ci", system, "--force"]) == 0
    note = f"note: the whole `{file}` is replaced; it had `build-api`, `{jobs}`\n"
    assert note in capsys.readouterr().err


def test_a_registry_alone_can_be_declared(repository: Path) -> None:
    """With a repository and without a job, the image has that name and its cache is beside it."""
    assert run(["init", "--repository", "quay.io/x/y"]) == 0
    found = tomllib.loads((repository / "bxcache.toml").read_text())
    assert found["build"]["tags"] == ["quay.io/x/y"]
    assert found["cache"]["backends"] == [{"type": "registry", "ref": "quay.io/x/y-cache"}]


@pytest.mark.parametrize(
    ("remote", "expected", "noted"),
    [
        ("https://gitlab.com/group/shop", "registry.gitlab.com/group/shop", False),
        ("https://gitlab.example.com/group/shop", "registry.example.com/group/shop", True),
        ("", "registry.gitlab.com/acme/shop", True),
    ],
)
def test_a_name_that_is_a_guess_is_noted(
    remote: str, expected: str, *, noted: bool, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A name to put in is noted; on another host, not even the registry is known."""
    make(repository, {}, remote)
    assert run(["init", "--ci", "gitlab"]) == 0
    assert tomllib.loads((repository / "bxcache.toml").read_text())["build"]["tags"] == [expected]
    note = f"note: `{expected}` stands for the image's name: put it in, or give it by"
    assert (note in capsys.readouterr().err) == noted


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (" .", "from `compose.yml`; `bxcache bake`"),
        (
            "\n      context: .\n      args:\n        A: 1\n      network: host",
            "from `compose.yml`, not `args`, `network` of its builds: add them",
        ),
    ],
)
def test_what_is_not_taken_over_from_compose_is_noted(
    build: str, expected: str, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A note names the keys of the Compose file's builds that the config file does not have."""
    text = f"services:\n  shop:\n    build:{build}\n    ports: []\n"
    (repository / "compose.yml").write_text(text)
    assert run(["init"]) == 0
    assert expected in capsys.readouterr().err


def test_a_table_of_pyproject_is_not_hidden(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A `[tool.bxcache]` would lose its effect, so it counts as a file that exists."""
    (repository / "pyproject.toml").write_text("[tool.bxcache.build]\ntags = ['x']\n")
    assert run(["init"]) == 78
    assert "pyproject.toml: exists already" in capsys.readouterr().err


def test_lists_of_ignored_files_are_never_changed(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A `.dockerignore` stays as it is, with a note on what it lacks, even with `--force`."""
    (repository / ".dockerignore").write_text("x\n")
    (repository / ".gitignore").write_text("y\n.bxcache\n")
    assert run(["init", "--ci", "circleci", "--force"]) == 0
    notes = capsys.readouterr().err
    assert "add `.bxcache` to `.dockerignore`" in notes
    assert "`.gitignore`" not in notes
    assert (repository / ".dockerignore").read_text() == "x\n"


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_dry_run_prints_what_would_be_written(
    system: str, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A dry run writes nothing, and its output contains each file."""
    before = read_all(repository)
    assert run(["init", "--ci", system, "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert read_all(repository) == before
    assert run(["init", "--ci", system]) == 0
    for name, text in read_all(repository).items():
        assert name in before or f"==> {name} <==\n{text}" in printed


def test_a_dry_run_leaves_lists_of_ignored_files_out(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A `.dockerignore` that would stay as it is, is noted and not printed."""
    (repository / ".dockerignore").write_text("x\n")
    assert run(["init", "--ci", "github-files", "--dry-run"]) == 0
    printed = capsys.readouterr()
    assert "add `.bxcache` to `.dockerignore`" in printed.err
    assert "==> .dockerignore <==" not in printed.out
    assert "==> .gitignore <==\n.bxcache\n" in printed.out


BESIDE = (
    "it builds beside the new job; remove it, or the job, as `bxcache build` there uses the cache"
)
INSTEAD = "`bxcache build` there uses the cache"


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("run: docker build -t app .", "docker build"),
        ("run: set -e; docker  buildx build .", "docker build"),
        ("uses: docker/build-push-action@v6", "docker/build-push-action"),
        ("# docker build .", ""),
        ("run: docker builder prune", ""),
    ],
)
@pytest.mark.parametrize(
    ("words", "why"), [((), INSTEAD), (("--ci", "github"), BESIDE), (("--ci", "gitlab"), BESIDE)]
)
def test_a_job_that_builds_already_is_noted(
    line: str,
    what: str,
    words: tuple[str, ...],
    why: str,
    repository: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A build in another file is named with its line, since both jobs would run."""
    make(repository, {".github/workflows/ci.yml": f"jobs:\n  x:\n    steps:\n      - {line}\n"})
    assert run(["init", *words]) == 0
    noted = [text for text in capsys.readouterr().err.splitlines() if "ci.yml" in text]
    assert noted == [f"note: .github/workflows/ci.yml:4 has `{what}`: {why}"] * bool(what)


@pytest.mark.parametrize(
    ("system", "how"),
    [("github-files", "`mv {} .bxcache` takes it along"), ("github", "it is left alone")],
)
def test_the_store_of_builds_until_now_is_noted(
    system: str, how: str, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A config file that declares another place than the default store names that store."""
    old = default_store(repository)
    build(Store(old), "shop.linux-amd64.main", b"s")
    assert run(["init", "--ci", system, "--dry-run"]) == 0
    note = f"does not use the store of builds until now, `{old}`; {how.format(old)}"
    assert note in capsys.readouterr().err
    assert run(["init"]) == 0
    assert str(old) not in capsys.readouterr().err


def test_an_empty_folder_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where nothing is built there is one error, and nothing is written."""
    monkeypatch.chdir(tmp_path)
    assert run(["init"]) == 78
    assert "no Dockerfile" in capsys.readouterr().err
    assert not [*tmp_path.iterdir()]


def test_it_writes_to_the_top_of_the_repository(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a folder inside, the files are written to the repository's top."""
    (repository / "src").mkdir()
    monkeypatch.chdir(repository / "src")
    assert run(["init", "--ci", "gitlab"]) == 0
    assert (repository / ".gitlab-ci.yml").exists()
    assert not [*(repository / "src").iterdir()]


def answer(repository: Path, *words: str, lines: str) -> tuple[int, str]:
    """Run the command on a terminal with these lines as answers; its status and the terminal."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(repository)
        os.execv(sys.executable, [sys.executable, "-m", "bxcache", "init", *words])
    os.write(terminal, lines.encode())
    shown = b""
    while True:
        try:
            shown += os.read(terminal, 4096)
        except OSError:
            break
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), shown.decode()


def test_a_terminal_is_asked_at_most_three_questions(repository: Path) -> None:
    """It asks for the system, the image's name and whether to write; the defaults are enough."""
    make(repository, {}, "https://gitlab.com/acme/shop")
    status, shown = answer(repository, lines="\n\n\n")
    assert status == 0, shown
    assert re.findall(r"(?m)^(?:.*\n)*?(CI system|The image's name in the registry)", shown)
    assert len(re.findall(r"\[[^\]]+\]: ", shown)) == 3
    assert "registry.gitlab.com/acme/shop/cache" in (repository / "bxcache.toml").read_text()
    assert (repository / ".gitlab-ci.yml").exists()


def test_a_terminal_can_refuse(repository: Path) -> None:
    """A `no` to the last question writes nothing."""
    before = read_all(repository)
    status, shown = answer(repository, "--ci", "jenkins", lines="n\n")
    assert status != 0, shown
    assert read_all(repository) == before


@pytest.mark.parametrize("repository", ["monorepo"], indirect=True)
def test_the_job_of_a_monorepo_brings_every_step_to_a_fresh_machine(
    repository: Path, tmp_path: Path, machines: MakeMachine, private_registry: Registry
) -> None:
    """The first job builds and pushes both images; the second one, elsewhere, executes nothing."""
    assert run(["init", "--ci", "azure"]) == 0
    host = f"{private_registry.address}/{tmp_path.name.lower()}"
    shop = Repository(tmp_path / "copy", repository, "azure", host)
    found = []
    for _ in range(2):
        job = shop.job(machines("docker-container").logged_in(private_registry.address, LOGIN))
        steps = azure_steps(job.checkout, job.known)
        found.append([each for step in steps for each in counts(job.run(step))])
    assert found == [[(0, 1), (0, 1)], [(1, 0), (1, 0)]]
    pushed = [each.path for each in private_registry.requests() if each.method == "PUT"]
    for image in ("api", "web"):
        assert any(f"/shop/{image}/manifests/latest" in path for path in pushed)


@pytest.mark.parametrize("repository", ["bake"], indirect=True)
def test_the_job_of_a_bake_file_reuses_every_step(
    repository: Path, tmp_path: Path, machines: MakeMachine
) -> None:
    """A new engine in another workspace reuses every target's steps from the agent's store."""
    assert run(["init", "--ci", "jenkins"]) == 0
    shop = Repository(tmp_path / "copy", repository, "jenkins", "")
    found = []
    for _ in range(2):
        job = shop.job(machines(), home="agent")
        steps = jenkins_steps(job.checkout)
        found.append([each for step in steps for each in counts(job.run(step))])
    assert found == [[(0, 1), (0, 1)], [(1, 0), (1, 0)]]
