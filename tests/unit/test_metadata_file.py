"""Tests that docker's metadata file has as much provenance as its caller requested."""

from __future__ import annotations

import json

import pytest

from bxcache.buildx.metadata import limit_metadata

USUAL = {"builder": {"id": ""}, "invocation": {"args": {"build-arg:A": "<1>"}}}
WHOLE = {**USUAL, "buildConfig": {"llbDefinition": []}, "metadata": {"reproducible": False}}


def make(provenance: object) -> dict[str, object]:
    """Make a metadata file with the provenance of two platforms, or with none."""
    kept = {"buildx.build.ref": "a/b/c", "containerimage.descriptor": {"digest": "sha256:1"}}
    names = ("buildx.build.provenance", "buildx.build.provenance/linux/arm64")
    return {**kept, **(dict.fromkeys(names, provenance) if provenance else {})}


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        *((wish, USUAL) for wish in (None, "", "min", "1", "true", "bogus", "MAX")),
        *((wish, None) for wish in ("disabled", "0", "f", "F", "false", "False", "FALSE")),
        ("max", WHOLE),
    ],
)
def test_the_variable_limits_the_file(wish: str | None, expected: object) -> None:
    """The variable limits builds and each target of a bake, as in buildx."""
    environment = {} if wish is None else {"BUILDX_METADATA_PROVENANCE": wish}
    for document, kept in (
        (make(WHOLE), make(expected)),
        ({"a": make(WHOLE), "b": {}}, {"a": make(expected), "b": {}}),
    ):
        text = limit_metadata(json.dumps(document), environment)
        assert json.loads(text) == kept


def test_a_file_names_the_callers_own_caches_only() -> None:
    """The file does not contain bxcache's own caches."""
    cached = {"cache.manifest": "{}"}
    assert limit_metadata(json.dumps(cached), {}) == "{}"
    assert json.loads(limit_metadata(json.dumps(cached), {}, [""])) == cached
    text = limit_metadata(json.dumps({"a": cached, "b": cached}), {}, ["b"])
    assert json.loads(text) == {"a": {}, "b": cached}


@pytest.mark.parametrize("text", ["", "[]", "nonsense"])
def test_text_that_is_not_metadata_is_refused(text: str) -> None:
    """A text that is not metadata is refused, since it may contain anything."""
    with pytest.raises(ValueError):  # noqa: PT011  # the message is json's
        limit_metadata(text, {})
