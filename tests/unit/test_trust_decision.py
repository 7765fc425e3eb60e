"""Tests of what a build may do with caches, by its place and its configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from bxcache.config.loading import load_setup
from bxcache.pipeline.request import BuildRequest
from bxcache.place.place import Place
from bxcache.place.scope import Kind, Owner
from bxcache.place.trust import Trust, decide_trust, describe_place

if TYPE_CHECKING:
    from pathlib import Path

FORK: dict[str, Any] = {"trusted": False, "reason": "a pull request from a fork"}


def place(**known: Any) -> Place:  # noqa: ANN401
    nothing = dict.fromkeys(("branch", "tag", "base", "default", "pull_request"))
    rest = {"provider": "github", "trusted": True, "reason": "a push", "sources": {}, "notes": ()}
    return Place(**{**nothing, **rest, **known})


def decide(
    found: Place,
    folder: Path,
    file: str = "",
    environment: dict[str, str] | None = None,
    **options: Any,  # noqa: ANN401
) -> Trust:
    (folder / "bxcache.toml").write_text(file)
    flags = BuildRequest(options=options, directory=folder).to_layer()
    return decide_trust(found, load_setup(folder, environment or {}, flags=flags), folder)[1]


@pytest.mark.parametrize(
    ("known", "guarded"),
    [
        ({}, True),
        ({"trusted": False}, False),
        ({"provider": "git"}, False),
        ({"provider": "none"}, False),
        # An unsupported CI system, and a person who declares the build as trusted.
        ({"provider": "git", "consulted": ("CI",)}, True),
        ({"provider": "none", "consulted": ("CODEBUILD_BUILD_ID",)}, True),
        ({"provider": "git", "consulted": ("JENKINS_URL",)}, False),
    ],
)
def test_only_trusted_builds_on_ci_are_guarded(known: dict[str, Any], guarded: bool) -> None:  # noqa: FBT001
    """Only trusted builds in CI are guarded, since others use what they save."""
    assert Trust(place(**known), writes=True, reason="").is_guarded == guarded
    assert not Trust(place(**known), writes=False, reason="").is_guarded


@pytest.mark.parametrize(
    ("known", "options", "noted"),
    [
        ({"provider": "git"}, {}, True),
        ({"provider": "git"}, {"branch": "topic"}, False),
        ({"provider": "git"}, {"write": "never"}, False),
        ({"provider": "git", "branch": "main"}, {}, False),
        ({"provider": "git", "tag": "v1"}, {}, False),
        ({"provider": "none"}, {}, False),
        ({"provider": "github"}, {}, False),
    ],
)
def test_a_detached_head_is_noted_once(
    known: dict[str, Any],
    options: dict[str, Any],
    noted: bool,  # noqa: FBT001
    tmp_path: Path,
) -> None:
    """A save of a checkout without a branch or a tag is noted, unless something names one."""
    notes = decide(place(**known), tmp_path, **options).notes
    assert [each.partition(",")[0] for each in notes] == ["HEAD is detached"] * noted


TRUST = [
    ("by default", True, "", {}, {}, True),
    ("by default", False, "", {}, {}, False),
    ("never", True, '[cache]\nwrite = "never"', {}, {}, False),
    ("always, in the file", False, '[cache]\nwrite = "always"', {}, {}, False),
    ("always, as a variable", False, "", {"BXCACHE_CACHE_WRITE": "always"}, {}, True),
    ("always, as a flag", False, "", {}, {"write": "always"}, True),
    ("trusted, in the file", False, "[place]\ntrusted = true", {}, {}, False),
    ("trusted, as a variable", False, "", {"BXCACHE_PLACE_TRUSTED": "true"}, {}, True),
    ("trusted, as a flag", False, "", {}, {"trusted": True}, True),
    ("not trusted, in the file", True, "[place]\ntrusted = false", {}, {}, False),
    ("not trusted, as a flag", True, "", {}, {"trusted": False}, False),
    ("never, though trusted", True, "", {"BXCACHE_CACHE_WRITE": "never"}, {"trusted": True}, False),
]


@pytest.mark.parametrize(
    ("trusted", "file", "variables", "flags", "writes"),
    [row[1:] for row in TRUST],
    ids=[f"{row[0]}-{row[1]}" for row in TRUST],
)
def test_only_an_allowed_build_saves(
    trusted: bool,  # noqa: FBT001
    file: str,
    variables: dict[str, str],
    flags: dict[str, Any],
    writes: bool,  # noqa: FBT001
    tmp_path: Path,
) -> None:
    """An untrusted build saves only if a flag or a variable allows it; its own file cannot."""
    found = place(branch="main", trusted=trusted)
    assert decide(found, tmp_path, file, variables, **flags).writes is writes


@pytest.mark.parametrize("key", ['branch = "main"', "trusted = true"])
def test_a_strangers_file_cannot_name_a_branch_or_grant_trust(key: str, tmp_path: Path) -> None:
    """A stranger's file can neither name another branch nor grant trust, and a note reports it."""
    found = decide(place(branch="evil", **FORK), tmp_path, f"[place]\n{key}\n")
    assert found.place.branch == "evil"
    assert not found.place.trusted
    assert any("settings of the config file ignored" in note for note in found.notes)


