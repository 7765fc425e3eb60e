"""Tests of environments that are incomplete, empty or contradictory."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from bxcache.place.place import Place, read_place
from bxcache.place.statement import LONGEST_FILE, read_file
from tests.unit.places.recordings import Git, make_clone, read_recordings

Changes = dict[str, str | None]

# The provider, a part of a recording's name that selects it, the changes to it (None: not set), and
# a part of the note about that.
BROKEN: list[tuple[str, str, Changes, str]] = [
    ("github", "push to", {"GITHUB_EVENT_NAME": None}, "GITHUB_EVENT_NAME is not set"),
    ("github", "push to", {"GITHUB_EVENT_NAME": ""}, "GITHUB_EVENT_NAME is not set"),
    ("github", "push to", {"GITHUB_EVENT_NAME": "new_thing"}, "does not show whose code"),
    ("github", "push to", {"GITHUB_REF": None, "GITHUB_REF_NAME": None}, "neither a branch nor"),
    ("github", "push to", {"GITHUB_REF": "refs/heads/"}, "neither a branch nor a tag"),
    ("github", "push to", {"GITHUB_REF": None, "GITHUB_REF_TYPE": ""}, "neither a branch nor"),
    ("github", "push to", {"GITHUB_REF_NAME": "other"}, "GITHUB_REF_NAME contradict"),
    ("github", "push to", {"GITHUB_REF_TYPE": "tag"}, "GITHUB_REF_TYPE contradict"),
    ("github", "push to", {"GITHUB_REF": "refs/pull/12/merge"}, "is a pull request's"),
    ("github", "push to", {"GITHUB_HEAD_REF": "main"}, "in a build that is not a pull request"),
    ("github", "push to", {"GITHUB_REPOSITORY": "eve/shop"}, "contradict each other"),
    ("github", "pull request of", {"GITHUB_REPOSITORY": "eve/shop"}, "contradict each other"),
    ("github", "pull request of", {"GITHUB_HEAD_REF": "main"}, "GITHUB_HEAD_REF and the file"),
    ("github", "pull request of", {"GITHUB_BASE_REF": "main"}, "GITHUB_BASE_REF and the file"),
    ("github", "pull request of", {"GITHUB_REF": "refs/pull/13/merge"}, "GITHUB_REF and the file"),
    ("github", "pull request of", {"GITHUB_EVENT_PATH": None}, "GITHUB_EVENT_PATH is not set"),
    ("github", "comment on an issue", {"GITHUB_EVENT_PATH": ""}, "GITHUB_EVENT_PATH is not set"),
    ("github", "workflow of the", {"GITHUB_EVENT_PATH": None}, "GITHUB_EVENT_PATH is not set"),
    ("github", "merge queue", {"GITHUB_EVENT_PATH": None}, "GITHUB_EVENT_PATH is not set"),
    ("gitlab", "push to", {"CI_MERGE_REQUEST_IID": ""}, "CI_MERGE_REQUEST_IID is set but empty"),
    ("gitlab", "push to", {"CI_COMMIT_TAG": "v2"}, "names a branch, but CI_COMMIT_TAG names a tag"),
    ("gitlab", "push to", {"CI_COMMIT_BRANCH": None}, "neither CI_COMMIT_BRANCH nor"),
    (
        "gitlab",
        "push to",
        {"CI_PIPELINE_SOURCE": "merge_request_event"},
        "CI_PIPELINE_SOURCE names",
    ),
    ("gitlab", "push to", {"CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "x"}, "not a pull request"),
    ("gitlab", "request of the", {"CI_MERGE_REQUEST_IID": ""}, "CI_MERGE_REQUEST_IID is not set"),
    ("gitlab", "request of the", {"CI_MERGE_REQUEST_IID": "x"}, "is not a number"),
    ("gitlab", "request of the", {"CI_MERGE_REQUEST_SOURCE_PROJECT_ID": None}, "is not set"),
    ("gitlab", "request of the", {"CI_MERGE_REQUEST_PROJECT_ID": ""}, "is not set"),
    ("gitlab", "request of the", {"CI_MERGE_REQUEST_SOURCE_BRANCH_NAME": None}, "is not set"),
    ("gitlab", "request of the", {"CI_MERGE_REQUEST_TARGET_BRANCH_NAME": None}, "is not set"),
    ("gitlab", "request of the", {"CI_COMMIT_BRANCH": "main"}, "contradict each other"),
    ("gitlab", "request of the", {"CI_COMMIT_TAG": "v1"}, "contradict each other"),
    ("gitlab", "external pull request of", {"CI_COMMIT_BRANCH": "main"}, "contradict each other"),
    ("circleci", "push to", {"CIRCLE_BRANCH": None}, "neither a branch nor a tag"),
    ("circleci", "push to", {"CIRCLE_BRANCH": " "}, "neither a branch nor a tag"),
    ("circleci", "push to", {"CIRCLE_TAG": "v1"}, "names a branch, but CIRCLE_TAG names a tag"),
    ("circleci", "push to", {"CIRCLE_PR_NUMBER": ""}, "CIRCLE_PR_NUMBER is set but empty"),
    ("circleci", "push to", {"CIRCLE_PR_USERNAME": "eve"}, "CIRCLE_PR_NUMBER is not set"),
    ("circleci", "push to", {"CIRCLE_BRANCH": "pull/31"}, "CIRCLE_PR_USERNAME is not set"),
    ("circleci", "push to", {"CIRCLE_PULL_REQUEST": "https://github.com/x"}, "is not a number"),
    ("buildkite", "push to", {"BUILDKITE_PULL_REQUEST": ""}, "PULL_REQUEST is not set"),
    ("buildkite", "push to", {"BUILDKITE_PULL_REQUEST": None}, "PULL_REQUEST is not set"),
    ("buildkite", "push to", {"BUILDKITE_PULL_REQUEST": "true"}, "is not a number"),
    ("buildkite", "push to", {"BUILDKITE_BRANCH": "eve:main"}, "BUILDKITE_BRANCH is a fork's"),
    ("buildkite", "push to", {"BUILDKITE_BRANCH": ""}, "neither a branch nor a tag"),
    ("buildkite", "push to", {"BUILDKITE_TAG": "v1"}, "BUILDKITE_TAG names a tag"),
    ("buildkite", "push to", {"BUILDKITE_PULL_REQUEST_REPO": "x"}, "is not a pull request"),
    ("buildkite", "request of", {"BUILDKITE_PULL_REQUEST_REPO": ""}, "REPO is not set"),
    ("buildkite", "request of", {"BUILDKITE_REPO": ""}, "BUILDKITE_REPO is not set"),
    ("buildkite", "request of", {"BUILDKITE_BRANCH": "eve:main"}, "BUILDKITE_BRANCH is a fork's"),
    ("buildkite", "request of", {"BUILDKITE_BRANCH": None}, "BUILDKITE_BRANCH is not set"),
    ("jenkins", "a branch of", {"BRANCH_NAME": None, "GIT_BRANCH": None}, "neither a branch nor"),
    ("jenkins", "a branch of", {"BRANCH_NAME": "", "GIT_BRANCH": "detached"}, "neither a branch"),
    ("jenkins", "a branch of", {"CHANGE_ID": ""}, "CHANGE_ID is set but empty"),
    ("jenkins", "a branch of", {"TAG_NAME": "v1"}, "names a branch, but TAG_NAME names a tag"),
    ("jenkins", "a branch of", {"CHANGE_TARGET": "main"}, "CHANGE_ID is not set"),
    ("jenkins", "a branch of", {"BRANCH_NAME": "PR-12-merge"}, "is a change request's"),
    ("jenkins", "a branch of", {"ghprbPullId": ""}, "ghprbPullId is set but empty"),
    ("jenkins", "a change of", {"CHANGE_FORK": ""}, "CHANGE_FORK is set but empty"),
    ("jenkins", "a change of", {"CHANGE_BRANCH": None}, "CHANGE_BRANCH is not set"),
    ("jenkins", "a change of", {"CHANGE_TARGET": None}, "CHANGE_TARGET is not set"),
    (
        "jenkins",
        "a change of",
        {"TAG_NAME": "v1"},
        "a pull request, but TAG_NAME names a tag",
    ),
    ("jenkins", "a change of", {"CHANGE_ID": "twelve"}, "is not a number"),
    ("jenkins", "builder, the same", {"ghprbAuthorRepoGitUrl": ""}, "RepoGitUrl is not set"),
    ("jenkins", "builder, the same", {"ghprbGhRepository": None}, "Repository is not set"),
    ("azure", "push to", {"BUILD_SOURCEBRANCH": None}, "neither a branch nor a tag"),
    ("azure", "push to", {"BUILD_SOURCEBRANCH": "$/shop/main"}, "neither a branch nor a tag"),
    ("azure", "push to", {"BUILD_SOURCEBRANCH": "refs/pull/12/merge"}, "number is missing"),
    ("azure", "push to", {"BUILD_REASON": "PullRequest"}, "number is missing"),
    ("azure", "push to", {"SYSTEM_PULLREQUEST_SOURCEBRANCH": "x"}, "is not a pull request"),
    ("azure", "request of the", {"SYSTEM_PULLREQUEST_ISFORK": None}, "neither True nor False"),
    ("azure", "request of the", {"SYSTEM_PULLREQUEST_ISFORK": ""}, "neither True nor False"),
    ("azure", "request of the", {"SYSTEM_PULLREQUEST_SOURCEBRANCH": ""}, "is not set"),
    ("azure", "request of the", {"SYSTEM_PULLREQUEST_TARGETBRANCH": None}, "is not set"),
    ("azure", "request of the", {"BUILD_SOURCEBRANCH": "refs/heads/main"}, "not a pull request's"),
    ("bitbucket", "push to", {"BITBUCKET_BRANCH": None}, "neither a branch nor a tag"),
    ("bitbucket", "push to", {"BITBUCKET_TAG": "v1"}, "BITBUCKET_TAG names a tag"),
    ("bitbucket", "push to", {"BITBUCKET_PR_ID": ""}, "BITBUCKET_PR_ID is set but empty"),
    ("bitbucket", "push to", {"BITBUCKET_PR_DESTINATION_BRANCH": "x"}, "is not a pull request"),
    ("bitbucket", "request", {"BITBUCKET_PR_DESTINATION_BRANCH": ""}, "BRANCH is not set"),
    ("bitbucket", "request", {"BITBUCKET_BRANCH": None}, "its branch is not set"),
    ("travis", "push to", {"TRAVIS_PULL_REQUEST": ""}, "TRAVIS_PULL_REQUEST is not set"),
    ("travis", "push to", {"TRAVIS_PULL_REQUEST": "yes"}, "is not a number"),
    ("travis", "push to", {"TRAVIS_BRANCH": ""}, "neither a branch nor a tag"),
    ("travis", "push to", {"TRAVIS_TAG": "v1"}, "TRAVIS_TAG names a tag"),
    ("travis", "push to", {"TRAVIS_EVENT_TYPE": "pull_request"}, "contradict each other"),
    ("travis", "push to", {"TRAVIS_PULL_REQUEST_SLUG": "eve/shop"}, "is not a pull request"),
    ("travis", "request of", {"TRAVIS_PULL_REQUEST_SLUG": ""}, "SLUG is not set"),
    ("travis", "request of", {"TRAVIS_REPO_SLUG": None}, "TRAVIS_REPO_SLUG is not set"),
    ("travis", "request of", {"TRAVIS_TAG": "v1"}, "TRAVIS_TAG names a tag"),
    ("drone", "push to", {"DRONE_BUILD_EVENT": ""}, "DRONE_BUILD_EVENT is not a known event"),
    ("drone", "push to", {"DRONE_BUILD_EVENT": "new"}, "DRONE_BUILD_EVENT is not a known event"),
    ("drone", "push to", {"DRONE_PULL_REQUEST": "12"}, "is not a pull request"),
    ("drone", "push to", {"DRONE_TAG": "v1"}, "is a branch, but DRONE_TAG is set"),
    ("drone", "push to", {"DRONE_BRANCH": "main"}, "contradict each other"),
    ("drone", "push to", {"DRONE_COMMIT_REF": "refs/pull/1/head"}, "neither a branch nor"),
    ("drone", "a tag", {"DRONE_TAG": "v3"}, "contradict each other"),
    ("drone", "request", {"DRONE_PULL_REQUEST": ""}, "DRONE_PULL_REQUEST is not set"),
    (
        "woodpecker",
        "push to",
        {"CI_PIPELINE_EVENT": None},
        "EVENT is not a known event",
    ),
    ("woodpecker", "push to", {"CI_COMMIT_PULL_REQUEST": "12"}, "is not a pull request"),
    ("woodpecker", "push to", {"CI_COMMIT_REF": "", "CI_COMMIT_BRANCH": ""}, "neither a branch"),
    ("woodpecker", "request", {"CI_COMMIT_PULL_REQUEST": "!"}, "is not a number"),
    ("teamcity", "a branch", {"TEAMCITY_BUILD_PROPERTIES_FILE": None}, "FILE is not set"),
    ("teamcity", "a branch", {"TEAMCITY_BUILD_PROPERTIES_FILE": "/nowhere"}, "cannot be read"),
    ("teamcity", "a branch", {"TEAMCITY_BUILD_PROPERTIES_FILE": "/dev/null"}, "cannot be read"),
]


def read_changed(provider: str, part: str, changes: Changes, folder: Path) -> Place:
    recording = next(r for r in read_recordings(provider) if part in r.name)
    assert recording.expected.trusted or "request" in part
    environment: Changes = {**recording.write(folder), **changes}
    kept = {name: value for name, value in environment.items() if value is not None}
    return read_place(kept, folder, ask_git=make_clone())


@pytest.mark.parametrize(("provider", "part", "changes", "note"), BROKEN)
def test_missing_or_contradictory_values_remove_trust(
    provider: str, part: str, changes: Changes, note: str, tmp_path: Path
) -> None:
    """Anything missing or contradictory removes trust, and a note names it."""
    place = read_changed(provider, part, changes, tmp_path)
    assert place.provider == provider
    assert not place.trusted
    assert note in "\n".join(place.notes)


def test_two_providers_at_once_are_not_trusted(tmp_path: Path) -> None:
    """A build that two providers claim is not trusted, and a note names both."""
    place = read_changed("github", "push to", {"GITLAB_CI": "true"}, tmp_path)
    assert (place.provider, place.trusted) == ("github", False)
    assert place.reason == "several CI providers claim to run it"
    assert "github and gitlab all claim to run this build" in place.notes[0]


def test_a_second_properties_file_may_be_missing(tmp_path: Path) -> None:
    """Without TeamCity's second file, which has the branch, the build is not trusted."""
    build = tmp_path / "half"
    build.write_text("teamcity.configuration.properties.file=/nowhere\n")
    changes: Changes = {"TEAMCITY_BUILD_PROPERTIES_FILE": str(build)}
    place = read_changed("teamcity", "a branch", changes, tmp_path)
    assert not place.trusted
    assert "teamcity.configuration.properties.file" in place.notes[0]


