"""Metadata files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bxcache.buildx.metadata import Metadata, parse_metadata
from bxcache.buildx.trace import TraceReader
from bxcache.redaction import Redactor
from bxcache.settlement import list_steps

STREAMS = Path(__file__).parents[1] / "streams"

# The line of each instruction in streams/Dockerfile, by hand.
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
    """As counted by hand in the Dockerfile."""
    metadata, reader = read("cold")
    steps = list_steps(reader.finish(), metadata, Redactor())
    for (stage, start), line in LINES.items():
        lines = [s.line for s in steps if s.stage == stage and s.text.startswith(start)]
        assert lines == [line], (stage, start)


def test_steps_are_in_the_order_of_the_dockerfile() -> None:
    """Whatever order BuildKit ran them in."""
    metadata, reader = read("cold")
    steps = list_steps(reader.finish(), metadata, Redactor())
    assert [step.stage for step in steps] == [
        *["base"] * 2, *["deps"] * 2, *["build"] * 3, *["test"] * 2, *["stage-4"] * 2
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["cold", "fresh-builder-all-reused", "two-platforms"])
def test_every_layer_of_the_cache_belongs_to_a_step(name: str) -> None:
    """The exporter said which layers it wrote: they are those of the steps."""
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
    """As docker wrote it."""
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
def test_other_shapes_are_left_out(text: str) -> None:
    """A metadata file that says nothing useful is no reason to fail a build that succeeded."""
    metadata = parse_metadata(text)
    assert metadata.image_digest is None
    assert not metadata.layers