@pytest.mark.parametrize(
    ("variables", "noted"), [({}, False), ({"BXCACHE_CACHE_WRITE": "always"}, True)]
)
def test_bounds_are_noted_only_where_something_is_saved(
    variables: dict[str, str], *, noted: bool, tmp_path: Path
) -> None:
    """A bound of a stranger's file never counts, which has no effect on a build without a save."""
    file = "[[cache.backends]]\ntype = 'local'\nmax_size = '2GB'\nmax_age = '1d'\n"
    found = decide(place(branch="evil", **FORK), tmp_path, file, variables)
    assert [each.key.rpartition(".")[2] for each in found.refused] == ["max_size", "max_age"]
    assert any("settings of the config file ignored" in note for note in found.notes) is noted


@pytest.mark.parametrize(
    ("known", "owner"),
    [
        ({"branch": "main"}, Owner(Kind.BRANCH, "main")),
        ({"branch": None}, Owner(Kind.NONE)),
        ({"branch": "tag:v1"}, Owner(Kind.BRANCH, "tag:v1")),
        ({"tag": "v1"}, Owner(Kind.TAG, "v1")),
        ({"branch": "main", "pull_request": "7", **FORK}, Owner(Kind.UNTRUSTED, "7:main")),
        ({"branch": "v1", **FORK}, Owner(Kind.UNTRUSTED, ":v1")),
        ({"tag": "v1", **FORK}, Owner(Kind.UNTRUSTED, "::v1")),
        ({"branch": ":v1", **FORK}, Owner(Kind.UNTRUSTED, ":%3Av1")),
        ({**FORK}, Owner(Kind.UNTRUSTED, ":")),
    ],
)
def test_owners_of_different_kinds_differ(
    known: dict[str, Any], owner: Owner, tmp_path: Path
) -> None:
    """Owners of different kinds differ, whatever a branch is called."""
    assert decide(place(**known), tmp_path).owner == owner


@pytest.mark.parametrize(
    ("known", "owners"),
    [
        ({"branch": "main", "default": "main"}, ["main"]),
        ({"branch": "x", "default": "main"}, ["x", "main"]),
        ({"branch": "x", "base": "release", "default": "main"}, ["x", "release", "main"]),
        ({"branch": "x", "base": "main", "default": "main"}, ["x", "main"]),
        ({"branch": "x"}, ["x"]),
        ({"tag": "v1", "default": "main"}, ["tag:v1", "main"]),
        ({"default": "main"}, [None, "main"]),
        (
            {"branch": "x", "base": "main", "pull_request": "7", **FORK},
            ["untrusted:7:x", "x", "main"],
        ),
    ],
)
def test_a_build_reads_the_caches_of_its_branches(
    known: dict[str, Any], owners: list[str | None], tmp_path: Path
) -> None:
    """A build reads the caches of its own, the base and the default branch, each once."""
    found = decide(place(**known), tmp_path)
    assert [
        str(owner) or None for owner, _ in found.list_owners(("branch", "base", "default"))
    ] == owners


def test_everything_can_be_overridden(tmp_path: Path) -> None:
    """A variable overrides the file, and a flag overrides both."""
    file = '[place]\nbranch = "a"\nbase = "b"\ndefault = "c"\n'
    variables = {"BXCACHE_PLACE_BASE": "d", "BXCACHE_PLACE_DEFAULT": "e"}
    found = decide(place(branch="x", tag="v1"), tmp_path, file, variables, default_branch="f")
    assert (found.place.branch, found.place.base, found.place.default) == ("a", "d", "f")
    assert found.place.tag is None
    tagged = decide(place(branch="x"), tmp_path, git_tag="v2").place
    assert (tagged.branch, tagged.tag) == (None, "v2")
    shown = {key: source for key, _, source in describe_place(found)}
    assert shown["place.base"] == "BXCACHE_PLACE_BASE"
    assert shown["place.default"] == "default_branch="
    assert "bxcache.toml" in shown["place.branch"]
