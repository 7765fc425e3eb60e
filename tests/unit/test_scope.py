"""Tests of the names of scopes."""

from __future__ import annotations

import hashlib
import re
from itertools import product
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bxcache.place.scope import Kind, Owner, Scope, name_stage, write_owner

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md#pulling-manifests
TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
AMD, ARM = ("linux/amd64",), ("linux/arm64",)
BRANCHES = [
    *("main", "Main", "fix/it", "fix_it", "fix-it", "fix.it", "fix//it", "-fix", "--", ".fix"),
    *("..", "../../etc", "größe", "grösse", "分支", "分枝", "a" * 300, "a" * 301, "no-branch"),
    *("bxcache", "tag:v1", "tag-v1", "tag/v1", "tag//v1", "tag__v1", "untrusted:7:main"),
    *("untrusted-7-main", " ", "a b", "a\nb", "@{-1}", "~", "linux-amd64", "linux-arm64", ""),
    *("deadbeefdeadbeef", "x-deadbeefdeadbeef", "v2.0.0", "release/1.0", "/a", "a/", "\udcff"),
]
PLATFORMS = [AMD, ARM, (*AMD, *ARM), ("linux/arm/v7",), ("linux/arm/deadbeefdeadbeef",), ()]
PLATFORMS += [("linux", "amd64"), ("build/env",), ("linux/amd64,linux/arm64",)]


def branch(text: str) -> Owner:
    return Owner(Kind.BRANCH, text)


def feed(text: str) -> Iterator[str]:
    """Yield texts that look like the names made from a text."""
    owners = [Owner(kind, text) for kind in Kind]
    names = [Scope(text, text, (text, "linux/amd64"), owner).name for owner in owners]
    names += [name_stage(Scope(text, None, AMD).name, text)]
    for name in names:
        yield from (name, *name.split("."), name.rpartition(".")[0])
    yield from (f"{text}.{text}", f"tag:{text}", f"{text}/a.b", text.replace("_", "/"))


TEXTS = st.sampled_from(BRANCHES) | st.text("ab/-_.:0f", max_size=20) | st.text(max_size=90)


@st.composite
def pools(draw: st.DrawFn) -> list[str]:
    """Draw texts that look like names made from each other."""
    found = draw(st.lists(TEXTS, min_size=1, max_size=2))
    for _ in range(4):
        found.append(draw(st.sampled_from(sorted(feed(draw(st.sampled_from(found)))))))
    return sorted({*found, "build", "main"})


def combine(pool: Sequence[str]) -> list[Scope]:
    """Return all scopes made from some texts and existing platforms."""
    owners = [Owner(), *(Owner(kind, text) for kind in list(Kind)[:3] for text in pool)]
    targets = [None, *pool, "linux-amd64"]
    sets = [AMD, (*AMD, *ARM), tuple(pool), (f"linux/{pool[0]}",)]
    return [Scope(*parts) for parts in product(pool, targets, sets, owners)]


@settings(max_examples=25)
@given(pools())
def test_nothing_shares_a_tag(pool: list[str]) -> None:
    """No two of scopes, stages and labels share a tag, and each tag is valid."""
    scopes = combine(pool)
    names = {scope.name for scope in scopes}
    assert len(names) == len({(s.image, s.target, frozenset(s.platforms), s.owner) for s in scopes})
    some = sorted(names)[:: len(names) // 60 + 1]
    stages = [name_stage(name, stage) for name in some for stage in {*pool, "bxcache"}]
    labels = {f"{name}.bxcache" for name in names}
    assert len({*stages}) == len(stages)
    assert len(names | labels | {*stages}) == len(names) + len(labels) + len(stages)
    assert all(TAG.fullmatch(each) for each in (*names, *labels, *stages))


def write_before(text: str, longest: int = 40) -> str:
    """Write a part of a name as versions up to 0.9 did."""
    clean = re.sub(r"[^A-Za-z0-9_-]+", "-", text.replace("_", ".").replace("/", "_")).strip("-")
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:8]
    kept = clean if clean.replace("_", "/") == text else f"{clean}-{digest}"
    return shorten_before(kept.lstrip("-"), longest)


def shorten_before(text: str, longest: int) -> str:
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:8]
    return text if len(text) <= longest else f"{text[: longest - 9]}-{digest}"


def name_before(scope: Scope) -> str:
    """Name a scope as these versions did, on an existing platform."""
    parts = [scope.image, *([scope.target] if scope.target is not None else [])]
    platforms = "_".join(each.replace("/", "-") for each in sorted(scope.platforms))
    stem = shorten_before(".".join((*map(write_before, parts), platforms)), 79)
    owner = write_before(str(scope.owner))
    if owner in ("no-branch", "bxcache"):
        owner += f"-{hashlib.sha256(str(scope.owner).encode()).hexdigest()[:8]}"
    return f"{stem}.{'no-branch' if scope.owner == Owner() else owner}"


