"""Tests of where a build runs without a CI provider, and of properties of any environment."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from bxcache.place.place import Place, read_place
from bxcache.place.providers import PROVIDERS, TRACES, Provider
from bxcache.place.self_hosted import parse_properties
from bxcache.place.statement import Variables, compare, is_request_ref, name_repository
from tests.unit.places.recordings import ORIGIN_HEAD, Git, make_clone, read_recordings

HERE = Path(__file__).parent


def test_a_laptop_is_trusted() -> None:
    """A build outside CI is trusted, since its owner checked out the code."""
    git = Git("refs/heads/feature/x", refs={"refs/heads/main": ""})
    place = read_place({"HOME": "/home/maria"}, HERE, ask_git=git)
    assert replace(place, consulted=()) == Place(
        provider="git",
        branch="feature/x",
        tag=None,
        base=None,
        default="main",
        pull_request=None,
        trusted=True,
        reason="no CI provider runs it",
        sources={"branch": "HEAD of git", "default": "refs/heads/main"},
        notes=(),
    )
    assert len(git.asked) == 2


@pytest.mark.parametrize("value", ["true", "1", "yes", "my-own-ci"])
def test_an_unknown_provider_is_not_trusted(value: str) -> None:
    """A build in an unknown CI system is not trusted, since it may build anybody's code."""
    git = Git("refs/heads/main")
    place = read_place({"CI": value}, HERE, ask_git=git)
    assert (place.provider, place.branch, place.trusted) == ("git", "main", False)
    assert place.reason == "the CI provider is unknown"
    assert place.notes == ("CI is set, but the provider is unknown",)


@pytest.mark.parametrize("name", ["CODEBUILD_BUILD_ID", "bamboo_buildKey", "APPVEYOR"])
def test_an_unsupported_provider_is_not_trusted(name: str) -> None:
    """A CI system that does not set `CI` is recognized by its own variable."""
    place = read_place({name: "x:1"}, HERE, ask_git=make_clone())
    assert not place.trusted
    assert place.notes == (f"{name} is set, but the provider is unknown",)


@pytest.mark.parametrize("value", ["", " ", "false", "0", "False", "no"])
def test_a_variable_that_is_switched_off_does_not_mark_ci(value: str) -> None:
    """A variable set to a word for "no" marks no CI system."""
    environment = {"CI": value, "GITHUB_ACTIONS": value, "TRAVIS": value, "TEAMCITY_VERSION": ""}
    assert read_place(environment, HERE, ask_git=make_clone()).trusted


def test_a_setting_in_a_shell_does_not_mark_jenkins() -> None:
    """`JENKINS_URL` alone, which may be a setting in a person's shell, does not mark Jenkins."""
    environment = {"JENKINS_URL": "https://ci.acme.example/"}
    assert read_place(environment, HERE, ask_git=make_clone()).provider == "git"


@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda provider: provider.name)
def test_traces_of_a_provider_without_its_mark_are_not_trusted(provider: Provider) -> None:
    """Some of a provider's variables without its mark, as in a container, remove trust."""
    for name in TRACES[provider.name]:
        place = read_place({name: "x"}, HERE, ask_git=make_clone())
        assert (place.provider, place.trusted) == ("git", False)
        assert place.notes[0].startswith(name)


@pytest.mark.parametrize(
    ("refs", "expected", "source"),
    [
        ({}, None, None),
        ({"refs/heads/topic": ""}, None, None),
        ({"refs/heads/master": ""}, "master", "refs/heads/master"),
        ({"refs/heads/master": "", "refs/heads/main": ""}, "main", "refs/heads/main"),
        (
            {"refs/heads/main": "", "refs/remotes/origin/master": ""},
            "master",
            "refs/remotes/origin/master",
        ),
        (
            {ORIGIN_HEAD: "refs/remotes/origin/dev/2", "refs/heads/main": ""},
            "dev/2",
            ORIGIN_HEAD,
        ),
        ({ORIGIN_HEAD: "", "refs/heads/main": ""}, "main", "refs/heads/main"),
    ],
)
def test_the_default_branch_is_the_remotes_or_has_a_usual_name(
    refs: dict[str, str], expected: str | None, source: str | None
) -> None:
    """The default branch is the remote's HEAD, or else a usual name of a remote or local branch."""
    place = read_place({}, HERE, ask_git=Git("refs/heads/topic", refs))
    assert (place.default, place.sources.get("default")) == (expected, source)


