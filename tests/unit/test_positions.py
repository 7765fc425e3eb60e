"""Tests of the Dockerfile lines of a failed build's steps."""

from __future__ import annotations

from pathlib import Path

import pytest

from bxcache.buildx.bake.stream import BakeReader
from bxcache.buildx.faults import locate_steps
from bxcache.buildx.stream.events import Outcome
from bxcache.buildx.stream.names import parse_step_name
from bxcache.buildx.stream.raw import join_documents
from bxcache.buildx.stream.reader import TraceReader
from bxcache.buildx.stream.trace import Trace, TracedStep
from bxcache.config.paths import read_dockerfile

STREAMS = Path(__file__).parents[1] / "streams"
DOCKERFILE = (STREAMS / "Dockerfile").read_text()
FL = "FROM busybox AS base\nCOPY f /f\nFROM base AS fast\nRUN echo fast\nFROM base AS bad\n"
FL += "RUN sleep 2; exit 3\nFROM base AS slow\nRUN sleep 10\n"


def lines(trace: Trace, text: str = "") -> dict[str, tuple[int, ...]]:
    return {each.name.label: each.lines for each in locate_steps(trace, text).steps}


def make_trace(*names: str, said: tuple[str, ...] = (), error: str = "") -> Trace:
    outcome = Outcome.FAILED if error else Outcome.EXECUTED
    parsed = [parse_step_name(name) for name in names]
    steps = [TracedStep(name, (name.label,), outcome, 1.0, error) for name in parsed if name]
    assert len(steps) == len(names)
    return Trace(steps=tuple(steps), said=said)


def test_the_steps_of_a_recorded_failure_have_lines() -> None:
    """Each step has the line counted by hand in the recorded Dockerfile."""
    reader = TraceReader()
    for line in (STREAMS / "failing-step.ndjson").read_text().splitlines():
        list(reader.feed(line))
    trace = reader.finish()
    assert lines(trace)["[test 2/2]"] == (17,)
    assert set(lines(trace).values()) == {(), (17,)}
    assert {label: found for label, [found] in lines(trace, DOCKERFILE).items()} == {
        "[base 1/2]": 2, "[base 2/2]": 3, "[deps 1/2]": 5, "[deps 2/2]": 6,
        "[build 1/3]": 8, "[build 2/3]": 9, "[build 3/3]": 10, "[test 1/2]": 16, "[test 2/2]": 17,
    }  # fmt: skip


@pytest.mark.parametrize("name", ["failing", "failing-old"])
def test_the_steps_of_a_recorded_bake_have_lines(name: str) -> None:
    """A failed step has the quoted lines, and steps of other targets are found by counting."""
    reader = BakeReader(("fast", "bad", "slow"))
    for line in join_documents((STREAMS / "bake" / f"{name}.ndjson").read_text().splitlines()):
        list(reader.feed(line))
    assert lines(reader.finish("bad")) == {"[base 2/2]": (), "[bad 1/1]": (6,)}
    assert lines(reader.finish("fast"), FL) == {"[base 2/2]": (2,), "[fast 1/1]": (4,)}
    assert lines(reader.finish("slow"), FL) == {"[base 2/2]": (2,)}


QUOTE = ("app.df:5", "-" * 20, "   4 |     FROM a", "   5 | >>> RUN x", "-" * 20)
ERROR = "ERROR: failed to build: failed to solve: it broke"


@pytest.mark.parametrize(
    ("names", "said", "expected"),
    [
        (["[a 1/1] RUN x"], (*QUOTE, ERROR), [(5,)]),
        # One quote for each occurrence, the last one first.
        (["[a 1/1] RUN x"], (*QUOTE, "app.df:2", *QUOTE[1:], ERROR), [(2, 5)]),
        # The quote of steps on several platforms.
        (["[linux/amd64 a 1/1] RUN x", "[linux/arm64 a 1/1] RUN x"], (*QUOTE, ERROR), [(5,), (5,)]),
        # The quote belongs to one of two steps, but it is unknown which.
        (["[a 1/1] RUN x", "[b 1/1] RUN x"], (*QUOTE, ERROR), [(), ()]),
        # The quote belongs to another target's failure.
        (["[a 1/1] RUN x"], QUOTE, [()]),
        (["[a 1/1] RUN x"], (*QUOTE, "ERROR: failed to solve: something else"), [()]),
        # The output of a step may look the same.
        (["[a 1/1] RUN x"], ("app.df:5", ERROR), [()]),
    ],
)
def test_a_quote_belongs_to_the_step_whose_error_follows(
    names: list[str], said: tuple[str, ...], expected: list[tuple[int, ...]]
) -> None:
    """The quoted lines belong only to the step whose error follows."""
    trace = make_trace(*names, said=said, error="it broke")
    assert [each.lines for each in locate_steps(trace, "").steps] == expected


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        ("FROM scratch\nCOPY a /\n", "[1/1] COPY a /", (2,)),
        ("FROM scratch AS a\nCOPY a /\n", "[1/1] COPY a /", (2,)),
        ("FROM alpine\nCOPY a /\n", "[2/2] COPY a /", (2,)),
        ("FROM alpine\nENV A=b\nRUN a && \\\n # c\n b\nrun c\n", "[3/3] run c", (6,)),
        ("FROM alpine\nCOPY <<A <<B /\nRUN a\nA\nB\nRUN c\n", "[3/3] RUN c", (6,)),
        ("FROM a AS b\nFROM b\nWORKDIR /x\nADD c d\n", "[stage-1 2/2] ADD c d", (4,)),
        # Triggers of the base image or of the stage below are steps too.
        ("FROM alpine\nRUN a\n", "[3/3] RUN a", ()),
        ("FROM a AS b\nONBUILD RUN c\nFROM b\nRUN d\n", "[stage-1 1/2] ONBUILD RUN c", ()),
        # A variable may name a stage, an image, or nothing.
        ("ARG A\nFROM $A\nRUN a\nRUN b\n", "[2/2] RUN b", ()),
        ("FROM scratch AS a\nADD a /\nFROM scratch AS A\nADD a /\n", "[a 1/1] ADD a /", ()),
        # The text is another file's, or another frontend's.
        ("FROM scratch\nCOPY a /\n", "[1/1] ADD a /", ()),
        ("FROM scratch\nCOPY a /\n", "[1/1] ", ()),
        ("FROM scratch\nCOPY a /\n", "[1/2] COPY a /", ()),
        ("", "[1/1] COPY a /", ()),
    ],
)
def test_a_step_is_found_by_its_number(text: str, name: str, expected: tuple[int, ...]) -> None:
    """A step is found by its number only if its stage's step count and its verb match."""
    [step] = locate_steps(make_trace(name), text).steps
    assert step.lines == expected


@pytest.mark.parametrize(
    ("context", "file", "expected"),
    [
        (".", None, "FROM a"),
        ("sub", None, "FROM b"),
        (".", "sub/Dockerfile", "FROM b"),
        ("nowhere", None, ""),
        # The Dockerfile of these builds is elsewhere.
        ("https://example.com/a.git", None, ""),
        ("https://example.com/a.git", "Dockerfile", ""),
        (".", "https://example.com/Dockerfile", ""),
        ("-", "Dockerfile", ""),
        (".", "-", ""),
    ],
)
def test_the_dockerfile_is_that_of_the_build(
    context: str, file: str | None, expected: str, tmp_path: Path
) -> None:
    """The build's Dockerfile is read, and a local file with the same name is not."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "Dockerfile").write_text("FROM a")
    (tmp_path / "sub" / "Dockerfile").write_text("FROM b")
    assert read_dockerfile(tmp_path, context, file) == expected
