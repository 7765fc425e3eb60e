"""Reused steps that no cache has after a build."""

from __future__ import annotations

import pytest

from bxcache.buildx.metadata import Definition, Layer, Metadata, Operation
from bxcache.buildx.stream.events import Outcome
from bxcache.buildx.stream.names import StepName
from bxcache.buildx.stream.trace import Trace, TracedStep
from bxcache.pipeline.lost_steps import explain_lost

REUSED, EXECUTED = Outcome.REUSED, Outcome.EXECUTED


def trace(*steps: tuple[str, Outcome]) -> Trace:
    return Trace(
        tuple(
            TracedStep(
                StepName(None, "build", at, len(steps), f"RUN {name}"), (name,), outcome, 1.0
            )
            for at, (name, outcome) in enumerate(steps, 1)
        )
    )


def definition(*names: str, lost: str = "") -> Definition:
    made = (
        Operation(name, (at,), () if name in lost.split() else ((Layer(f"sha256:{at:064}", 1),),))
        for at, name in enumerate(names, 1)
    )
    return Definition(None, "", tuple(made))


@pytest.mark.parametrize(
    ("lost", "outcomes", "expected"),
    [
        ("b", "rrr", "1 reused step cannot be saved"),
        ("b c", "rrr", "2 reused steps cannot be saved"),
        ("", "rrr", None),
        # An executed step has its layers, or the export of it failed, which has its own warning.
        ("b", "rer", None),
        # An engine that reports no layers at all.
        ("a b c", "rrr", None),
    ],
)
def test_lost_steps_are_named(lost: str, outcomes: str, expected: str | None) -> None:
    """Reused steps without layers are named, if those of others are known."""
    found = {"r": REUSED, "e": EXECUTED}
    built = trace(*((name, found[each]) for name, each in zip("abc", outcomes, strict=True)))
    said = explain_lost(built, Metadata(None, (definition(*"abc", lost=lost),)))
    if expected is None:
        assert said is None
    else:
        assert said is not None
        assert said.startswith(expected)
        assert all(
            f"[build {'abc'.index(each) + 1}/3] `RUN {each}`" in said for each in lost.split()
        )


def test_of_several_platforms_nothing_is_called_lost() -> None:
    """A step that platforms share can have its layers listed for one of them only."""
    definitions = (definition("a", "b", lost="b"), definition("a", "b"))
    assert explain_lost(trace(("a", REUSED), ("b", REUSED)), Metadata(None, definitions)) is None


def test_many_lost_steps_are_counted() -> None:
    """Five steps are named, and the others counted."""
    names = [f"n{at}" for at in range(9)]
    built = trace(*((name, REUSED) for name in names))
    said = explain_lost(built, Metadata(None, (definition(*names, lost=" ".join(names[1:])),)))
    assert said is not None
    assert said.startswith("8 reused steps ")
    assert "`RUN n5`, and 3 more;" in said