def _write(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def _write_sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, LONGEST_FILE + 1)


def _replace(make: Callable[[Path], None]) -> Callable[[Path], object]:
    def replace(path: Path) -> None:
        path.unlink()
        make(path)

    return replace


EVENTS: dict[str, Callable[[Path], object]] = {
    "missing": os.unlink,
    "a directory": _replace(os.mkdir),
    "a pipe": _replace(os.mkfifo),
    "a broken link": _replace(lambda path: path.symlink_to("nowhere")),
    "huge": _write_sparse,
    "empty": _write(b""),
    "no JSON": _write(b"{'repository': 1}"),
    "cut off": _write(b'{"repository": {"full_name": "acme/shop"'),
    "a list": _write(b"[]"),
    "a text": _write(b'"x"'),
    "null": _write(b"null"),
    "deep": _write(b"[" * 200_000 + b"]" * 200_000),
    "deep objects": _write(b'{"a":' * 200_000 + b"1" + b"}" * 200_000),
    "no UTF-8": _write(b'{"repository": "\xff\xfe"}'),
    "a huge number": _write(b'{"number": ' + b"9" * 10_000 + b"}"),
    "nothing in it": _write(b"{}"),
    "a repository of the wrong type": _write(b'{"repository": [], "pull_request": []}'),
    "names of the wrong type": _write(
        b'{"repository": {"full_name": [1], "default_branch": {}},'
        b' "pull_request": {"number": true, "head": {"repo": {"full_name": [1]}, "ref": 1.5}}}'
    ),
    "a head of the wrong type": _write(
        b'{"repository": {"full_name": "acme/shop"}, "pull_request": {"number": 12, "head": 3}}'
    ),
    "empty names": _write(
        b'{"repository": {"full_name": ""},'
        b' "pull_request": {"number": 12, "head": {"repo": {"full_name": ""}}}}'
    ),
}


