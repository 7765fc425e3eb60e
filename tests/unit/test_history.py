"""Tests of a build's stages and layers, of comparisons, and of caches without a record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pytest

from bxcache.errors import RecordError
from bxcache.insight.chains import read_chains
from bxcache.insight.difference import compare_stages
from bxcache.insight.history import History, Stage, list_platforms, view_stages
from bxcache.insight.record import Record
from bxcache.insight.record_parts import RecordedLayer, RecordedScope, RecordedStep
from bxcache.oci.documents import parse_config
from tests.support.histories import (
    SCOPE,
    make_history,
    make_layer,
    make_record,
    make_stages,
    make_step,
    name_digest,
    read_recorded,
)
from tests.support.layouts import digest_of, make_config

# FROM alpine AS base      1
# RUN apk         2
# FROM base AS deps        3
# COPY lock /              4
# FROM deps AS build       5
# COPY src /src            6
# RUN make                 7
# FROM base AS lint        8     not part of the build
# RUN lint                 9
# FROM deps AS alias      10     has no steps of its own
# FROM alpine             11
# COPY --from=build /o /  12
STAGES = make_stages(
    ("base", 1, "alpine"),
    ("deps", 3, "base"),
    ("build", 5, "deps"),
    ("-lint", 8, "base"),
    ("alias", 10, "deps"),
    ("stage-5", 11, "alpine"),
)
STEPS = (
    make_step("FROM alpine", 1, 11, layers="a1:3000 a2:50"),
    make_step("RUN apk", 2, layers="apk:700", stage="base", parent=0),
    make_step("COPY lock /", 4, layers="lock:5", stage="deps", parent=1),
    make_step("COPY src /src", 6, layers="src:40", stage="build", parent=2),
    make_step("RUN make", 7, layers="out:900", stage="build", parent=3),
    make_step("COPY --from=build /o /", 12, layers="out:900", stage="stage-5", parent=0),
)
RECORD = make_record(*STEPS, stages=STAGES)


def texts(steps: Iterable[RecordedStep]) -> list[str]:
    return [step.text for step in steps]


def digests(layers: Iterable[RecordedLayer]) -> list[str]:
    return [layer.digest for layer in layers]


def named(*names: str) -> list[str]:
    return [name_digest(name) for name in names]


def by_name(record: Record, platform: str | None = None) -> Mapping[str, Stage]:
    return {stage.name: stage for stage in view_stages(record, platform)}


def test_stages_are_those_of_the_dockerfile() -> None:
    """Each stage has its line and base, and whether it was part of the build."""
    heads = [(stage.name, stage.line, stage.base, stage.needed) for stage in view_stages(RECORD)]
    assert heads == [
        ("base", 1, "alpine", True),
        ("deps", 3, "base", True),
        ("build", 5, "deps", True),
        ("lint", 8, "base", False),
        ("alias", 10, "deps", True),
        ("stage-5", 11, "alpine", True),
    ]


@pytest.mark.parametrize(
    ("name", "own", "inherited"),
    [
        ("base", ["FROM alpine", "RUN apk"], []),
        ("deps", ["COPY lock /"], ["FROM alpine", "RUN apk"]),
        ("build", ["COPY src /src", "RUN make"], ["FROM alpine", "RUN apk", "COPY lock /"]),
        ("lint", [], ["FROM alpine", "RUN apk"]),
        ("alias", [], ["FROM alpine", "RUN apk", "COPY lock /"]),
        ("stage-5", ["FROM alpine", "COPY --from=build /o /"], []),
    ],
)  # fmt: skip
def test_a_stage_has_its_own_and_inherited_steps(
    name: str, own: list[str], inherited: list[str]
) -> None:
    """Copied steps are neither own nor inherited, and a stage without steps has inherited ones."""
    stage = by_name(RECORD)[name]
    assert texts(stage.steps) == own
    assert texts(stage.inherited) == inherited


def test_each_inherited_step_has_its_stage() -> None:
    """An inherited step belongs to the stage that contains it, not to the bottom stage."""
    stage = by_name(RECORD)["build"]
    assert [step.stage for step in stage.inherited] == ["base", "base", "deps"]


def test_layers_are_listed_from_the_bottom() -> None:
    """A stage's layers include those of its base image, and its chain the inherited ones."""
    stages = by_name(RECORD)
    assert digests(stages["base"].layers) == named("a1", "a2", "apk")
    assert stages["base"].bytes == 3750
    assert digests(stages["build"].layers) == named("src", "out")
    assert stages["build"].bytes == 940
    assert digests(stages["build"].chain) == named("a1", "a2", "apk", "lock", "src", "out")
    assert (stages["alias"].layers, stages["alias"].bytes) == ((), 0)
    assert digests(stages["alias"].chain) == named("a1", "a2", "apk", "lock")


