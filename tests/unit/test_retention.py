"""Tests of which scopes of a registry are removed."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from bxcache.place.scope import Owner, Scope
from bxcache.registry.labels import Label
from bxcache.registry.registry_cache import Retention, choose_removed
from bxcache.registry.scopes import RemoteScope

DAY = 86_400
NOW = 1_700_000_000.0


def scope(
    branch: str | None = "main",
    *,
    days: float = 0,
    tag: str = "",
    changed: bool = False,
    lost: bool = False,
) -> RemoteScope:
    whose = Scope("image", None, ("linux/amd64",), Owner.parse(branch or ""))
    label = Label(whose, "sha256:" + "a" * 64, NOW - 100 * DAY, NOW - days * DAY)
    return RemoteScope(tag or whose.name, label, {}, "somebody wrote" if changed else "", lost)


def reason(found: RemoteScope, **retention: Any) -> str:  # noqa: ANN401
    removed = choose_removed([found], Retention(**retention), NOW)
    assert [each.scope for each in removed] in ([], [found])
    return removed[0].reason if removed else ""


MAIN = frozenset({"main"})
NONE: frozenset[str] = frozenset()


@pytest.mark.parametrize(
    ("found", "retention", "expected"),
    [
        # By age: the time of the last use counts, and the time of writing does not.
        (scope(days=30), {"max_age": 31 * DAY}, ""),
        (scope(days=30), {"max_age": 30 * DAY}, ""),
        (scope(days=30), {"max_age": 30 * DAY - 1}, "unused for 30 days"),
        (scope(days=30), {"max_age": None}, ""),
        (scope(days=1), {"max_age": 0}, "unused for 24 h"),
        (scope(days=-1), {"max_age": 0}, ""),
        (scope(None, days=30), {"max_age": 7 * DAY}, "unused for 30 days"),
        (scope("tag:v1", days=30), {"max_age": 7 * DAY}, "unused for 30 days"),
        (scope("untrusted:7", days=30), {"max_age": 7 * DAY}, "unused for 30 days"),
        # By branches.
        (scope("main"), {"branches": MAIN}, ""),
        (scope("gone/x"), {"branches": MAIN}, "the branch `gone/x` no longer exists"),
        (scope("gone/x"), {"branches": NONE}, "the branch `gone/x` no longer exists"),
        (scope("gone/x"), {"branches": None}, ""),
        (scope("Main"), {"branches": MAIN}, "the branch `Main` no longer exists"),
        (scope(None), {"branches": NONE, "tags": NONE}, ""),
        # By tags of git, which are not branches.
        (scope("tag:v1"), {"branches": MAIN}, ""),
        (scope("tag:v1"), {"branches": MAIN, "tags": frozenset({"v1"})}, ""),
        (scope("tag:v1"), {"tags": NONE}, "the tag `v1` no longer exists"),
        (scope("tag:v1"), {"tags": frozenset({"tag:v1"})}, "the tag `v1` no longer exists"),
        (scope("v1"), {"branches": NONE, "tags": frozenset({"v1"})}, "the branch `v1` no longer"),
        (scope("tag:a:b"), {"tags": frozenset({"a:b"})}, ""),
        # Scopes of neither a branch nor a tag stay until they are too old.
        (scope("untrusted:7"), {"branches": NONE, "tags": NONE}, ""),
        (scope("untrusted:tag:v1"), {"branches": NONE, "tags": NONE}, ""),
        # By branch and age.
        (scope("main", days=30), {"branches": MAIN, "max_age": 7 * DAY}, "unused for 30 days"),
        (scope("x", days=30), {"branches": MAIN, "max_age": 7 * DAY}, "the branch `x` no longer"),
        # By patterns, for the branch and for the tag.
        (scope("release/1.0"), {"branches": NONE, "keep": ("release/*",)}, ""),
        (scope("release/1/2"), {"branches": NONE, "keep": ("release/*",)}, ""),
        (scope("Release/1"), {"branches": NONE, "keep": ("release/*",)}, "the branch `Release/1`"),
        (scope("gone", tag="shared"), {"branches": NONE, "keep": ("shared",)}, ""),
        (scope("gone"), {"branches": NONE, "keep": ("image.*",)}, ""),
        (scope("gone"), {"branches": NONE, "keep": ("x", "gon?")}, ""),
        (scope("gone"), {"branches": NONE, "keep": ("on",)}, "the branch `gone` no longer"),
        (scope("gone"), {"branches": NONE, "keep": ("",)}, "the branch `gone` no longer"),
        (scope(None, days=30), {"max_age": 0, "keep": ("*no-branch",)}, ""),
        (scope(days=30), {"max_age": 0, "keep": ("*",)}, ""),
        (scope(days=30, lost=True), {"keep": ("main",)}, ""),
        # A scope that another client wrote, and a scope without its cache.
        (scope("gone", days=99, changed=True), {"branches": NONE, "max_age": 0}, ""),
        (scope(lost=True), {}, "its cache no longer exists"),
        (scope("gone", lost=True), {"branches": NONE}, "its cache no longer exists"),
    ],
)
def test_a_scope_is_removed_for_a_reason(
    found: RemoteScope, retention: dict[str, Any], expected: str
) -> None:
    """The reasons equal those decided by hand, and an empty reason keeps the scope."""
    why = reason(found, **retention)
    assert why == expected or (expected and why.startswith(expected))


def test_removals_keep_the_order_of_scopes() -> None:
    """Removals keep the order of scopes."""
    scopes = [scope(name, days=days) for name, days in (("b", 9), ("c", 1), ("a", 9))]
    removed = choose_removed(iter(scopes), Retention(max_age=7 * DAY), NOW)
    assert [str(each.scope.label.scope.owner) for each in removed] == ["b", "a"]


BRANCHES = st.sampled_from([None, "main", "gone", "release/1", "tag:v1", "untrusted:7", "x:y"])
SCOPES = st.builds(
    scope,
    BRANCHES,
    days=st.integers(-3, 400),
    tag=st.sampled_from(["", "shared", "latest"]),
    changed=st.booleans(),
    lost=st.booleans(),
)
NAMES = st.none() | st.frozensets(st.sampled_from(["main", "gone", "v1"]))
PATTERNS = st.lists(
    st.sampled_from(["release/*", "shared", "main", "image.*", "*", "[", "nothing"]), max_size=3
).map(tuple)
RETENTIONS = st.builds(
    Retention,
    max_age=st.none() | st.integers(0, 400 * DAY),
    branches=NAMES,
    tags=NAMES,
    keep=PATTERNS,
)


@given(st.lists(SCOPES), RETENTIONS)
def test_kept_and_changed_scopes_are_never_removed(
    scopes: list[RemoteScope], retention: Retention
) -> None:
    """Kept and overwritten scopes are never removed, whatever the other criteria."""
    for removal in choose_removed(scopes, retention, NOW):
        assert removal.reason
        assert not removal.scope.changed
        for pattern in retention.keep:
            assert not fnmatchcase(removal.scope.tag, pattern)
            assert not fnmatchcase(str(removal.scope.label.scope.owner), pattern)


@given(st.lists(SCOPES))
def test_without_criteria_only_lost_scopes_are_removed(scopes: list[RemoteScope]) -> None:
    """Without criteria, only labels without a cache are removed."""
    removed = choose_removed(scopes, Retention(), NOW)
    assert [each.scope for each in removed] == [s for s in scopes if s.lost and not s.changed]


@given(st.lists(SCOPES), RETENTIONS, st.integers(0, 400 * DAY))
def test_more_time_never_removes_more(
    scopes: list[RemoteScope], retention: Retention, longer: int
) -> None:
    """A longer age or one more pattern never removes more."""
    before = [each.scope for each in choose_removed(scopes, retention, NOW)]
    if retention.max_age is not None:
        patient = replace(retention, max_age=retention.max_age + longer)
        assert all(each.scope in before for each in choose_removed(scopes, patient, NOW))
    careful = replace(retention, keep=(*retention.keep, "release/*"))
    assert all(each.scope in before for each in choose_removed(scopes, careful, NOW))
