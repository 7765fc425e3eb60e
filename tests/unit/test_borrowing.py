"""Tests of layers taken from the builder's own cache, and of the layers built on them."""

from __future__ import annotations

import pytest

from bxcache.buildx.metadata import Definition, Layer, Metadata, Operation
from bxcache.buildx.run import RunResult
from bxcache.buildx.stream.events import Outcome
from bxcache.buildx.stream.names import StepName
from bxcache.buildx.stream.trace import Trace, TracedStep
from bxcache.pipeline.borrowing import Known, add_made, find_borrowing

INPUTS = {"image": (), "make": ("image",), "copy": ("image", "make"), "last": ("copy",)}
"""A stage on an image with one step, of which another one copies, which has a step of its own."""
CHAINS = {"image": "i", "make": "im", "copy": "ic", "last": "icl"}
"""The layers of what each leaves, from the bottom."""


def hear(outcomes: str, chains: dict[str, str]) -> tuple[RunResult, Metadata]:
    """Return a build whose steps were reused or executed, as the letters show."""
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
        # The steps built on a borrowed step are executed, but no more sound.
        ("ree", "", "make", "i"),
        ("rrr", "", "make copy last", "i"),
        # The donor has all layers but the last.
        ("rrr", "imc", "last", "imc"),
        ("rre", "imc", "", "imcl"),
        # The copied layer is known, so the origin of the other stage does not matter.
        ("rre", "ic", "make", "icl"),
    ],
)
def test_borrowed_steps_and_the_layers_on_them_are_found(
    outcomes: str, known: str, borrowed: str, sound: str
) -> None:
    """Reused steps without a known layer are borrowed, and layers built on them are unsound."""
    ran, metadata = hear(outcomes, CHAINS)
    found = find_borrowing(ran, metadata, Known({*known}))
    assert [each.text.split()[1].rstrip("\\") for each in found.steps] == borrowed.split()
    assert found.sound == {*sound}


def test_a_known_layer_on_an_unknown_one_is_not_known() -> None:
    """A layer of copied files, the same on any base, is known only if its base is."""
    ran, metadata = hear("rre", {**CHAINS, "copy": "xc", "last": "xcl"})
    found = find_borrowing(ran, metadata, Known({*"imc"}))
    assert [each.line for each in found.steps] == [3]
    assert "l" not in found.sound


@pytest.mark.parametrize(("known", "borrowed"), [("", [2, 3, 4]), ("icl", [])])
def test_a_step_without_a_layer_counts_if_it_was_needed(known: str, borrowed: list[int]) -> None:
    """A reused step, which may have no layer before an export, is borrowed if it was needed."""
    ran, metadata = hear("rrr", {**CHAINS, "make": ""})
    found = find_borrowing(ran, metadata, Known({*known}))
    assert [each.line for each in found.steps] == borrowed


def test_the_warning_names_the_saved_layers() -> None:
    """The warning has stage, line and instruction; it is absent if no borrowed layer was saved."""
    ran, metadata = hear("rre", CHAINS)
    found = find_borrowing(ran, metadata, Known(set()))
    assert found.warn({"i", "l"}) is None
    text = found.warn({"m", "i"})
    assert text is not None
    assert text.startswith(
        "1 layer that the build saved came from the builder's own cache, and no trusted build is "
        "known to have made it: "
    )
    several = found.warn({"m", "c"})
    assert several is not None
    assert several.startswith("2 layers that the build saved came from the builder's own cache")
    assert "made them: " in several
    assert "[s 1/3] line 2 `RUN make\\ x`" in text
    assert "line 3" not in text
    assert "line 3 `RUN copy" in found.refuse()


@pytest.mark.parametrize(
    ("others", "borrowed"),
    [
        ([], "make copy last"),
        (["eee"], ""),
        # Two builds reused each other's steps.
        (["rer", "ere"], ""),
        (["ere", "rer"], ""),
        # Both reused a step that nobody of the run executed, and all others rest on it.
        (["ree", "rer"], "make copy last"),
        (["err"], "copy last"),
    ],
)
def test_what_builds_of_the_same_run_made_is_not_borrowed(others: list[str], borrowed: str) -> None:
    """A step is not borrowed if another build executed it on known layers, or on such a step."""
    ran, metadata = hear("rrr", CHAINS)
    known = add_made(Known(frozenset()), [hear(each, CHAINS)[0] for each in others])
    found = find_borrowing(ran, metadata, known)
    assert [each.text.split()[1].rstrip("\\") for each in found.steps] == borrowed.split()


def test_other_builds_remove_no_doubt() -> None:
    """Other builds of the run say nothing about a donor that cannot be read."""
    assert add_made(Known({"i"}, "a doubt"), [hear("eee", CHAINS)[0]]).doubt == "a doubt"


@pytest.mark.parametrize("silent", [True, False])
def test_a_doubt_refuses_without_a_warning(silent: bool) -> None:  # noqa: FBT001
    """A doubt makes the build unsound, but only known borrowing causes a warning."""
    ran, metadata = hear("rrr", CHAINS)
    known = Known({*"im"}, None if silent else "the donor is out of reach")
    found = find_borrowing(ran, Metadata() if silent else metadata, known)
    assert found.warn({*"imcl"}) is None
    assert found.is_unsound
    assert found.sound == {*"im"}
    assert found.doubt
    assert found.doubt in found.refuse()


def test_a_doubt_does_not_matter_if_nothing_was_reused() -> None:
    """A build that executed everything borrowed nothing."""
    ran, metadata = hear("eee", CHAINS)
    assert not find_borrowing(ran, metadata, Known(set(), "a doubt")).is_unsound
    assert not find_borrowing(ran, Metadata(), Known(set())).is_unsound
