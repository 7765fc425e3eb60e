"""Tests of the labels beside scopes in a registry."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bxcache.oci.documents import MOST_RECORDS
from bxcache.place.scope import Kind, Owner, Scope
from bxcache.registry.labels import (
    ARTIFACT_TYPE,
    EMPTY,
    MANIFEST_TYPE,
    Label,
    find_labelled,
    is_leaving,
    name_label,
    parse_label,
    render_label,
    render_leaving,
)

DIGEST = "sha256:" + "a" * 64
NOON = datetime(2024, 2, 29, 12, 0, tzinfo=UTC).timestamp()
BOTH = ("linux/amd64", "linux/arm64")
LABEL = Label(Scope("app", "test", BOTH, Owner.of_branch("feature/x")), DIGEST, NOON, NOON)
# The years that a date of four digits can have, less what time zones take at the ends.
TIMES = st.integers(-30_000_000_000, 250_000_000_000).map(float)
TEXTS = st.text(min_size=1)
NAMES = st.text(st.characters(exclude_characters=","), min_size=1)
KINDS = st.sampled_from([Kind.BRANCH, Kind.TAG, Kind.UNTRUSTED])
OWNERS = st.just(Owner()) | st.builds(Owner, KINDS, TEXTS | TEXTS.map("tag:{}".format))
SCOPES = st.builds(Scope, TEXTS, st.none() | TEXTS, st.lists(NAMES).map(tuple), OWNERS)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def test_a_label_is_an_artifact_without_content() -> None:
    """A label follows the image spec, field by field, with readable annotations."""
    assert json.loads(render_label(LABEL)) == {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": "application/vnd.bxcache.place.scope.v1+json",
        "config": EMPTY_OF_THE_SPEC,
        "layers": [EMPTY_OF_THE_SPEC],
        "annotations": {
            "org.opencontainers.image.created": "2024-02-29T12:00:00Z",
            "io.bxcache.image": "app",
            "io.bxcache.target": "test",
            "io.bxcache.platforms": "linux/amd64,linux/arm64",
            "io.bxcache.branch": "feature/x",
            "io.bxcache.digest": DIGEST,
            "io.bxcache.used": "2024-02-29T12:00:00Z",
        },
    }


EMPTY_OF_THE_SPEC = {
    "mediaType": "application/vnd.oci.empty.v1+json",
    "digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
    "size": 2,
}
"""https://github.com/opencontainers/image-spec/blob/v1.1.0/manifest.md#guidance-for-an-empty-descriptor"""


def test_the_blob_of_a_label_is_the_empty_one() -> None:
    """The digest of the empty blob is the digest of its bytes."""
    assert EMPTY_OF_THE_SPEC["digest"] == f"sha256:{hashlib.sha256(EMPTY).hexdigest()}"
    assert len(EMPTY) == EMPTY_OF_THE_SPEC["size"]


@given(SCOPES, TEXTS, TIMES, TIMES, st.none() | st.integers(0, 99_999), TEXTS)
def test_a_label_comes_back_as_it_was(
    scope: Scope, digest: str, created: float, used: float, steps: int | None, state: str
) -> None:
    """A label round-trips with any image, target and branch, even bytes that are not UTF-8."""
    stages = (("base", DIGEST), (digest or "x", DIGEST))
    label = Label(scope, digest, created, used, stages=stages, steps=steps, state=state)
    assert parse_label(render_label(label)) == label
    assert render_label(label) == render_label(label)


@given(st.binary())
def test_arbitrary_bytes_are_not_a_label(body: bytes) -> None:
    """Arbitrary bytes are not a label and not an error."""
    assert parse_label(body) is None
    assert not is_leaving(body)


@given(JSON)
def test_an_arbitrary_document_is_not_an_error(document: object) -> None:
    """Arbitrary documents under a label's tag are not an error."""
    body = json.dumps(document).encode()
    assert parse_label(body) is None
    assert not is_leaving(body)


@given(
    st.dictionaries(st.sampled_from(sorted(json.loads(render_label(LABEL))["annotations"])), JSON)
    | JSON
)
def test_an_arbitrary_annotation_is_not_an_error(notes: object) -> None:
    """Arbitrary annotations are not an error."""
    document = {"artifactType": ARTIFACT_TYPE, "annotations": notes}
    found = parse_label(json.dumps(document).encode())
    assert found is None or isinstance(found, Label)