@pytest.mark.parametrize("kind", EVENTS)
def test_an_unreadable_event_makes_a_pull_request_untrusted(kind: str, tmp_path: Path) -> None:
    """An unreadable event removes trust, and the values from the variables stay."""
    place = _read_with_event("pull request of", kind, tmp_path)
    assert not place.trusted
    assert "GITHUB_EVENT_PATH" in place.notes[0]
    assert (place.branch, place.base, place.pull_request) == ("feature/x", "trunk", "12")
    assert place.sources["pull_request"] in (
        "GITHUB_REF",
        "pull_request.number in GITHUB_EVENT_PATH",
    )
    assert (place.default, place.sources["default"]) == ("main", "refs/remotes/origin/HEAD")


@pytest.mark.parametrize("kind", EVENTS)
def test_an_unreadable_event_leaves_a_push_trusted(kind: str, tmp_path: Path) -> None:
    """A push stays trusted without the event, since git knows the default branch too."""
    place = _read_with_event("push to", kind, tmp_path)
    assert (place.trusted, place.branch, place.default) == (True, "feature/ß-1", "main")


@pytest.mark.parametrize("kind", EVENTS)
@pytest.mark.parametrize("part", ["comment on an issue", "workflow of the", "merge queue"])
def test_an_unreadable_event_removes_trust_that_depends_on_it(
    part: str, kind: str, tmp_path: Path
) -> None:
    """Comments, following workflows and merge queues are not trusted without the event."""
    place = _read_with_event(part, kind, tmp_path)
    assert not place.trusted
    assert place.notes


