"""Tests of which stages of a build are pushed, and which the registry has."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from bxcache.backends.inline_push import BuiltStage, group_stages
from bxcache.backends.inline_stages import label_stages, list_built
from bxcache.buildx.dockerfile import list_stages
from bxcache.buildx.metadata import Definition, Layer, Metadata, Operation
from bxcache.buildx.run import RunResult
from bxcache.buildx.stream.events import Outcome
from bxcache.buildx.stream.names import StepName
from bxcache.buildx.stream.trace import Trace, TracedStep

TEXT = """\
FROM scratch AS Base
RUN base
FROM base AS deps
RUN deps
FROM base
COPY --from=deps /x /x
FROM base AS extra
RUN extra
FROM base AS last
COPY --from=2 /x /x
"""
REUSED, EXECUTED = Outcome.REUSED, Outcome.EXECUTED
Made = tuple[str, Outcome, tuple[str, ...]]
"""A step: its stage, its outcome, its layers."""


def ran(*made: Made, platforms: tuple[str | None, ...] = (None,)) -> RunResult:
    steps, operations = [], []
    for number, (stage, outcome, layers) in enumerate(made):
        platform = platforms[number % len(platforms)]
        name = StepName(platform, stage, 1, 2, "RUN x")
        steps.append(TracedStep(name, (str(number),), outcome, 1.0))
        chains = tuple((Layer(layer, 5),) for layer in layers)
        operations.append(Operation(str(number), chains=chains))
    definition = Definition(None, "", tuple(operations))
    return RunResult(0, Trace(steps=tuple(steps)), Metadata(None, (definition,)), 1.0)


KNOWN = {"base": 5, "deps": 5, "middle": 5, "last": 5}
ALL: tuple[Made, ...] = (
    ("base", REUSED, ("base",)),
    ("deps", REUSED, ("deps",)),
    ("stage-2", REUSED, ("middle",)),
    ("last", REUSED, ("last",)),
)


def changed(*other: Made) -> RunResult:
    """Make a build that reused all steps except the given ones."""
    told = {stage: (stage, outcome, layers) for stage, outcome, layers in other}
    return ran(*(told.get(each[0], each) for each in ALL))


CASES: dict[str, tuple[RunResult, str | None, list[str]]] = {
    "all is known": (changed(), None, []),
    "a step ran": (changed(("deps", EXECUTED, ("deps",))), None, ["deps"]),
    "a step failed": (changed(("deps", Outcome.FAILED, ("deps",))), None, ["deps"]),
    "the registry has not its layer": (changed(("deps", REUSED, ("other",))), None, ["deps"]),
    "its layer is not told": (changed(("deps", REUSED, ())), None, ["deps"]),
    "one of two forms is known": (changed(("deps", REUSED, ("other", "deps"))), None, []),
    # A stage on another base is another image.
    "its base is new": (
        changed(("base", EXECUTED, ("base",))),
        None,
        ["base", "deps", "stage-2", "last"],
    ),
    # Only the copying step shows whether the source of a copy is new.
    "what it copies is new": (changed(("stage-2", EXECUTED, ("x",))), None, ["stage-2"]),
    "one step of two ran": (
        ran(*ALL, ("deps", EXECUTED, ("deps",))),
        None,
        ["deps"],
    ),
    "one platform of two ran": (
        ran(
            *ALL, ("deps", EXECUTED, ("deps",)), platforms=("linux/amd64", "linux/arm64")
        ),
        None,
        ["deps"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("built", "target", "new"), CASES.values(), ids=CASES)
def test_new_stages_are_found(built: RunResult, target: str | None, new: list[str]) -> None:
    """The new stages are those counted by hand, and stages that were not built are absent."""
    found = list_built(list_stages(TEXT), target, built, KNOWN)
    assert [each.stage.name for each in found] == ["base", "deps", "stage-2", "last"]
    assert [each.stage.name for each in found if each.is_new] == new


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (None, ["last"]),
        ("last", ["last"]),
        ("deps", ["deps"]),
        ("Base", ["base"]),
        # BuildKit would have refused this target.
        ("absent", []),
    ],
)
def test_the_last_stage_is_the_target(target: str | None, expected: list[str]) -> None:
    """The last stage is the target, wherever it is in the file and in any case of letters."""
    found = list_built(list_stages(TEXT), target, changed(), KNOWN)
    assert [each.stage.name for each in found if each.is_last] == expected


def test_the_last_stage_may_have_no_name() -> None:
    """The last stage of the file may have no name."""
    stages = list_stages("FROM a AS b\nRUN x\nFROM b\nRUN y\n")
    built = ran(("b", EXECUTED, ()), ("stage-1", EXECUTED, ()))
    found = list_built(stages, None, built, {})
    assert [(each.stage.name, each.is_last) for each in found] == [("b", False), ("stage-1", True)]


@pytest.mark.parametrize("name", ["", " AS only"])
def test_the_only_stage_is_found_without_its_name(name: str) -> None:
    """The only stage of a file is found, though BuildKit shows it without a name."""
    stages = list_stages(f"FROM a{name}\nRUN x\n")
    (found,) = list_built(stages, None, ran(("stage-0", EXECUTED, ())), {})
    assert (found.stage, found.is_last, found.is_new) == (stages[0], True, True)


def test_a_stage_without_steps_passes_on_that_its_base_is_new() -> None:
    """A stage without steps passes on that its base is new."""
    stages = list_stages("FROM a AS base\nRUN x\nFROM base AS alias\nFROM alias AS last\nRUN y\n")
    built = ran(("base", EXECUTED, ("base",)), ("last", REUSED, ("last",)))
    found = list_built(stages, None, built, KNOWN)
    assert [(each.stage.name, each.is_new) for each in found] == [("base", True), ("last", True)]


@pytest.mark.parametrize(("text", "made"), [("", ()), ("", ALL), (TEXT, ())])
def test_without_stages_or_steps_nothing_is_listed(text: str, made: tuple[Made, ...]) -> None:
    """A Dockerfile in another language has no known stages."""
    assert list_built(list_stages(text), None, ran(*made), KNOWN) == []


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("FROM a AS x\nFROM a AS X\nFROM a AS x-0\n", ["x-1", "x", "x-0"]),
        ("FROM a AS x\nFROM a AS x\nFROM a AS x\n", ["x-0", "x-1", "x"]),
        ("FROM a\nFROM a AS stage-0\nFROM a\n", ["stage-0-0", "stage-0", "stage-2"]),
    ],
)
def test_no_two_stages_share_a_label(text: str, labels: list[str]) -> None:
    """Stages have different labels, and the last one of a name, which docker builds, keeps it."""
    assert [*label_stages(list_stages(text)).values()] == labels


def test_the_built_stages_of_one_name_are_saved() -> None:
    """Of three stages with one name, the two that were built are saved."""
    text = "FROM a AS x\nRUN 1\nFROM a AS x\nRUN 2\nFROM a AS x\nRUN 3\nFROM x\nCOPY --from=0 / /\n"
    built = ran(("x", EXECUTED, ()), ("x", EXECUTED, ()), ("stage-3", EXECUTED, ()))
    found = list_built(list_stages(text), None, built, {})
    assert [(each.stage.line, each.is_last) for each in found] == [
        (1, False),
        (5, False),
        (7, True),
    ]


def test_stages_with_equal_reads_are_pushed_together() -> None:
    """Stages with equal reads are pushed together, the last stage at the end of the first group."""
    reads: dict[str, set[str]] = {"deps": {"a"}, "tools": set(), "app": {"a", "b"}, "lint": {"b"}}
    stages = [
        BuiltStage(stage, is_last=stage.name == "app", is_new=True, reads=frozenset(reads[name]))
        for name in ("app", "deps", "tools", "lint")
        for stage in list_stages(f"FROM scratch AS {name}\n")
    ]
    twin = replace(stages[0], stage=replace(stages[0].stage, name="twin"), is_last=False)
    groups = [[each.stage.name for each in group] for group in group_stages([*stages, twin])]
    assert groups == [["twin", "app"], ["deps"], ["lint"], ["tools"]]
