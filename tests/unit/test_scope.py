"""Names of scopes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bxcache.scope import Scope, name_image, name_stage

# https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md#pulling-manifests
TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
TEXTS = st.text(min_size=1, max_size=200)
SCOPES = st.builds(
    Scope,
    TEXTS,
    st.none() | TEXTS,
    st.lists(st.sampled_from(["linux/amd64", "linux/arm64", "linux/arm/v7"]), min_size=1).map(
        tuple
    ),
    st.none() | TEXTS | st.sampled_from(["main", "no-branch", "bxcache", "linux-amd64"]),
)


@given(SCOPES)
def test_every_scope_is_a_valid_tag(scope: Scope) -> None:
    """Whatever an image or a stage is called."""
    assert TAG.fullmatch(scope.name)


@given(SCOPES, SCOPES)
def test_different_scopes_have_different_names(one: Scope, other: Scope) -> None:
    """Nothing is saved over somebody else's cache."""
    same = (one.image, one.target, set(one.platforms), one.branch) == (
        other.image,
        other.target,
        set(other.platforms),
        other.branch,
    )
    assert (one.name == other.name) == same


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Scope("a.b", None, ("linux/amd64",)), Scope("a", "b", ("linux/amd64",))),
        (Scope("a/b", None, ("linux/amd64",)), Scope("a-b", None, ("linux/amd64",))),
        (Scope("a_b", None, ("linux/amd64",)), Scope("a-b", None, ("linux/amd64",))),
        (Scope("x" * 300, None, ("linux/amd64",)), Scope("x" * 301, None, ("linux/amd64",))),
        (Scope("a", None, ("linux/amd64",)), Scope("a", None, ("linux/arm64",))),
    ],
)
def test_names_that_sanitise_alike_stay_apart(one: Scope, other: Scope) -> None:
    """A name that loses something gets a hash."""
    assert one.name != other.name


def test_a_plain_scope_is_readable() -> None:
    """The common case has no hash."""
    amd, both = ("linux/amd64",), ("linux/arm64", "linux/amd64")
    assert Scope("api", "build", amd, "main").name == "api.build.linux-amd64.main"
    assert Scope("api", None, both, "fix/it").name == "api.linux-amd64_linux-arm64.fix_it"
    assert Scope("api", None, amd).name == "api.linux-amd64.no-branch"


AMD = ("linux/amd64",)
BRANCHES = [
    *(
        "main",
        "Main",
        "fix/it",
        "fix_it",
        "fix-it",
        "fix.it",
        "fix//it",
        "-fix",
        "--",
        ".fix",
        "..",
    ),
    *("../../etc", "größe", "grösse", "分支", "分枝", "a" * 300, "a" * 301, "no-branch", "bxcache"),
    *("tag:v1", "tag-v1", "untrusted:7:main", "untrusted-7-main", " ", "a b", "a\nb", "@{-1}", "~"),
]


@pytest.mark.parametrize("branch", BRANCHES)
def test_every_branch_has_a_valid_tag_with_room_for_a_label(branch: str) -> None:
    """Slashes, dots, dashes, other scripts, 300 characters."""
    name = Scope("i" * 300, "t" * 300, AMD * 3, branch).name
    assert TAG.fullmatch(name)
    assert TAG.fullmatch(f"{name}.bxcache")


def test_no_two_branches_share_a_scope() -> None:
    """Nor does one look like what no branch has, or like the label of another scope."""
    names = [Scope("image", None, AMD, branch).name for branch in (*BRANCHES, None)]
    assert len(set(names)) == len(names)
    assert not {f"{name}.bxcache" for name in names} & set(names)
    assert not any(name.endswith(".bxcache") for name in names)


@pytest.mark.parametrize(
    ("context", "file", "expected"),
    [
        (".", None, "image"),
        (".", "Dockerfile", "image"),
        ("api", None, "api"),
        ("services/api", None, "services/api"),
        ("api", "api/Dockerfile", "api"),
        ("api", "api/web.Dockerfile", "api/web.Dockerfile"),
        (".", "docker/Dockerfile", "docker"),
        (".", "docker/web.Dockerfile", "docker/web.Dockerfile"),
        ("api", "docker/Dockerfile", "docker/Dockerfile/api"),
    ],
)
def test_an_image_is_named_by_where_its_dockerfile_lies(
    context: str, file: str | None, expected: str
) -> None:
    """The same on every machine, wherever the project is checked out."""
    for root in (Path("/work/one"), Path("/home/x/other-name")):
        assert name_image(root, root, context, file) == expected


def test_a_name_does_not_depend_on_the_working_directory() -> None:
    """`bxcache build .` below a folder is `bxcache build folder` above it."""
    root = Path("/p")
    assert name_image(root, root / "api", ".", None) == name_image(root, root, "api", None) == "api"


def test_remote_contexts_have_names_of_their_own() -> None:
    """A URL is no folder."""
    root = Path("/p")
    one = name_image(root, root, "https://git.example.com/a.git", None)
    other = name_image(root, root, "https://git.example.com/b.git", None)
    assert one != other
    assert one.startswith("remote/")


STAGES = TEXTS | st.sampled_from(["build", "Build", "bxcache", "no-branch", "main", "stage-0"])


@given(SCOPES, STAGES)
def test_every_stage_has_a_valid_tag_below_its_scope(scope: Scope, stage: str) -> None:
    """However long both are; so its stages are found by the scope, and it is no label."""
    tag = name_stage(scope.name, stage)
    assert TAG.fullmatch(tag)
    assert tag.startswith(f"{scope.name}.")
    assert tag != f"{scope.name}.bxcache"
    # A branch has no dot, so neither has what stands behind it.
    assert "." not in tag.removeprefix(f"{scope.name}.")


@given(SCOPES, STAGES, SCOPES, STAGES)
def test_no_two_stages_share_a_tag(one: Scope, stage: str, other: Scope, other_stage: str) -> None:
    """Of one scope or of two: nothing is saved over another stage."""
    same = (one.name, stage) == (other.name, other_stage)
    assert (name_stage(one.name, stage) == name_stage(other.name, other_stage)) == same


@pytest.mark.parametrize("branch", BRANCHES)
def test_a_stage_has_no_scopes_tag(branch: str) -> None:
    """Neither that of another branch, nor that of a target, nor a label."""
    stages = ["build", "bxcache", "no-branch", "linux-amd64", *BRANCHES]
    tags = {name_stage(Scope("image", None, AMD, branch).name, stage) for stage in stages}
    scopes = [Scope("image", target, AMD, each) for each in BRANCHES for target in (None, *stages)]
    assert len(tags) == len(set(stages))
    assert not tags & {scope.name for scope in scopes}
    assert not tags & {f"{scope.name}.bxcache" for scope in scopes}


@pytest.mark.parametrize("length", range(108, 121))
def test_a_long_scope_leaves_little_room_for_its_stages(length: int) -> None:
    """Tags end at 128 characters; two long names of stages are still two tags."""
    scope = "s" * length
    stages = ["build", "b" * 40, "b" * 41, "b" * 39 + "c", "bxcache", "builder", "builders"]
    tags = {name_stage(scope, stage) for stage in stages}
    assert len(tags) == len(stages)
    assert all(TAG.fullmatch(tag) for tag in tags)
    assert f"{scope}.bxcache" not in tags