@pytest.mark.parametrize(
    ("tags", "expected"), [([], None), (["v1"], "v1"), (["v1", "latest"], None)]
)
def test_a_detached_head_is_a_tag_if_it_has_just_one(tags: list[str], expected: str | None) -> None:
    """A detached HEAD is the tag at its commit; of two tags, neither is chosen."""
    place = read_place({}, HERE, ask_git=Git(tags=tags))
    assert (place.branch, place.tag, place.trusted) == (None, expected, True)


def test_a_branch_hides_the_tags_of_its_commit() -> None:
    """On a branch, the tags of its commit are not looked up."""
    place = read_place({}, HERE, ask_git=Git("refs/heads/main", tags=["v1"]))
    assert (place.branch, place.tag) == ("main", None)


@pytest.mark.parametrize(
    ("git", "note"),
    [
        (Git(failure=FileNotFoundError(2, "No such file")), None),
        (Git(failure=NotADirectoryError(20, "Not a directory")), None),
        (Git(failure=PermissionError(13, "Permission denied")), "cannot be run: Permission"),
        (Git(failure=TimeoutError()), "did not answer within 5 seconds"),
        (Git(refusal="fatal: not a git repository"), None),
        (Git(refusal="fatal: ... add --global safe.directory /x"), "belongs to another user"),
    ],
)
def test_a_failing_git_runs_once(git: Git, note: str | None, tmp_path: Path) -> None:
    """If git fails, it runs once, and only an unexpected failure causes a note."""
    place = read_place({}, tmp_path, ask_git=git)
    assert (place.provider, place.branch, place.default) == ("none", None, None)
    assert (place.trusted, place.sources) == (True, {})
    assert len(git.asked) == 1
    assert len(place.notes) == (note is not None)
    assert all(note in text for text in place.notes if note)


def test_a_repository_that_git_refuses_gets_a_note(tmp_path: Path) -> None:
    """A `.git` above the directory that git refuses causes a note."""
    (tmp_path / ".git").mkdir()
    (tmp_path / "app").mkdir()
    place = read_place({}, tmp_path / "app", ask_git=Git(refusal="fatal: schade"))
    assert place.notes == ("git cannot read this checkout, although it has a .git",)


def test_a_blank_variable_counts_as_not_set() -> None:
    """A blank variable counts as not set, since some providers set all of theirs."""
    variables = Variables({"A": " ", "B": "x"})
    assert variables.find("A", "B") == variables.find("B")
    assert list(variables.find_blank("A", "B", "C")) == ["A is set but empty"]
    assert list(variables.find_missing("A", "B", "C")) == ["A is not set", "C is not set"]


@pytest.mark.parametrize(
    "url",
    [
        "acme/shop",
        "https://github.com/acme/shop",
        "https://github.com/acme/shop.git",
        "https://me:p@ss@github.com/acme/shop.git/",
        "git://github.com/acme/shop.git",
        "ssh://git@github.com:22/acme/shop.git",
        "git@github.com:acme/shop.git",
        "github-work:acme/shop",
    ],
)
def test_a_repository_has_one_name_however_its_url_is_written(url: str) -> None:
    """All URLs of one repository give one name, which leaves out the host."""
    assert name_repository(url) == "acme/shop"


@pytest.mark.parametrize("name", ["main", "pull", "pulling/1x", "12", "pr-12", "feature/pr/12"])
def test_a_branch_is_not_taken_for_a_pull_request(name: str) -> None:
    """Only refs where code hosts keep pull requests count as such."""
    assert not is_request_ref(name)


@pytest.mark.parametrize(
    ("head", "base", "trusted"),
    [
        ("acme/shop", "acme/shop", True),
        ("Acme/Shop", "acme/shop", True),
        ("eve/shop", "acme/shop", False),
        ("acme/shop.git", "acme/shop", False),
        ("acme/stra\u00dfe", "acme/strasse", False),
        ("\u212aacme/shop", "kacme/shop", False),
        ("acme/\udc80", "acme/\udc81", False),
        ("", "", False),
        ("acme/shop", "", False),
    ],
)
def test_repositories_are_the_same_by_their_whole_names(
    head: str, base: str, *, trusted: bool
) -> None:
    """Names are compared whole, ignoring only the case of ASCII letters."""
    assert compare(head, base).trusted is trusted


