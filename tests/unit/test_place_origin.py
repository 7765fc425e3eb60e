"""Tests of a build's repository, commit and job page, by what CI systems document."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bxcache.insight.record_parts import RecordedPlace
from bxcache.place.origin import Origin, keep_link, name_remote, read_origin
from bxcache.process import Answer
from tests.unit.places.recordings import PROVIDERS, Recording, read_recording, read_recordings

HERE = Path(__file__).parent
SHA = "9f2c1e5b7a6d4c3b2a190817161514131211100f"
OTHER = "0123456789abcdef0123456789abcdef01234567"
# By the variables in `tests/unit/places`, whose names and forms are those of the documentation.
EXPECTED = {
    "azure": ("acme/shop", "https://dev.azure.com/acme/shop/_build/results?buildId=20811"),
    "bitbucket": ("acme/shop", "http://bitbucket.org/acme/shop/pipelines/results/410"),
    "buildkite": ("github.com/acme/shop", "https://buildkite.com/acme/shop/builds/1514#0f9e"),
    "circleci": ("acme/shop", "https://circleci.com/gh/acme/shop/5120"),
    "drone": ("acme/shop", "https://drone.acme.example/acme/shop/42"),
    "github": ("acme/shop", "https://github.com/acme/shop/actions/runs/9081726354/attempts/1"),
    "gitlab": ("acme/shop", "https://gitlab.com/acme/shop/-/jobs/91100"),
    "jenkins": ("github.com/acme/shop", "https://ci.acme.example/job/shop/77/"),
    "teamcity": ("", "https://tc.acme.example/build/901"),
    "travis": ("acme/shop", "https://app.travis-ci.com/github/acme/shop/jobs/600"),
    "woodpecker": ("acme/shop", "https://ci.acme.example/repos/7/pipeline/8"),
}


class Checkout:
    """What git says of a checkout, and how often it was asked."""

    def __init__(self, commit: str = "", remote: str = "") -> None:
        self.answers = {"rev-parse": commit, "config": remote}
        self.asked: list[str] = []

    def __call__(self, arguments: object, directory: Path) -> Answer:
        assert isinstance(arguments, tuple)
        assert isinstance(directory, Path)
        self.asked.append(arguments[0])
        said = self.answers[arguments[0]]
        return Answer(0 if said else 1, f"{said}\n" if said else "", "")


@pytest.mark.parametrize("provider", PROVIDERS)
def test_the_variables_of_a_ci_system_name_project_commit_and_job(provider: str) -> None:
    """Each CI system's documented variables give the repository, the commit and the job's page."""
    variables = read_recording(provider).variables
    found = read_origin(variables, HERE, ask_git=Checkout())
    assert found == Origin(EXPECTED[provider][0], SHA, EXPECTED[provider][1])


# Builds that differ from the usual ones of their CI system: the project, and the job's page.
DIFFERENT = {
    "gitlab: a merge request from a fork, built in the fork": ("eve/shop", EXPECTED["gitlab"][1]),
    "github: a pull request on Gitea": ("acme/shop", ""),
    "circleci: a project of the GitHub App": ("", EXPECTED["circleci"][1]),
}


@pytest.mark.parametrize(
    "recording", [each for name in PROVIDERS for each in read_recordings(name)], ids=str
)
def test_git_answers_only_what_a_ci_system_leaves_open(recording: Recording) -> None:
    """A pull request has the same variables as a branch; git is asked only for an unknown one."""
    project, job_url = DIFFERENT.get(str(recording), EXPECTED[recording.provider])
    git = Checkout(OTHER, "https://git.example.com/team/app.git")
    found = read_origin(recording.variables, HERE, ask_git=git)
    assert found == Origin(project or "git.example.com/team/app", SHA, job_url)
    assert git.asked == ([] if project else ["config"])


@pytest.mark.parametrize(
    ("provider", "changed", "expected"),
    [
        (
            "github",
            {"GITHUB_RUN_ATTEMPT": ""},
            "https://github.com/acme/shop/actions/runs/9081726354",
        ),
        ("github", {"GITHUB_RUN_ID": ""}, ""),
        ("github", {"GITEA_ACTIONS": "true"}, ""),
        ("github", {"FORGEJO_ACTIONS": "true"}, ""),
        ("buildkite", {"BUILDKITE_JOB_ID": ""}, "https://buildkite.com/acme/shop/builds/1514"),
        (
            "azure",
            {"SYSTEM_TEAMPROJECT": "Our Shop"},
            "https://dev.azure.com/acme/Our%20Shop/_build/results?buildId=20811",
        ),
        (
            "azure",
            {
                "SYSTEM_COLLECTIONURI": "",
                "SYSTEM_TEAMFOUNDATIONCOLLECTIONURI": "https://tfs.example.com/tfs/main/",
            },
            "https://tfs.example.com/tfs/main/shop/_build/results?buildId=20811",
        ),
        ("woodpecker", {"CI_STEP_URL": "https://ci.example/repos/7/pipeline/8/2"}, None),
        ("gitlab", {"CI_JOB_URL": "javascript:alert(1)"}, ""),
        ("gitlab", {"CI_JOB_URL": "https://me:pw@gitlab.com/acme/shop/-/jobs/1"}, ""),
        ("gitlab", {"CI_JOB_URL": "ftp://gitlab.com/acme"}, ""),
        ("gitlab", {"CI_JOB_URL": "https://gitlab.com/" + "x" * 1000}, ""),
        ("jenkins", {"BUILD_URL": ""}, ""),
    ],
)
def test_a_link_leads_to_the_job_or_nowhere(
    provider: str, changed: dict[str, str], expected: str | None
) -> None:
    """A job's page is http or https, short, without a user, and empty where it is not certain."""
    variables = {**read_recording(provider).variables, **changed}
    wanted = next(iter(changed.values())) if expected is None else expected
    assert read_origin(variables, HERE, ask_git=Checkout()).job_url == wanted