def _read_with_event(part: str, kind: str, folder: Path) -> Place:
    recording = next(r for r in read_recordings("github") if part in r.name)
    environment = recording.write(folder)
    EVENTS[kind](Path(environment["GITHUB_EVENT_PATH"]))
    return read_place(environment, folder, ask_git=make_clone())


def test_an_invalid_path_is_not_an_event(tmp_path: Path) -> None:
    """A path with a zero byte, which only a caller can pass, counts as unreadable."""
    changes: Changes = {"GITHUB_EVENT_PATH": "a\0b"}
    assert not read_changed("github", "pull request of", changes, tmp_path).trusted


def test_an_event_of_the_largest_size_is_read(tmp_path: Path) -> None:
    """An event of 25 MB, the largest that GitHub sends, is read."""
    recording = next(r for r in read_recordings("github") if "request of" in r.name)
    environment = recording.write(tmp_path)
    path = Path(environment["GITHUB_EVENT_PATH"])
    event = json.loads(path.read_text())
    path.write_text(json.dumps({**event, "padding": "x" * 25_000_000}))
    assert read_place(environment, tmp_path, ask_git=Git()).trusted


def test_a_larger_file_is_not_read_at_all(tmp_path: Path) -> None:
    """A file over the limit is not read, so it cannot fill the memory."""
    _write_sparse(tmp_path / "event")
    with pytest.raises(ValueError, match="it is larger than 33554432 bytes"):
        read_file(str(tmp_path / "event"))