def test_a_layer_counts_once() -> None:
    """A layer that two steps of a stage made is listed and counted once."""
    steps = (
        make_step("COPY a /", 2, layers="x:10"),
        make_step("COPY b /", 3, layers="y:7", parent=0),
        make_step("COPY a /", 4, layers="x:10", parent=1),
    )
    (stage,) = view_stages(make_record(*steps, stages=make_stages(("only", 1, "scratch"))))
    assert len(stage.steps) == 3
    assert digests(stage.layers) == digests(stage.chain) == named("x", "y")
    assert stage.bytes == 17


def test_a_step_of_two_stages_is_in_both() -> None:
    """An instruction of two stages that BuildKit runs once belongs to both."""
    stages = make_stages(("one", 1, "scratch"), ("two", 4, "scratch"))
    steps = (
        make_step("COPY a /", 2, 5, layers="a", stage="one"),
        make_step("RUN x", 3, layers="x", stage="one", parent=0),
        make_step("RUN y", 6, layers="y", stage="two", parent=0),
    )
    history = make_history(make_record(*steps, stages=stages))
    one, two = history.stages
    assert (texts(one.steps), texts(two.steps)) == (["COPY a /", "RUN x"], ["COPY a /", "RUN y"])
    assert one.inherited == two.inherited == ()
    assert history.shared == {name_digest("a")}


def test_layers_of_several_steps_are_shared() -> None:
    """The shared layers are those of a common base image and of a copied result."""
    assert make_history(RECORD).shared == {*named("a1", "a2", "out")}


def test_steps_are_in_the_order_of_the_dockerfile() -> None:
    """Steps follow the Dockerfile's lines, not BuildKit's order, with the base image first."""
    steps = (
        make_step("RUN late", 3, layers="l"),
        make_step("RUN early", 2, layers="e"),
        make_step("FROM x", 1, layers="x"),
    )
    (stage,) = view_stages(make_record(*steps, stages=make_stages(("only", 1, "x"))))
    assert texts(stage.steps) == ["FROM x", "RUN early", "RUN late"]
    assert digests(stage.layers) == named("x", "e", "l")


def test_a_stage_named_by_a_build_argument_is_found_by_its_steps() -> None:
    """The stage behind `FROM ${BASE}` is found by its steps, as the Dockerfile lacks its name."""
    steps = (
        make_step("RUN a", 2, layers="a", stage="dev"),
        make_step("RUN b", 4, layers="b", stage="app", parent=0),
    )
    stages = make_stages(("-dev", 1, "scratch"), ("app", 3, "${BASE}"))
    dev, app = view_stages(make_record(*steps, stages=stages))
    assert dev.needed
    assert [(step.stage, step.text) for step in app.inherited] == [("dev", "RUN a")]


@pytest.mark.parametrize(
    ("present", "unsaved", "state"),
    [
        ("x", "", "in the cache"),
        ("x", "x", "in the cache"),
        ("x", None, "in the cache"),
        ("", "", "evicted"),
        ("", "x", "not saved"),
        # It is unknown which layers an earlier bxcache saved.
        ("", None, "absent"),
        (None, "", None),
    ],
)
def test_only_saved_layers_can_be_evicted(
    present: str | None, unsaved: str | None, state: str | None
) -> None:
    """A layer that is missing from the cache is evicted only if the build saved it."""
    layer = make_layer("x")
    history = make_history(
        RECORD,
        present=None if present is None else dict.fromkeys([layer.digest] * len(present), 1),
        unsaved=None if unsaved is None else {*[layer.digest] * len(unsaved)},
    )
    assert history.find_state(layer) == state
    assert history.is_evicted(layer) == (state == "evicted")


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ((), ["base", "deps", "build", "lint", "alias", "stage-5"]),
        (("deps",), ["deps"]),
        (("Stage-5", "BASE", "base"), ["base", "stage-5"]),
    ],
)
def test_stages_are_found_by_their_names(names: tuple[str, ...], found: list[str]) -> None:
    """Stages are listed once in the order of the Dockerfile, and without a name all are."""
    stages = make_history(RECORD).find_stages(names)
    assert [stage.name for stage in stages] == found