@pytest.mark.parametrize(
    "changed",
    [
        {"artifactType": "application/vnd.example+json"},
        {"artifactType": None},
        {"annotations": None},
        {"annotations": {}},
        {"annotations": []},
    ],
)
def test_an_incomplete_document_is_not_a_label(changed: dict[str, Any]) -> None:
    """A document of another type, or without annotations, is not a label."""
    document = json.loads(render_label(LABEL))
    assert parse_label(json.dumps({**document, **changed}).encode()) is None


@pytest.mark.parametrize("name", sorted(json.loads(render_label(LABEL))["annotations"]))
def test_each_annotation_is_needed(name: str) -> None:
    """Without any one of its annotations, a document is not a label."""
    document = json.loads(render_label(LABEL))
    del document["annotations"][name]
    assert parse_label(json.dumps(document).encode()) is None


@pytest.mark.parametrize("text", ["", "yesterday", "2024-13-01T00:00:00Z", "99999-01-01", "1e9"])
def test_an_invalid_time_is_not_a_label(text: str) -> None:
    """A document with an invalid time is not a label, since pruning depends on the time."""
    document = json.loads(render_label(LABEL))
    document["annotations"]["io.bxcache.used"] = text
    assert parse_label(json.dumps(document).encode()) is None


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"artifactType":' * 100_000, b"9" * 10_000])
def test_a_deep_document_is_not_a_label(body: bytes) -> None:
    """A deeply nested document, or a number that Python cannot read, is not a label."""
    assert parse_label(body) is None
    assert not is_leaving(body)


@pytest.mark.parametrize(
    ("tag", "label"),
    [
        ("image.linux-amd64.main", "image.linux-amd64.main.bxcache"),
        ("x" * 120, "x" * 120 + ".bxcache"),
        ("x" * 121, None),
        ("x" * 128, None),
    ],
)
def test_the_length_of_a_labels_tag_is_limited(tag: str, label: str | None) -> None:
    """A label's tag has at most 128 characters."""
    assert name_label(tag) == label
    assert label is None or find_labelled(label) == tag


@pytest.mark.parametrize("tag", ["main", "bxcache", "xbxcache", "a.bxcache.b", "a.BXCACHE"])
def test_other_tags_are_not_labels(tag: str) -> None:
    """Only a tag's last part marks a label."""
    assert find_labelled(tag) is None


@given(SCOPES)
def test_no_scope_has_the_tag_of_a_label(scope: Scope) -> None:
    """A scope's tag never looks like a label, and leaves room for one."""
    assert find_labelled(scope.name) is None
    assert name_label(scope.name) is not None


def test_a_leaving_manifest_is_recognised() -> None:
    """The manifest of a tag to delete is unique and not a label."""
    body = render_leaving()
    assert is_leaving(body)
    assert parse_label(body) is None
    assert json.loads(body)["mediaType"] == MANIFEST_TYPE
    assert body != render_leaving()
    assert not is_leaving(render_label(LABEL))


# Records.


def test_a_label_lists_the_records_of_the_last_builds() -> None:
    """A label lists records as layers, newest first, without the oldest beyond the limit."""
    label = LABEL
    for number in range(MOST_RECORDS + 2):
        label = label.with_record(f"record {number}\n".encode())
    layers = json.loads(render_label(label))["layers"]
    numbers = range(MOST_RECORDS + 1, 1, -1)
    assert layers == [
        {
            "mediaType": "application/vnd.bxcache.record.v1+json",
            "digest": "sha256:" + hashlib.sha256(f"record {number}\n".encode()).hexdigest(),
            "size": len(f"record {number}") + 1,
        }
        for number in numbers
    ]
    assert parse_label(render_label(label)) == label


def test_the_same_record_is_listed_once() -> None:
    """A record that is added again moves to the front."""
    label = LABEL.with_record(b"one").with_record(b"two").with_record(b"one")
    assert [each.size for each in label.records] == [3, 3]
    assert label == LABEL.with_record(b"two").with_record(b"one")


def test_the_key_of_the_records_is_kept() -> None:
    """The key of the records is kept for the next build, and written only if it exists."""
    keyed = Label(LABEL.scope, DIGEST, NOON, NOON, key="00ff")
    assert parse_label(render_label(keyed)) == keyed
    assert "io.bxcache.key" not in json.loads(render_label(LABEL))["annotations"]


@pytest.mark.parametrize("layers", [None, 7, "x", [None], [{"mediaType": "application/x"}], [[]]])
def test_layers_that_are_not_records_are_ignored(layers: Any) -> None:  # noqa: ANN401
    """Layers that are not records are ignored."""
    document = json.loads(render_label(LABEL)) | {"layers": layers}
    assert parse_label(json.dumps(document).encode()) == LABEL
