"""Tests of what a build in CI that saves no cache says: why, and what to set in the job."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from bxcache.config.loading import load_setup
from bxcache.place.place import read_place
from bxcache.place.providers import UNREAD
from bxcache.place.scope import Kind
from bxcache.place.trust import Trust, decide_trust
from tests.unit.places.recordings import (
    PROVIDERS,
    Git,
    Recording,
    make_clone,
    read_recording,
    read_recordings,
)

ALL = [recording for provider in PROVIDERS for recording in read_recordings(provider)]
UNTRUSTED = [recording for recording in ALL if not recording.expected.trusted]
TELL_FORKS = {"azure", "buildkite", "circleci", "github", "gitlab", "jenkins", "travis"}
"""The providers that say for sure that a build is a fork's; Bitbucket builds none."""


def decide(environment: Mapping[str, str], folder: Path, git: Git | None = None) -> Trust:
    """Decide about a build with these variables, and nothing in a config file."""
    place = read_place(environment, folder, ask_git=git or make_clone())
    return decide_trust(place, load_setup(folder, environment), folder)[1]


def follow(advice: str) -> dict[str, str]:
    """Return the variables that a text tells to set; a branch gets a name."""
    found = dict(re.findall(r"(BXCACHE_[A-Z_]+)=(\w+)", advice))
    return found | ({"BXCACHE_PLACE_BRANCH": "main"} if "_BRANCH to the branch" in advice else {})


@pytest.mark.parametrize("recording", ALL, ids=str)
def test_every_build_says_whether_it_saves(recording: Recording, tmp_path: Path) -> None:
    """A build says that it saves or not, with the reason that the provider's variables give."""
    trust = decide(recording.write(tmp_path), tmp_path)
    kept = "the cache is" if recording.expected.trusted else "no cache is"
    assert trust.reason.startswith(f"{kept} saved: the build is ")
    assert recording.expected.reason in trust.reason


@pytest.mark.parametrize("recording", UNTRUSTED, ids=str)
def test_what_an_untrusted_build_says_can_be_followed(recording: Recording, tmp_path: Path) -> None:
    """With the variable that the text names, the build saves: a fork's never for a branch."""
    environment = recording.write(tmp_path)
    advice = follow(decide(environment, tmp_path).reason)
    reason = recording.expected.reason
    is_fork = reason.endswith(" fork") and "may be" not in reason
    assert advice == (
        {"BXCACHE_CACHE_WRITE": "always"} if is_fork else {"BXCACHE_PLACE_TRUSTED": "true"}
    )
    trust = decide({**environment, **advice}, tmp_path)
    assert trust.writes
    assert (trust.owner.kind is Kind.UNTRUSTED) == is_fork
    assert not advice.keys() & follow(trust.reason).keys()


def test_every_provider_that_tells_forks_is_in_the_table() -> None:
    """The table has a fork of each provider that tells, and a doubtful build of the others."""
    forks = {each.provider for each in UNTRUSTED if each.expected.reason.endswith("from a fork")}
    told = {each.provider for each in UNTRUSTED if "may be" not in each.expected.reason}
    assert told & forks >= TELL_FORKS
    assert {each.provider for each in UNTRUSTED} | {"bitbucket"} == set(PROVIDERS)


@pytest.mark.parametrize("name", UNREAD)
@pytest.mark.parametrize("git", [make_clone(), Git("refs/heads/main")], ids=["detached", "branch"])
def test_an_unknown_system_says_what_to_set(name: str, git: Git, tmp_path: Path) -> None:
    """Where no variable tells anything, the text names trust, and the branch if git has none."""
    trust = decide({name: "1"}, tmp_path, git)
    assert "the CI provider is unknown" in trust.reason
    advice = follow(trust.reason)
    branch = {} if git.head else {"BXCACHE_PLACE_BRANCH": "main"}
    assert advice == {"BXCACHE_PLACE_TRUSTED": "true", **branch}
    trust = decide({name: "1", **advice}, tmp_path, git)
    assert (trust.writes, trust.owner.kind, trust.owner.text) == (True, Kind.BRANCH, "main")


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_provider_that_tells_too_little_is_explained(provider: str, tmp_path: Path) -> None:
    """Without the branch nothing is saved; a note names what is missing, the text what to set."""
    recording = read_recording(provider)
    branch = recording.expected.branch or ""
    known = recording.write(tmp_path).items()
    environment = {name: "" if branch in value else value for name, value in known}
    if provider == "teamcity":
        environment.pop("TEAMCITY_BUILD_PROPERTIES_FILE")
    trust = decide(environment, tmp_path)
    assert not trust.writes
    assert trust.notes
    advice = follow(trust.reason)
    assert advice == {"BXCACHE_PLACE_TRUSTED": "true", "BXCACHE_PLACE_BRANCH": "main"}
    assert decide({**environment, **advice}, tmp_path).owner.text == "main"


def test_what_a_person_decides_is_not_advised_against(tmp_path: Path) -> None:
    """A job that forbids saving, or says that it is not trusted, gets the reason alone."""
    environment = read_recording("github").write(tmp_path)
    never = decide({**environment, "BXCACHE_CACHE_WRITE": "never"}, tmp_path)
    assert follow(never.reason) == {}
    declared = decide({**environment, "BXCACHE_PLACE_TRUSTED": "false"}, tmp_path)
    assert declared.reason.endswith("set by BXCACHE_PLACE_TRUSTED")