@pytest.mark.parametrize(
    ("provider", "changed", "project", "commit"),
    [
        # Buildkite has `HEAD` where a person starts a build of a branch.
        ("buildkite", {"BUILDKITE_COMMIT": "HEAD"}, "github.com/acme/shop", OTHER),
        (
            "buildkite",
            {"BUILDKITE_REPO": "https://x:pw@git.example/a/b.git"},
            "git.example/a/b",
            SHA,
        ),
        (
            "circleci",
            {"CIRCLE_PROJECT_REPONAME": ""},
            "github.com/acme/shop",
            SHA,
        ),
        (
            "jenkins",
            {"GIT_URL": "", "GIT_URL_1": "ssh://h.example:22/a/b"},
            "h.example/a/b",
            SHA,
        ),
        ("jenkins", {"GIT_URL": "", "GIT_COMMIT": ""}, "git.example.com/team/app", OTHER),
        ("gitlab", {"CI_COMMIT_SHA": "<b>x"}, "acme/shop", OTHER),
        ("gitlab", {"CI_PROJECT_PATH": "x" * 1000}, "x" * 300, SHA),
    ],
)
def test_a_missing_or_malformed_value_is_git_s(
    provider: str, changed: dict[str, str], project: str, commit: str
) -> None:
    """What the variables lack or have in another form, git knows; no name has credentials."""
    variables = {**read_recording(provider).variables, **changed}
    git = Checkout(OTHER, "git@git.example.com:team/app.git")
    found = read_origin(variables, HERE, ask_git=git)
    assert (found.project, found.commit) == (project, commit)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://github.com/acme/shop.git", "github.com/acme/shop"),
        ("https://ghp_secret@github.com/acme/shop/", "github.com/acme/shop"),
        ("https://me:p@ss@github.com/acme/shop", "github.com/acme/shop"),
        ("https://git.example:8443/a/b?token=x#y", "git.example/a/b"),
        ("ssh://git@github.com:22/acme/shop.git", "github.com/acme/shop"),
        ("git@github.com:acme/shop.git", "github.com/acme/shop"),
        ("me:pw@github.com:acme/shop.git", "github.com/acme/shop"),
        ("github-work:acme/shop", "github-work/acme/shop"),
        ("/srv/git/shop.git", ""),
        ("../shop", ""),
        ("file:///srv/git/shop.git", ""),
        ("C:\\git\\shop", ""),
        ("ext::sh -c evil", ""),
        ("https://me:pw@[bad/x", ""),
        ("", ""),
    ],
)
def test_a_remote_is_named_by_host_and_path(url: str, name: str) -> None:
    """A remote's name has its host and path, and never its credentials; a folder has no name."""
    assert name_remote(url) == name


def test_a_plain_checkout_has_the_commit_and_remote_of_git(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real checkout's commit is what git shows; one without a commit or a remote has none."""
    monkeypatch.undo()
    monkeypatch.delenv("GIT_DIR", raising=False)

    def git(*words: str) -> str:
        names = ("-c", "user.name=x", "-c", "user.email=x@example.com")
        done = subprocess.run(
            ["git", *names, *words], cwd=tmp_path, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    assert read_origin({}, tmp_path) == Origin()
    git("init", "-q", "-b", "main")
    assert read_origin({}, tmp_path) == Origin()
    git("commit", "-q", "--allow-empty", "-m", "one")
    git("remote", "add", "origin", "https://me:pw@git.example.com/team/app.git")
    commit = git("log", "-1", "--format=%H")
    assert len(commit) == 40
    assert read_origin({}, tmp_path) == Origin("git.example.com/team/app", commit)


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "https://me@x.example/", "https://x/\n", 'https://x/"', "x" * 9]
)
def test_a_record_keeps_no_other_link(url: str) -> None:
    """A record from anywhere has a link to a page, or none."""
    assert RecordedPlace.model_validate({"job_url": url}).job_url == ""
    assert RecordedPlace.model_validate({"job_url": "https://x.example/7"}).job_url


@given(st.text(max_size=40))
def test_any_text_is_a_safe_link_or_none(text: str) -> None:
    """A link has no sign that could end an attribute or a line, and no user."""
    for url in (text, f"https://x.example/{text}", f"http://{text}"):
        kept = keep_link(url)
        assert kept in ("", url)
        assert not kept or kept.isascii()
        assert not set(kept) & set('"<>`\\ \n\r\t')
        assert "@" not in kept.partition("//")[2].replace("?", "/").replace("#", "/").split("/")[0]


@given(st.dictionaries(st.sampled_from(["GITHUB_SHA", "GITHUB_REPOSITORY"]), st.text(max_size=9)))
def test_any_variables_give_an_origin(changed: dict[str, str]) -> None:
    """No value of a variable is an error."""
    variables = {**read_recording("github").variables, **changed}
    assert read_origin(variables, HERE, ask_git=Checkout()).job_url.startswith(("https://", ""))