@settings(max_examples=25)
@given(st.lists(TEXTS, min_size=1, max_size=3))
def test_a_cache_of_an_earlier_version_is_read_only_by_its_owner(texts: list[str]) -> None:
    """A name that an earlier version hashed is never used, since two owners could share it."""
    pool = sorted({*texts, *(write_before(f"{mark}{t}") for mark in ("", "tag:") for t in texts)})
    owners = [Owner(), *(Owner(kind, text) for kind in list(Kind)[:2] for text in pool)]
    stems = product(pool, [None, *pool], [AMD, (*AMD, *ARM)])
    scopes = [Scope(*stem, owner) for stem in stems for owner in owners]
    before: dict[str, set[Scope]] = {}
    for scope in scopes:
        before.setdefault(name_before(scope), set()).add(scope)
    for scope in scopes:
        assert before.get(scope.name, {scope}) == {scope}


@pytest.mark.parametrize("text", ["main", "feature/JIRA-1-x", "renovate/go", "build-env", "a" * 40])
def test_a_plain_scope_is_named_as_before(text: str) -> None:
    """A plain scope keeps its name, so its cache is still read."""
    for target, owner in ((None, branch(text)), (text[:20], branch(text)), (None, Owner())):
        scope = Scope("services/api", target, AMD, owner)
        assert scope.name == name_before(scope)


def test_a_plain_scope_is_readable() -> None:
    """A scope with plain names has no hash in its name."""
    both = ("linux/arm64", "linux/amd64")
    assert Scope("api", "build", AMD, branch("main")).name == "api.build.linux-amd64.main"
    assert Scope("api", None, both, branch("fix/it")).name == "api.linux-amd64_linux-arm64.fix_it"
    assert Scope("api", None, AMD).name == "api.linux-amd64.no-branch"
    assert Scope("api", None, AMD, Owner(Kind.TAG, "v1")).name == "api.linux-amd64.tag__v1"
    assert re.fullmatch(r"release-1-0-[0-9a-f]{16}", write_owner(branch("release/1.0")))


@pytest.mark.parametrize("text", BRANCHES)
def test_every_part_leaves_room_for_a_label_and_a_stage(text: str) -> None:
    """With parts of any length, a stage's tag contains its whole hash."""
    for owner in (branch(text), Owner(Kind.UNTRUSTED, text)):
        name = Scope("i" * 300, "t" * 300, AMD * 3, owner).name
        assert TAG.fullmatch(f"{name}.bxcache")
        tags = {name_stage(name, f"{'b' * 39}{end}") for end in ("", "a", "b", "bb")}
        assert len(tags) == 4
        assert all(TAG.fullmatch(tag) and re.search(r"[0-9a-f]{16}$|b$", tag) for tag in tags)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Scope("a.b", None, AMD), Scope("a", "b", AMD)),
        (Scope("a/b", None, AMD), Scope("a-b", None, AMD)),
        (Scope("a_b", None, AMD), Scope("a-b", None, AMD)),
        (Scope("x" * 300, None, AMD), Scope("x" * 301, None, AMD)),
        (Scope("a", None, AMD), Scope("a", None, ARM)),
        (Scope("a", None, ("ab", "c")), Scope("a", None, ("a", "bc"))),
    ],
)
def test_names_that_sanitise_alike_stay_apart(one: Scope, other: Scope) -> None:
    """A name that loses characters gets a hash."""
    assert one.name != other.name


def test_the_tag_of_a_stage_is_not_a_scope() -> None:
    """A stage's tag is never a scope's name, even if a branch is named like a platform."""
    stage = name_stage(Scope("image", None, AMD, branch("linux-arm64")).name, "main")
    assert stage == "image.linux-amd64.linux-arm64.main"
    assert Scope("image", "linux-amd64", ARM, branch("main")).name != stage


OWNERS = st.just(Owner()) | st.builds(Owner, st.sampled_from(list(Kind)[:3]), TEXTS)


@given(OWNERS)
def test_an_owner_is_parsed_from_its_text(owner: Owner) -> None:
    """An owner can be parsed from its text, except for branch names that git forbids."""
    if owner.kind is not Kind.BRANCH or not re.match("tag:|untrusted:|$", owner.text):
        assert Owner.parse(str(owner)) == owner


@pytest.mark.parametrize("whose", PLATFORMS)
def test_platforms_in_common_are_found(whose: tuple[str, ...]) -> None:
    """Only scopes of the same image, target and owner are listed, most shared platforms first."""
    main = branch("main")
    wanted = Scope("image", None, (*AMD, *ARM), main)
    sets = [AMD, ARM, (*AMD, *ARM, "linux/s390x"), ("linux/s390x",), wanted.platforms]
    names = [Scope("image", None, each, main).name for each in sets]
    others = [
        Scope("image", "test", AMD, main),
        Scope("images", None, AMD, main),
        Scope("image", None, AMD, branch("maine")),
        Scope("image", None, AMD, Owner(Kind.TAG, "main")),
        Scope("linux-amd64", None, ("linux/s390x",), main),
    ]
    tags = ["latest", "", "..", f"{names[0]}.bxcache", name_stage(names[0], "main"), *names]
    found = wanted.list_overlapping([*(each.name for each in others), *tags])
    assert found == [
        (names[2], ("linux/amd64", "linux/arm64", "linux/s390x")),
        (names[0], AMD),
        (names[1], ARM),
    ]
    own = Scope("image", None, whose, main)
    assert own.list_overlapping([own.name]) == []
