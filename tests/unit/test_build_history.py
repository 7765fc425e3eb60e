"""Tests of completing metadata without steps from a builder's history."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bxcache.buildx.build_history import complete_metadata, explain_unknown
from bxcache.buildx.driver import Docker
from bxcache.buildx.metadata import Definition, Metadata, parse_metadata
from bxcache.buildx.provenance import BUILDKIT
from bxcache.process import Answer

if TYPE_CHECKING:
    from collections.abc import Sequence

STREAMS = Path(__file__).parents[1] / "streams"
TWO: dict[str, Any] = json.loads((STREAMS / "two-platforms.meta.json").read_text())
NAME = "buildx.build.provenance"
PROVENANCES = {k.removeprefix(f"{NAME}/"): v for k, v in TWO.items() if k.startswith(NAME)}
BARE = json.dumps({k: v for k, v in TWO.items() if not k.startswith(NAME)})
DIGESTS = {platform: f"sha256:{n:064}" for n, platform in enumerate(PROVENANCES)}


def arrange(provenance: dict[str, Any]) -> dict[str, Any]:
    """Arrange a provenance in SLSA 1 form, as BuildKit's `ConvertToSLSA1` does."""
    return {
        "buildDefinition": {
            "resolvedDependencies": provenance.get("materials"),
            "externalParameters": {"request": provenance["invocation"]["parameters"]},
            "internalParameters": {"buildConfig": provenance["buildConfig"]},
        },
        "runDetails": {"metadata": {"buildkit_metadata": provenance["metadata"][BUILDKIT]}},
    }


class FakeDocker(Docker):
    """A client whose builder `b` has the history of the build, in SLSA 1 form.

    Args:
        one: whether the build was for a single platform.
        fails: a word that makes questions fail.
    """

    def __init__(self, *, one: bool = False, fails: str = "") -> None:
        super().__init__(("docker",))
        kind = "https://slsa.dev/provenance/v1"
        listed = [{"Type": kind, "Platform": p, "Digest": d} for p, d in DIGESTS.items()]
        other = {"Type": "application/vnd.oci.image.manifest.v1+json", "Digest": "sha256:f"}
        self._listed = {"Attachments": [other, *(listed[:1] if one else listed)]}
        self._fails = fails

    def ask_together(
        self, questions: Sequence[Sequence[str]], seconds: float | None = None
    ) -> list[Answer]:
        assert seconds is None
        return [*map(self._answer, questions)]

    def _answer(self, question: Sequence[str]) -> Answer:
        if self._fails in question:
            return Answer(1, "", "a warning\nERROR: no such thing\n")
        if [*question] == [
            "buildx",
            "history",
            "inspect",
            "--builder",
            "b",
            "--format",
            "json",
            "id",
        ]:
            return Answer(0, json.dumps(self._listed), "")
        *asked, digest = question
        assert asked == ["buildx", "history", "inspect", "attachment", "--builder", "b", "id"]
        [platform] = [each for each in DIGESTS if DIGESTS[each] == digest]
        return Answer(0, json.dumps(arrange(PROVENANCES[platform])), "")


def complete(docker: Docker, ref: str = "b/node/id") -> Metadata:
    return complete_metadata(docker, parse_metadata(json.dumps({**json.loads(BARE), REF: ref})))


REF = "buildx.build.ref"


def test_the_history_completes_the_file() -> None:
    """The history completes each platform, in the form of newer versions of BuildKit too."""
    whole = parse_metadata(json.dumps(TWO))
    assert len(whole.definitions) == len(PROVENANCES) == 2
    assert complete(FakeDocker()).definitions == whole.definitions


def test_a_single_platform_has_no_name() -> None:
    """A single platform has no name, as in the stream."""
    [found] = complete(FakeDocker(one=True)).definitions
    assert found.platform is None
    assert found.operations


def test_a_complete_file_needs_no_history() -> None:
    """A complete file is returned unchanged, without a question to docker."""
    whole = parse_metadata(json.dumps(TWO))
    assert complete_metadata(Docker(("none",)), whole) is whole


@pytest.mark.parametrize(
    ("fails", "ref", "why"),
    [
        ("inspect", "b/node/id", "no such thing"),
        ("attachment", "b/node/id", "no such thing"),
        ("", "", "the metadata file does not name the build"),
    ],
)
def test_a_failed_question_is_the_reason(fails: str, ref: str, why: str) -> None:
    """A failed question becomes the reason, and nothing is completed in part."""
    found = complete(FakeDocker(fails=fails), ref)
    assert found.definitions == ()
    assert found.why_unknown == why


@pytest.mark.parametrize(
    ("version", "platforms", "said"),
    [
        ("0.13.1+ds1", 0, "since version 0.14; this is 0.13.1"),
        ("0.13.1+ds1", 2, "since version 0.14; this is 0.13.1"),
        ("v0.29.1", 2, "for an image for several platforms since version 0.31"),
        ("v0.29.1", 0, "buildx did not report them: a reason"),
        ("v0.31.0", 2, "buildx did not report them: a reason"),
        ("", 2, "buildx did not report them: a reason"),
    ],
)
def test_only_the_true_cause_is_named(version: str, platforms: int, said: str) -> None:
    """A version is named as the cause only if a later one would report the layers."""
    seen = explain_unknown(version, Metadata(why_unknown="a reason"), platforms)
    assert said in seen
    assert "a reason" in seen or "0.14" in seen


def test_known_layers_need_no_reason() -> None:
    """Known layers, or a build without exports, need no reason."""
    whole = parse_metadata(json.dumps(TWO))
    assert explain_unknown("v0.13", whole, 2) == ""
    seen = explain_unknown("v0.29", Metadata(definitions=(Definition(None, "", ()),)), 0)
    assert "nothing exports them" in seen