@pytest.mark.parametrize(
    ("history", "names", "message", "hint"),
    [
        (make_history(RECORD), ("base", "bild"), "no stage `bild`", "`base`, `deps`, `build`"),
        (
            make_history(RECORD),
            ("Lint",),
            "`lint` is not part of this build",
            'target="lint")',
        ),
        (make_history(make_record()), ("base",), "no stage `base`", "the stages are none"),
        (make_history(None), ("base",), f"`{SCOPE}` has no record", "build()` leaves one"),
    ],
)
def test_an_unknown_stage_is_an_error(
    history: History, names: tuple[str, ...], message: str, hint: str
) -> None:
    """The error shows whether the stage does not exist, was not built, or has no record."""
    with pytest.raises(RecordError) as caught:
        history.find_stages(names)
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_without_a_record_there_are_no_stages() -> None:
    """A history without a record has no stages, which is an error only if one is named."""
    assert make_history(None).find_stages(()) == ()


BOTH = ("linux/amd64", "linux/arm64")
TWO_PLATFORMS = make_record(
    make_step("COPY a /", 2, layers="a", platforms=BOTH),
    make_step("RUN b", 3, layers="b2", platforms=("linux/arm64",), parent=0),
    make_step("RUN c", 5, layers="c2", platforms=("linux/arm64",), parent=1),
    make_step("RUN b", 3, layers="b1", platforms=("linux/amd64",), parent=0),
    make_step("RUN c", 5, layers="c1", platforms=("linux/amd64",), parent=3),
    stages=make_stages(("one", 1, "scratch"), ("two", 4, "one")),
)


@pytest.mark.parametrize(
    ("platform", "one", "two", "chain"),
    [
        (None, ["a", "b1", "b2"], ["c1", "c2"], ["a", "b1", "b2", "c1", "c2"]),
        ("linux/amd64", ["a", "b1"], ["c1"], ["a", "b1", "c1"]),
        ("linux/arm64", ["a", "b2"], ["c2"], ["a", "b2", "c2"]),
    ],
)  # fmt: skip
def test_each_platform_has_its_own_layers(
    platform: str | None, one: list[str], two: list[str], chain: list[str]
) -> None:
    """A step of several platforms is in each, and all platforms are listed by default."""
    stages = by_name(TWO_PLATFORMS, platform)
    assert digests(stages["one"].layers) == named(*one)
    assert digests(stages["two"].layers) == named(*two)
    assert digests(stages["two"].chain) == named(*chain)


def test_a_platform_that_was_not_built_is_an_error() -> None:
    """The error lists the platforms that were built."""
    with pytest.raises(RecordError) as caught:
        view_stages(TWO_PLATFORMS, "linux/s390x")
    assert caught.value.message == "the build was not for the platform `linux/s390x`"
    assert caught.value.hint == "it was for `linux/amd64`, `linux/arm64`"


def test_a_build_for_one_platform_has_its_scopes_platform() -> None:
    """The platform of steps without one is that of the build's scope."""
    assert list_platforms(TWO_PLATFORMS) == BOTH
    assert list_platforms(RECORD) == ("linux/amd64",)
    assert view_stages(RECORD, "linux/amd64") == view_stages(RECORD)
    with pytest.raises(RecordError):
        view_stages(RECORD, "linux/arm64")
    nowhere = make_record(scope=RecordedScope(name="x", image="x"))
    with pytest.raises(RecordError, match="it was for none"):
        view_stages(nowhere, "linux/arm64")


def test_steps_without_lines_are_in_buildkits_stage() -> None:
    """Steps without lines, as before buildx 0.14, are in the stage that BuildKit names."""
    steps = (
        make_step("FROM alpine", stage="build"),
        make_step("RUN a", stage="build"),
        make_step("RUN b", stage="stage-1"),
        make_step("RUN c"),
    )
    build, last = view_stages(make_record(*steps))
    assert (build.name, build.line, build.base, build.needed) == ("build", None, "", True)
    assert texts(build.steps) == ["FROM alpine", "RUN a"]
    assert (last.name, texts(last.steps), last.inherited) == ("stage-1", ["RUN b"], ())


def test_the_existing_form_of_a_layer_is_shown() -> None:
    """The first existing form of a layer is shown, or the first form if that is unknown."""
    forms = (make_layer("gzip"),), (make_layer("zstd"),), (make_layer("plain"),)
    step = make_step("RUN x", 2).model_copy(update={"layers": forms[0], "alternatives": forms[1:]})
    record = make_record(step, stages=make_stages(("only", 1, "scratch")))

    def choose(present: list[str] | None) -> list[str]:
        (stage,) = view_stages(record, None, None if present is None else named(*present))
        return digests(stage.layers)

    assert choose(None) == choose([]) == choose(["gzip", "zstd", "plain"]) == named("gzip")
    assert choose(["plain"]) == named("plain")
    assert choose(["plain", "zstd"]) == named("zstd")


