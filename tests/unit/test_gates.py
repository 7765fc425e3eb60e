"""Tests of gates: the requirements that a build fails, and the reasons."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bxcache.buildx.stream.events import Outcome
from bxcache.config.models import GateSettings
from bxcache.config.quantities import format_apart, format_ratio, format_size
from bxcache.console.batch import render_batch
from bxcache.errors import GateError
from bxcache.insight.gates import judge_gates
from bxcache.insight.record import Record
from bxcache.insight.record_parts import RecordedCache, RecordedScope
from bxcache.pipeline.result import ImageOutcome
from tests.support.histories import make_record, make_stages, make_step

if TYPE_CHECKING:
    from collections.abc import Callable

R, X = Outcome.REUSED, Outcome.EXECUTED
STAGES = make_stages(
    ("base", 1, "a"), ("deps", 3, "base"), ("-extra", 6, "base"), ("app", 8, "deps")
)


def cache(size: int | None, place: str = "/store", *, imported: bool = False) -> RecordedCache:
    return RecordedCache(
        backend="local", place=place, scope="x", bytes=size, imported=imported, exported=True
    )


def build(*outcomes: Outcome, imported: bool = True, **more: Any) -> Record:  # noqa: ANN401  # a record's fields
    """Return a build with a step in `base`, two in `deps`, and one in `app`."""
    lines = (2, 4, 5, 9)
    steps = [make_step("FROM a", 1)]
    steps += [
        make_step(f"RUN {line}", line, outcome=outcome)
        for line, outcome in zip(lines, outcomes, strict=True)
    ]
    known = {"caches": (cache(100, imported=imported),), **more}
    return make_record(*steps, stages=STAGES, **known)


ALL, HALF = build(R, R, R, R), build(R, R, X, X)
FIRST = build(X, X, X, X, imported=False)
BEFORE = [build(R, R, R, R, caches=(cache(40),))]
FAILED = build(R, R, R, R, exit_status=1, caches=(cache(1),))


def of(scope: str, size: int, place: str = "/store", kind: str = "local") -> Record:
    """Return a successful build of another scope, with the size of its cache."""
    named = RecordedScope(name=scope, image="image", platforms=("linux/amd64",))
    kept = RecordedCache(backend=kind, place=place, scope=scope, bytes=size, exported=True)
    return build(R, R, R, R, scope=named, caches=(kept,))


PUSHED = RecordedCache(
    backend="registry", place="r.io/c:image.topic", scope="image.topic", bytes=100, imported=True
)
CASES: list[tuple[str, dict[str, Any], Record, list[Record], list[str]]] = [
    ("nothing is wanted", {}, HALF, [], []),
    ("just enough", {"min_hit_ratio": 0.5}, HALF, BEFORE, []),
    (
        "too little",
        {"min_hit_ratio": 0.51},
        HALF,
        BEFORE,
        ["2 of 4 steps reused (50 %); at least 51 % required"],
    ),
    ("all of it", {"min_hit_ratio": 1.0}, ALL, BEFORE, []),
    ("the first build", {"min_hit_ratio": 1.0, "require_cached": ["deps"]}, FIRST, [], []),
    (
        "the first build, asked for",
        {"min_hit_ratio": 1.0, "first": True},
        FIRST,
        [],
        ["0 of 4 steps"],
    ),
    ("after one that failed", {"min_hit_ratio": 1.0}, FIRST, [FAILED, FAILED], []),
    ("after one of another scope", {"min_hit_ratio": 1.0}, FIRST, [of("image.main", 9)], []),
    (
        "after one that failed, from another scope",
        {"min_hit_ratio": 1.0},
        HALF,
        [FAILED],
        ["2 of 4 steps"],
    ),
    ("the first build, of any size", {"max_size": 1, "max_seconds": 1}, FIRST, [], []),
    (
        "the first build, judged by all",
        {"max_size": 1, "max_seconds": 1, "first": True},
        FIRST,
        [],
        ["the cache has 100 B", "took"],
    ),
    ("from nothing, but known", {"min_hit_ratio": 1.0}, FIRST, BEFORE, ["0 of 4 steps"]),
    ("the stage is cached", {"require_cached": ["base"]}, HALF, BEFORE, []),
    ("in any case", {"require_cached": ["DEPS"]}, HALF, BEFORE, ["`deps` executed 1 of 2 steps"]),
    ("a stage that was not built", {"require_cached": ["extra"]}, HALF, BEFORE, []),
    (
        "an unknown stage",
        {"require_cached": ["dep"]},
        FIRST,
        [],
        ["no stage `dep`; the stages are `base`, `deps`, `extra`, `app`"],
    ),
    ("as large as it may be", {"max_size": 100}, ALL, [], []),
    ("larger", {"max_size": 99}, ALL, [], ["the cache has 100 B; at most 99 B allowed"]),
    (
        "shown as the limit",
        {"max_size": "1.04MB"},
        build(R, R, R, R, caches=(cache(1_043_999),)),
        BEFORE,
        ["the cache has 1.044 MB; at most 1.040 MB allowed"],
    ),
    ("grown as it may", {"max_growth": 60}, ALL, BEFORE, []),
    ("grown more", {"max_growth": 59}, ALL, BEFORE, ["grew by 60 B; at most 59 B allowed"]),
    ("nothing before", {"max_growth": 1}, ALL, [], []),
    ("a failed one before", {"max_growth": 59}, ALL, [FAILED, *BEFORE], ["grew by 60 B"]),
    (
        "grown since the scope's own",
        {"max_growth": 59},
        ALL,
        [of("image.main", 99), *BEFORE, of("image.main", 1)],
        ["grew by 60 B"],
    ),
    (
        "grown since the one it started from",
        {"max_growth": 59},
        ALL,
        [FAILED, of("image.main", 40), of("image.main", 1)],
        ["grew by 60 B"],
    ),
    (
        "started from several",
        {"max_growth": 1},
        ALL,
        [of("image.main", 40), of("image.next", 40)],
        [],
    ),
    (
        "grown since the one it started from, in a registry",
        {"max_growth": 59},
        build(R, R, R, R, caches=(PUSHED,)),
        [of("image.main", 40, "r.io/c:image.main", "registry")],
        ["grew by 60 B"],
    ),
    (
        "grown elsewhere",
        {"max_growth": 1},
        build(R, R, R, R, caches=(cache(100, "/other"),)),
        BEFORE,
        [],
    ),
    (
        "a little too little",
        {"min_hit_ratio": 0.504},
        HALF,
        BEFORE,
        ["2 of 4 steps reused (50.0 %); at least 50.4 % required"],
    ),
    (
        "all of it is wanted, and almost all is there",
        {"min_hit_ratio": 1.0},
        build(*[R] * 3, X),
        BEFORE,
        ["(75 %); at least 100 % required"],
    ),
    (
        "grown a little more",
        {"max_growth": 1_040_000},
        build(R, R, R, R, caches=(cache(1_042_040),)),
        BEFORE,
        ["grew by 1.042 MB; at most 1.040 MB allowed"],
    ),
    (
        "a little too slow",
        {"max_seconds": "12.3s"},
        ALL,
        [],
        ["took 12.34 s; at most 12.3 s allowed"],
    ),
    ("in minutes", {"max_seconds": "0.2m"}, ALL, [], ["took 12.3 s; at most 12 s allowed"]),
    (
        "much too slow for a small limit",
        {"max_seconds": "0.04s"},
        ALL,
        [],
        ["took 12.34 s; at most 0.04 s allowed"],
    ),
    (
        "a tiny limit",
        {"max_seconds": 0.00025},
        ALL,
        [],
        ["took 12.34 s; at most 0.00025 s allowed"],
    ),
    ("with decimals", {"max_seconds": "2.25s"}, ALL, [], ["took 12.34 s; at most 2.25 s allowed"]),
    ("fast enough", {"max_seconds": "13s"}, ALL, [], []),
    ("too slow", {"max_seconds": 12}, ALL, [], ["took 12.3 s; at most 12 s allowed"]),
    ("it failed", {"min_hit_ratio": 1.0, "max_size": 1}, FAILED, [], []),
    (
        "several",
        {"min_hit_ratio": 1, "max_size": 1, "max_seconds": 1},
        HALF,
        BEFORE,
        ["2 of 4", "the cache has 100 B", "took"],
    ),
]


@pytest.mark.parametrize(
    ("gate", "record", "earlier", "told"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_failed_gates_are_reported(
    gate: dict[str, Any], record: Record, earlier: list[Record], told: list[str]
) -> None:
    """Each failed gate has one line with the value and the limit."""
    verdicts = judge_gates(GateSettings.model_validate(gate), record, earlier)
    assert len(verdicts) == len(told)
    for verdict, words in zip(verdicts, told, strict=True):
        assert words in str(verdict)
        assert "\n" not in str(verdict)
        assert verdict.fails


@pytest.mark.parametrize("name", ["min_hit_ratio", "max_size"])
def test_a_gate_that_warns_does_not_fail(name: str) -> None:
    """A gate in `warn` warns, and every other gate fails the build."""
    gate = GateSettings.model_validate({"min_hit_ratio": 1.0, "max_size": 1, "warn": [name]})
    verdicts = judge_gates(gate, HALF, BEFORE)
    assert {each.gate: each.fails for each in verdicts} == {
        "min_hit_ratio": name != "min_hit_ratio",
        "max_size": name != "max_size",
    }


KINDS: dict[str, tuple[Callable[[float, int], str], int, st.SearchStrategy[float]]] = {
    "size": (lambda size, digits: format_size(int(size), digits), 1, st.integers(0, 10**13)),
    "share": (format_ratio, 0, st.floats(0, 1)),
}


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_different_values_are_shown_differently(kind: str, data: st.DataObject) -> None:
    """Two different values never look the same in a message, however close they are."""
    show, digits, numbers = KINDS[kind]
    one = data.draw(numbers)
    near = st.floats(0.999, 1.001).map(lambda factor: type(one)(one * factor))
    other = data.draw(st.one_of(numbers, near).filter(lambda each: each != one))
    first, second = format_apart(one, other, show, digits)
    assert first != second


def test_an_error_has_a_line_for_each_gate() -> None:
    """An error lists each failed gate on its own line."""
    verdicts = judge_gates(GateSettings(min_hit_ratio=1.0, max_size=1), HALF, BEFORE)
    error = GateError(verdicts)
    assert error.message.split("\n") == [str(each) for each in verdicts]
    shown = render_batch({"api": ImageOutcome("api", error=error)}, 2.0, quiet=True).splitlines()
    assert shown == [*(f"api: {each}" for each in verdicts), "1 image: 0 built, 1 failed, in 2.0 s"]