def test_a_workflow_that_follows_another_branchs_gets_a_note(tmp_path: Path) -> None:
    """A workflow that follows another branch's is trusted and gets a note."""
    recording = next(r for r in read_recordings("github") if "workflow of the" in r.name)
    environment = recording.write(tmp_path)
    path = Path(environment["GITHUB_EVENT_PATH"])
    path.write_text(path.read_text().replace('"head_branch": "trunk"', '"head_branch": "topic"'))
    place = read_place(environment, tmp_path, ask_git=make_clone())
    assert (place.branch, place.trusted) == ("trunk", True)
    assert place.notes == ("GITHUB_REF is not the branch of the workflow that started this one",)


def test_a_pull_request_does_not_take_its_branch_from_git(tmp_path: Path) -> None:
    """The branch of a pull request does not come from git, whose checkout has a made-up branch."""
    recording = next(r for r in read_recordings("drone") if "request" in r.name)
    environment = {**recording.write(tmp_path), "DRONE_SOURCE_BRANCH": ""}
    git = Git("refs/heads/main")
    place = read_place(environment, tmp_path, ask_git=git)
    assert (place.branch, place.base, place.pull_request) == (None, "main", "12")
    assert git.asked == []


def test_a_branch_that_is_only_a_number_may_be_a_pull_request(tmp_path: Path) -> None:
    """A branch that is only a number is not trusted: it may be a pull request in TeamCity."""
    build = tmp_path / "half"
    build.write_text("teamcity.build.branch=12\n")
    changes: Changes = {"TEAMCITY_BUILD_PROPERTIES_FILE": str(build)}
    place = read_changed("teamcity", "a branch", changes, tmp_path)
    assert (place.branch, place.trusted) == ("12", False)


def test_no_note_repeats_what_a_stranger_wrote(tmp_path: Path) -> None:
    """Notes, reasons and sources contain no names, URLs or passwords."""
    for provider, part, changes, _ in BROKEN:
        marked = {name: f"{value}:pw@secret\x1b[31m" for name, value in changes.items() if value}
        place = read_changed(provider, part, {**changes, **marked}, tmp_path)
        for text in (*place.notes, place.reason, *place.sources.values()):
            assert "secret" not in text
            assert "\x1b" not in text
