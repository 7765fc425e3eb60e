"""The critical path of a build."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bxcache.buildx.stream.events import Outcome
from bxcache.buildx.stream.names import StepName
from bxcache.buildx.stream.trace import Trace, TracedSource, TracedStep
from bxcache.insight.critical_path import find_critical_path


def step(name: str, seconds: float, *inputs: str) -> TracedStep:
    named = StepName(None, "s", 1, 1, name)
    return TracedStep(named, (name,), Outcome.EXECUTED, seconds, inputs=inputs)


DIAMOND = Trace(
    steps=(
        step("deps", 4.0, "base"),
        step("left", 10.0, "deps"),
        step("right", 7.0, "deps"),
        step("last", 1.0, "left", "right", "context"),
        step("apart", 3.0),
    ),
    sources=(TracedSource("base", "FROM debian", None, 2.0),),
)


def test_the_longest_chain_is_the_path() -> None:
    """The path follows what each step needs; a gain ends where another chain is the longest."""
    path = find_critical_path(DIAMOND)
    assert path.vertices == ("last", "left", "deps", "base")
    # Without `left`, base, deps, right and last take 14 of 17 seconds.
    assert path.gains == {"last": 1.0, "left": 3.0, "deps": 4.0, "base": 2.0}


def test_the_parts_of_one_step_are_one() -> None:
    """A step of two vertices is on the path once, whichever of them is needed."""
    linked = TracedStep(
        StepName(None, "s", 1, 2, "COPY --link"),
        ("copy", "merge"),
        Outcome.EXECUTED,
        2.0,
        inputs=("copy", "base"),
    )
    path = find_critical_path(Trace(steps=(linked, step("run", 1.0, "merge"))))
    assert path.vertices == ("run", "copy")


def test_a_circle_has_no_path() -> None:
    """Damaged inputs in a circle give no path, and no endless loop."""
    assert (
        find_critical_path(Trace(steps=(step("a", 1.0, "b"), step("b", 1.0, "a")))).vertices == ()
    )
    assert find_critical_path(Trace()).vertices == ()


@given(st.lists(st.tuples(st.floats(0, 9), st.sets(st.integers(0, 9))), max_size=10))
def test_no_step_gains_more_than_it_took(made: list[tuple[float, set[int]]]) -> None:
    """In any graph, the path is no longer than all steps, and no gain exceeds a step's own time."""
    steps = [
        step(f"s{at}", seconds, *(f"s{each}" for each in sorted(needs) if each < at))
        for at, (seconds, needs) in enumerate(made)
    ]
    path = find_critical_path(Trace(steps=tuple(steps)))
    took = {each.digests[0]: each.seconds for each in steps}
    assert sum(took[name] for name in path.vertices) <= sum(took.values()) + 1e-6
    assert all(-1e-6 <= gain <= took[name] + 0.001 for name, gain in path.gains.items())
    if any(took.values()):
        assert sum(took[each] for each in path.vertices) >= max(took.values()) - 1e-6