def test_the_recorded_build_has_the_stages_of_its_dockerfile() -> None:
    """The lines are those counted by hand in tests/streams/Dockerfile, with `base` below all."""
    stages = by_name(read_recorded("cold"))
    lines = {name: [step.lines for step in stage.steps] for name, stage in stages.items()}
    assert lines == {
        "base": [(2,), (3,)],
        "deps": [(5,), (6,)],
        "build": [(8,), (9,), (10,)],
        "test": [(16, 19), (17,)],
        "stage-4": [(16, 19), (20,), (21,)],
    }
    for name, stage in stages.items():
        assert [step.lines for step in stage.inherited] == ([] if name == "base" else [(2,), (3,)])
        assert [step.stage for step in stage.inherited] == ([] if name == "base" else ["base"] * 2)


def test_changes_are_listed_by_stage() -> None:
    """A stage differs if it has another layer, but not for another outcome or time."""
    steps = list(STEPS)
    steps[1] = steps[1].model_copy(update={"seconds": 9.0, "outcome": "reused"})
    steps[3] = make_step("COPY src /src", 6, layers="src2:60", stage="build", parent=2)
    found = compare_stages(view_stages(RECORD), view_stages(make_record(*steps, stages=STAGES)))
    same = {difference.name: difference.is_same for difference in found}
    assert same == {"base": True, "deps": True, "build": False, "alias": True, "stage-5": True}
    (build,) = [difference for difference in found if difference.name == "build"]
    assert (digests(build.gone), build.gone_bytes) == (named("src"), 40)
    assert (digests(build.new), build.new_bytes) == (named("src2"), 60)
    assert digests(build.kept) == named("out")


def test_stages_of_only_one_build_are_listed_in_order() -> None:
    """Stages of the second build come first, and an unneeded stage counts as absent."""
    before = make_record(
        make_step("RUN a", 2, layers="a:1"),
        make_step("RUN b", 4, layers="b:2"),
        stages=make_stages(("a", 1, "scratch"), ("b", 3, "scratch"), ("-c", 5, "scratch")),
    )
    after = make_record(
        make_step("RUN c", 2, layers="c:4"),
        make_step("RUN a", 4, layers="a:1"),
        stages=make_stages(("c", 1, "scratch"), ("a", 3, "scratch"), ("-b", 5, "scratch")),
    )
    c, a, b = compare_stages(view_stages(before), view_stages(after))
    assert (c.name, c.before, c.is_same, c.gone_bytes, c.new_bytes) == ("c", None, False, 0, 4)
    assert (a.name, a.is_same) == ("a", True)
    assert (b.name, b.after, b.is_same, b.gone_bytes, b.new_bytes) == ("b", None, False, 2, 0)


def test_a_stage_without_layers_can_be_new() -> None:
    """A stage without layers is new or gone if the other build has none of that name."""
    (stage,) = view_stages(make_record(stages=make_stages(("empty", 1, "scratch"))))
    assert [each.is_same for each in compare_stages([stage], [stage])] == [True]
    assert [each.is_same for each in compare_stages([], [stage])] == [False]
    assert [each.is_same for each in compare_stages([stage], [])] == [False]
    assert compare_stages([], []) == ()


A, B, C, D = b"a" * 10, b"b" * 20, b"c" * 30, b"d" * 40


@pytest.mark.parametrize(
    ("chains", "blobs", "expected"),
    [
        ([], [], []),
        ([(A,)], [A], [(A,)]),
        ([(A, B, C)], [A, B, C], [(A, B, C)]),
        # Two chains have the same beginning.
        ([(A, B), (A, C)], [A, B, C], [(A, B), (A, C)]),
        # A chain within another chain is not listed.
        ([(A, B), (A,)], [A, B], [(A, B)]),
        # The same blob is in two places.
        ([(A, C), (B, C)], [A, B, C], [(A, C), (B, C)]),
        # A layer in no chain is one by itself, and a chain ends where a layer is missing.
        ([(A, B)], [A, B, D], [(A, B), (D,)]),
        ([(A, B, C)], [A, C], [(A,), (C,)]),
        ([(A, B, C)], [], []),
    ],
)
def test_chains_are_read_from_the_cache_itself(
    chains: list[tuple[bytes, ...]], blobs: list[bytes], expected: list[tuple[bytes, ...]]
) -> None:
    """Each chain is listed once from the bottom to the top, sorted by digests."""
    sizes = {digest_of(blob): len(blob) for blob in blobs}
    found = read_chains(parse_config(make_config(chains)), sizes)
    listed = [[(layer.digest, layer.size) for layer in chain.layers] for chain in found]
    by_hand = [[(digest_of(blob), len(blob)) for blob in chain] for chain in expected]
    assert listed == sorted(by_hand)
