"""What a build took from the builder's own cache, and what rests on it."""

from __future__ import annotations

import pytest

from bxcache.buildx.metadata import Definition, Layer, Metadata, Operation
from bxcache.buildx.run import RunResult
from bxcache.buildx.stream.events import Outcome
from bxcache.buildx.stream.names import StepName
from bxcache.buildx.stream.trace import Trace, TracedStep
from bxcache.pipeline.borrowing import Known, find_borrowing

INPUTS = {"image": (), "make": ("image",), "copy": ("image", "make"), "last": ("copy",)}
"""A stage on an image with one step, of which another one copies, which has a step of its own."""
CHAINS = {"image": "i", "make": "im", "copy": "ic", "last": "icl"}
"""The layers of what each leaves, from the bottom."""


def hear(outcomes: str, chains: dict[str, str]) -> tuple[RunResult, Metadata]:
    """A build of which each step was reused or executed, as the letters say."""
    operations = tuple(
        Operation(
            vertex=vertex,
            lines=(line,),
            chains=(tuple(Layer(each, 1) for each in chains[vertex]),) if chains[vertex] else (),
            inputs=inputs,
            source="docker-image://busybox" if not inputs else "",
        )
        for line, (vertex, inputs) in enumerate(INPUTS.items(), 1)
    )
    steps = tuple(
        TracedStep(
            StepName(None, "s", at, 3, f"RUN  {vertex}\\\n  x"),
            (vertex,),
            Outcome.REUSED if letter == "r" else Outcome.EXECUTED,
            1.0,
        )
        for at, (vertex, letter) in enumerate(zip(list(INPUTS)[1:], outcomes, strict=True), 1)
    )
    metadata = Metadata(definitions=(Definition(None, "", operations),))
    return RunResult(0, Trace(steps), metadata, 1.0), metadata


@pytest.mark.parametrize(
    ("outcomes", "known", "borrowed", "sound"),
    [
        ("eee", "", "", "imcl"),
        ("rrr", "imcl", "", "imcl"),
        # What rests on it is executed, and no better.
        ("ree", "", "make", "i"),
        ("rrr", "", "make copy last", "i"),
        # The donor has all but the last.
        ("rrr", "imc", "last", "imc"),
        ("rre", "imc", "", "imcl"),
        # What was copied is known, so it does not matter where the builder has the rest from.
        ("rre", "ic", "make", "icl"),
    ],
)
def test_what_is_borrowed_and_what_rests_on_it(
    outcomes: str, known: str, borrowed: str, sound: str
) -> None:
    """A base image is nobody's step."""
    ran, metadata = hear(outcomes, CHAINS)
    found = find_borrowing(ran, metadata, Known({*known}))
    assert [each.text.split()[1].rstrip("\\") for each in found.steps] == borrowed.split()
    assert found.sound == {*sound}


def test_a_known_layer_on_an_unknown_one_is_not_known() -> None:
    """Files that are copied have one layer, whatever they are copied onto."""
    ran, metadata = hear("rre", {**CHAINS, "copy": "xc", "last": "xcl"})
    found = find_borrowing(ran, metadata, Known({*"imc"}))
    assert [each.line for each in found.steps] == [3]
    assert "l" not in found.sound


@pytest.mark.parametrize(("known", "borrowed"), [("", [2, 3, 4]), ("icl", [])])
def test_a_step_without_a_layer_counts_where_it_was_needed(known: str, borrowed: list[int]) -> None:
    """Before anything is exported, a step that is reused may have none."""
    ran, metadata = hear("rrr", {**CHAINS, "make": ""})
    found = find_borrowing(ran, metadata, Known({*known}))
    assert [each.line for each in found.steps] == borrowed


def test_the_warning_names_what_was_saved_of_it() -> None:
    """Stage, line and instruction on one line; nothing where none of it was saved."""
    ran, metadata = hear("rre", CHAINS)
    found = find_borrowing(ran, metadata, Known(set()))
    assert found.warn({"i", "l"}) is None
    text = found.warn({"m", "i"})
    assert text is not None
    assert text.startswith("1 layer that the build saved came from the builder's own cache")
    assert "[s 1/3] line 2 `RUN make\\ x`" in text
    assert "line 3" not in text
    assert "line 3 `RUN copy" in found.refuse()


@pytest.mark.parametrize("silent", [True, False])
def test_a_doubt_refuses_and_does_not_warn(silent: bool) -> None:  # noqa: FBT001
    """A warning says what was seen; what is to be refused must be known to be sound."""
    ran, metadata = hear("rrr", CHAINS)
    known = Known({*"im"}, None if silent else "the donor is out of reach")
    found = find_borrowing(ran, Metadata() if silent else metadata, known)
    assert found.warn({*"imcl"}) is None
    assert found.is_unsound
    assert found.sound == {*"im"}
    assert found.doubt
    assert found.doubt in found.refuse()


def test_a_doubt_about_what_was_not_needed_is_none() -> None:
    """A build that executed everything took nothing."""
    ran, metadata = hear("eee", CHAINS)
    assert not find_borrowing(ran, metadata, Known(set(), "a doubt")).is_unsound
    assert not find_borrowing(ran, Metadata(), Known(set())).is_unsound
