"""Tests of reading metadata files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bxcache.buildx.metadata import (
    Definition,
    Layer,
    Metadata,
    Operation,
    parse_bake_metadata,
    parse_metadata,
)
from bxcache.buildx.stream.reader import TraceReader
from bxcache.pipeline.result import list_steps
from bxcache.redaction import Redactor

STREAMS = Path(__file__).parents[1] / "streams"

# The line of each instruction in streams/Dockerfile, counted by hand.
LINES = {
    ("base", "COPY busybox"): 2,
    ("base", "RUN"): 3,
    ("deps", "COPY lib"): 5,
    ("deps", "RUN"): 6,
    ("build", "COPY --link"): 8,
    ("build", "COPY --from=deps"): 9,
    ("build", "RUN <<EOF"): 10,
    ("test", "RUN test"): 17,
    ("stage-4", "COPY --from=test"): 20,
    ("stage-4", "RUN cp"): 21,
}


def read(name: str) -> tuple[Metadata, TraceReader]:
    reader = TraceReader()
    for line in (STREAMS / f"{name}.ndjson").read_text().splitlines():
        list(reader.feed(line))
    return parse_metadata((STREAMS / f"{name}.meta.json").read_text()), reader


def test_every_step_has_its_line() -> None:
    """Every step has the line counted by hand."""
    metadata, reader = read("cold")
    steps = list_steps(reader.finish(), metadata, Redactor())
    for (stage, start), line in LINES.items():
        lines = [s.line for s in steps if s.stage == stage and s.text.startswith(start)]
        assert lines == [line], (stage, start)


def test_steps_are_in_the_order_of_the_dockerfile() -> None:
    """The order does not depend on when BuildKit ran the steps."""
    metadata, reader = read("cold")
    steps = list_steps(reader.finish(), metadata, Redactor())
    assert [step.stage for step in steps] == [
        *["base"] * 2, *["deps"] * 2, *["build"] * 3, *["test"] * 2, *["stage-4"] * 2
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["cold", "fresh-builder-all-reused", "two-platforms"])
def test_every_layer_of_the_cache_belongs_to_a_step(name: str) -> None:
    """The steps have exactly the layers that the exporter wrote."""
    metadata, reader = read(name)
    steps = list_steps(reader.finish(), metadata, Redactor())
    assert all(step.layers for step in steps)
    written = {
        status["id"].removeprefix("writing layer ")
        for line in (STREAMS / f"{name}.ndjson").read_text().splitlines()
        if line.startswith("{")
        for status in json.loads(line).get("statuses", [])
        if status["id"].startswith("writing layer sha256:")
    }
    assert written <= {layer.digest for step in steps for layer in step.layers}


def test_the_image_digest_is_read() -> None:
    """The image's digest is that in docker's metadata file."""
    metadata, _ = read("docker-28-cold")
    document = json.loads((STREAMS / "docker-28-cold.meta.json").read_text())
    assert metadata.image_digest == document["containerimage.digest"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"containerimage.digest": 3, "cache.manifest": "{"}',
        '{"buildx.build.provenance": {"buildConfig": [], "metadata": 1}}',
        json.dumps(
            {
                "buildx.build.provenance": {
                    "buildConfig": {"digestMapping": {"a": "s"}},
                    "metadata": {
                        "https://mobyproject.org/buildkit@v1#metadata": {
                            "layers": {"s:0": [1, [2]]},
                            "source": {
                                "locations": {"s": {"locations": [{"ranges": [{"start": {}}]}]}}
                            },
                        }
                    },
                }
            }
        ),
    ],
)
def test_malformed_metadata_is_ignored(text: str) -> None:
    """A malformed metadata file does not fail a successful build."""
    metadata = parse_metadata(text)
    assert metadata.image_digest is None
    assert not metadata.layers


# The metadata of a bake, with a part for each target.


def test_the_file_of_a_bake_has_a_part_for_each_target() -> None:
    """Each target's part of a bake's file has the content of a build's file."""
    own = json.loads((STREAMS / "cold.meta.json").read_text())
    other = json.loads((STREAMS / "docker-28-cold.meta.json").read_text())
    text = json.dumps({"stage-0": own, "stage-1": other, "buildx.build.warnings": []})
    alone, _ = read("docker-28-cold")
    built = parse_bake_metadata(text, ("stage-0", "stage-1", "stage-2"))
    assert built["stage-0"] == read("cold")[0]
    assert built["stage-1"] == alone
    assert built["stage-2"] == Metadata()