@given(st.binary(max_size=200))
def test_any_bytes_are_properties(data: bytes) -> None:
    """Reading a properties file never fails, whatever it contains."""
    assert all(isinstance(text, str) for pair in parse_properties(data).items() for text in pair)


@given(
    st.dictionaries(
        st.text("abc.XYZ_ ü:=\\#!", min_size=1), st.text("abc \t\n\r=:\\#!ü/"), max_size=4
    )
)
def test_properties_are_read_as_java_writes_them(pairs: dict[str, str]) -> None:
    """Every escape of a Java properties file is undone."""
    lines = [f"{_escape(key)}={_escape(value)}" for key, value in pairs.items()]
    assert parse_properties("\n".join(lines).encode("latin-1")) == pairs


def _escape(text: str) -> str:
    names = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}
    written = "".join(
        names.get(letter, f"\\{letter}" if letter in " =:\\#!" else letter) for letter in text
    )
    return written.replace("ü", "\\u00fc")


KNOWN = sorted(
    {
        name
        for provider in PROVIDERS
        for recording in read_recordings(provider.name)
        for name in recording.variables
    }
    - {"GITHUB_EVENT_PATH", "TEAMCITY_BUILD_PROPERTIES_FILE"}
)
TEXTS = (
    st.sampled_from(
        ["", " ", "true", "false", "True", "12", "acme/shop", "main", "refs/heads/", "refs/tags/v1"]
    )
    | st.sampled_from(["pull_request", "push", "workflow_run", "refs/pull/1/merge", "woodpecker"])
    | st.text(max_size=20)
)


@given(st.dictionaries(st.sampled_from(KNOWN), TEXTS))
@settings(max_examples=300)
def test_any_environment_is_a_place(environment: dict[str, str]) -> None:
    """Any environment is read without an error, and every value has a source."""
    place = read_place(environment, HERE, ask_git=make_clone())
    values = {
        name: getattr(place, name) for name in ("branch", "tag", "base", "default", "pull_request")
    }
    assert set(place.sources) == {name for name, value in values.items() if value is not None}
    assert all(value is None or value.strip() for value in values.values())
    assert place.reason
    if place.provider not in ("git", "none") and place.branch is None and place.tag is None:
        assert not place.trusted


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["repository", "pull_request", "head", "repo", "full_name", "issue"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
NAMES = st.sampled_from(["acme/shop", "eve/shop", "acme/shop2", "", "acme"]) | st.text(max_size=9)


def _read_event(event: object, environment: dict[str, str]) -> Place:
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(event, file)
        file.flush()
        variables = {**environment, "GITHUB_ACTIONS": "true", "GITHUB_EVENT_PATH": file.name}
        return read_place(variables, HERE, ask_git=make_clone())


@given(NAMES, NAMES, st.dictionaries(st.sampled_from(KNOWN), TEXTS, max_size=6))
def test_a_pull_request_of_another_repository_is_never_trusted(
    head: str, base: str, others: dict[str, str]
) -> None:
    """No other variable makes a fork's pull request trusted."""
    event = {
        "repository": {"full_name": base, "default_branch": "main"},
        "pull_request": {"number": 1, "head": {"ref": "x", "repo": {"full_name": head}}},
    }
    name = "pull_request"
    place = _read_event(event, {"GITHUB_HEAD_REF": "x", **others, "GITHUB_EVENT_NAME": name})
    if head.lower() != base.lower() or not head:
        assert not place.trusted


@given(
    JSON,
    st.sampled_from(
        ["push", "pull_request", "pull_request_review", "workflow_run", "issue_comment"]
    ),
)
def test_any_event_is_read(event: object, name: str) -> None:
    """Any event is read without an error, but never trusted without a known repository."""
    place = _read_event(event, {"GITHUB_EVENT_NAME": name, "GITHUB_REF": "refs/heads/main"})
    if name in ("pull_request", "pull_request_review"):
        assert not place.trusted
