"""Tests of each provider's builds, recorded as its documentation describes them."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from bxcache.place import providers
from bxcache.place.place import read_place
from bxcache.place.statement import Variables
from tests.unit.places.recordings import (
    PROVIDERS,
    Git,
    Recording,
    make_clone,
    read_recording,
    read_recordings,
)

ALL = [recording for provider in PROVIDERS for recording in read_recordings(provider)]
# These do not report the head repository of a pull request, or do not build forks.
WITHOUT_FORKS = {"bitbucket", "drone", "woodpecker", "teamcity"}


@pytest.mark.parametrize("recording", ALL, ids=str)
def test_a_recorded_build_is_read_as_a_person_reads_it(
    recording: Recording, tmp_path: Path
) -> None:
    """Every field, its source, the trust, its reason and the notes are as expected."""
    place = read_place(recording.write(tmp_path), tmp_path, ask_git=make_clone())
    assert replace(place, consulted=(), is_fork=False) == recording.expected


def test_every_provider_is_recorded() -> None:
    """Every provider has recorded builds."""
    assert {provider.name for provider in providers.PROVIDERS} == set(PROVIDERS)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_every_provider_has_its_usual_builds(provider: str) -> None:
    """Each provider has a branch, a tag, a pull request and a fork's, with realistic variables."""
    places = [recording.expected for recording in read_recordings(provider)]
    assert any(place.branch and place.pull_request is None for place in places)
    assert any(place.tag for place in places) or provider == "teamcity"
    requests = [place for place in places if place.pull_request is not None]
    assert requests
    if provider not in WITHOUT_FORKS:
        assert {place.trusted for place in requests} == {True, False}
    assert all(len(recording.variables) >= 20 for recording in read_recordings(provider))


@pytest.mark.parametrize("recording", ALL, ids=str)
def test_a_recorded_build_is_marked_by_one_provider(recording: Recording) -> None:
    """A provider's build is never taken for another provider's."""
    assert providers.name_providers(Variables(recording.variables)) == (recording.provider,)


@pytest.mark.parametrize("recording", ALL, ids=str)
def test_without_its_mark_no_build_is_trusted(recording: Recording, tmp_path: Path) -> None:
    """A build without its provider's mark, as in a container, is not trusted."""
    environment = {
        name: value
        for name, value in recording.write(tmp_path).items()
        if not name.startswith(("BUILD_", "JENKINS_", "HUDSON_"))
        and name not in MARKS
        and not name.startswith("CHANGE_")
    }
    place = read_place({**environment, "CI": "true"}, tmp_path, ask_git=make_clone())
    assert not place.trusted
    assert place.notes


MARKS = (
    "GITHUB_ACTIONS",
    "GITLAB_CI",
    "CIRCLECI",
    "BUILDKITE",
    "TF_BUILD",
    "BITBUCKET_BUILD_NUMBER",
    "TRAVIS",
    "DRONE",
    "CI_SYSTEM_NAME",
    "TEAMCITY_VERSION",
)


def test_git_is_not_started_when_the_provider_knows_everything(tmp_path: Path) -> None:
    """Git does not run if the provider reports the branch and the default branch."""
    for provider in ("github", "gitlab", "buildkite", "drone", "woodpecker"):
        git = make_clone()
        environment = read_recording(provider).write(tmp_path)
        read_place(environment, tmp_path, ask_git=git)
        assert git.asked == [], provider


def test_git_runs_once_for_a_default_branch(tmp_path: Path) -> None:
    """Git runs once if only the default branch is unknown."""
    for provider in ("circleci", "jenkins", "azure", "bitbucket", "travis"):
        git = make_clone()
        read_place(read_recording(provider).write(tmp_path), tmp_path, ask_git=git)
        assert git.asked == ["for-each-ref"], provider


def test_a_provider_takes_precedence_over_git(tmp_path: Path) -> None:
    """The provider's branch takes precedence over git's, which may have any name in CI."""
    git = Git(head="refs/heads/made-up", tags=["v1"])
    place = read_place(read_recording("gitlab").write(tmp_path), tmp_path, ask_git=git)
    assert (place.branch, place.tag) == ("feature/x", None)