A, B, C = (Layer(f"sha256:{letter * 64}", number) for number, letter in enumerate("abc"))


def built(*operations: Operation, platform: str | None = None) -> Metadata:
    return Metadata(None, (Definition(platform, "FROM x", operations),))


def test_layers_are_replaced_in_all_chains() -> None:
    """Layers are replaced in all chains with their new sizes; others stay."""
    before = built(Operation("v", (1,), ((A, B), (C,)), source="s"), Operation("w", (2,)))
    named = before.with_layers({A.digest: C, B.digest: A})
    assert named == built(Operation("v", (1,), ((C, A), (C,)), source="s"), Operation("w", (2,)))
    assert named.layers == {C.digest: 2, A.digest: 0}
    assert before.with_layers({}) == before


ONE = Operation("v", (1,), ((A,),))
CASES: list[tuple[str, Metadata, list[Metadata], Metadata]] = [
    ("known from another", built(Operation("v", (1,))), [built(ONE)], built(ONE)),
    (
        "by its lines, whatever its vertex",
        built(Operation("x", (1,))),
        [built(ONE)],
        built(Operation("x", (1,), ((A,),))),
    ),
    ("known from itself", built(ONE), [built(Operation("v", (1,), ((B,),)))], built(ONE)),
    ("other lines", built(Operation("v", (2,))), [built(ONE)], built(Operation("v", (2,)))),
    ("more lines", built(Operation("v", (1, 2))), [built(ONE)], built(Operation("v", (1, 2)))),
    (
        "no lines",
        built(Operation("v")),
        [built(Operation("v", (), ((A,),)))],
        built(Operation("v")),
    ),
    (
        "another platform",
        built(Operation("v", (1,)), platform="linux/amd64"),
        [built(ONE, platform="linux/arm64")],
        built(Operation("v", (1,)), platform="linux/amd64"),
    ),
    (
        "the same platform",
        built(Operation("v", (1,)), platform="linux/amd64"),
        [built(ONE, platform="linux/arm64"), built(ONE, platform="linux/amd64")],
        built(ONE, platform="linux/amd64"),
    ),
    ("by nobody", built(Operation("v", (1,))), [], built(Operation("v", (1,)))),
    ("what only others did", built(), [built(ONE)], built()),
]


@pytest.mark.parametrize(
    ("own", "others", "expected"), [row[1:] for row in CASES], ids=[row[0] for row in CASES]
)
def test_layers_of_other_targets_are_added(
    own: Metadata, others: list[Metadata], expected: Metadata
) -> None:
    """Layers are added by line, and only where the target has none."""
    assert own.completed(others) == expected


FIRST, SECOND, THIRD, OTHER = (Layer(f"sha256:{sign * 64}", 5) for sign in "abcd")
WHOLE = (FIRST, SECOND, THIRD)
UNTOLD = Definition(
    None,
    "",
    (
        Operation("base", lines=(2,), chains=((FIRST,),)),
        Operation("one", lines=(5,), below="base"),
        Operation("two", lines=(6,), below="one"),
        Operation("last", lines=(9,), below="two", chains=((OTHER,),)),
    ),
)


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        ({}, [((FIRST,),), (), (), ((OTHER,),)]),
        (
            {range(4, 8): (FIRST, SECOND, THIRD)},
            [((FIRST,),), ((FIRST, SECOND),), ((FIRST, SECOND, THIRD),), ((OTHER,),)],
        ),
        ({range(8, 99): (FIRST, SECOND)}, [((FIRST,),), (), (), ((OTHER,),)]),
        ({range(10, 99): (FIRST, SECOND)}, [((FIRST,),), (), (), ((OTHER,),)]),
    ],
    ids=["nothing", "a stage", "already known", "no step"],
)
def test_a_stages_layers_fill_unknown_ones(
    results: dict[range, tuple[Layer, ...]], expected: list[tuple[tuple[Layer, ...], ...]]
) -> None:
    """The last step of the lines gets all layers, and its base all but the top one."""
    (definition,) = Metadata(None, (UNTOLD,)).with_results(results).definitions
    assert [each.chains for each in definition.operations] == expected


def test_nothing_is_filled_for_several_platforms() -> None:
    """Nothing is filled for several platforms, whose layers differ."""
    both = Metadata(None, (UNTOLD, UNTOLD))
    assert both.with_results({range(4, 8): WHOLE}) == both
