"""A build's provenance, read from the builder's own history.

Before buildx 0.31 the metadata file lacks it if a build for several platforms makes an image:
https://github.com/docker/buildx/issues/3536
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from bxcache.buildx.capabilities import parse_version
from bxcache.buildx.driver import find_error
from bxcache.buildx.values import parse_table, read_items, read_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bxcache.buildx.driver import Docker
    from bxcache.buildx.metadata import Metadata
    from bxcache.process import Answer

_PROVENANCE = "https://slsa.dev/provenance/"
_REPORTS, _REPORTS_ALL = (0, 14), (0, 31)


def complete_metadata(docker: Docker, metadata: Metadata) -> Metadata:
    """Complete the metadata of a successful build from its builder's history, if necessary."""
    if metadata.definitions:
        return metadata
    builder, _, ref = metadata.ref.partition("/")
    ref = ref.rpartition("/")[2]
    if not ref:
        return replace(metadata, why_unknown="the metadata file does not name the build")
    ask, named = ("buildx", "history", "inspect"), ("--builder", builder)
    [listed] = docker.ask_together([(*ask, *named, "--format", "json", ref)])
    digests = dict(_list_provenances(listed))
    questions = [(*ask, "attachment", *named, ref, digest) for digest in digests.values()]
    answers = docker.ask_together(questions)
    failed = next((each for each in (listed, *answers) if each.status), None)
    if failed is not None or not answers:
        why = find_error(failed.stderr) if failed else "the builder's history has no provenance"
        return replace(metadata, why_unknown=why)
    texts = (each.stdout for each in answers)
    return metadata.with_provenance(dict(zip(digests, texts, strict=True)))


def _list_provenances(answer: Answer) -> Iterator[tuple[str, str]]:
    """List the platform and the digest of each provenance in an answer."""
    for each in read_items(parse_table(answer.stdout), "Attachments"):
        digest = read_text(each, "Digest")
        if read_text(each, "Type").startswith(_PROVENANCE) and digest:
            yield read_text(each, "Platform"), digest


def explain_unknown(version: str, metadata: Metadata, platforms: int) -> str:
    """Explain why the layers of a successful build's steps are unknown, or return an empty string.

    The version is buildx's, or empty; the steps of a build for a single platform name 0 platforms.
    """
    if any(each.chains for each in metadata.operations.values()):
        return ""
    if metadata.definitions:
        return "BuildKit made none, because nothing exports them"
    numbers = parse_version(version)
    if numbers is not None and numbers < _REPORTS:
        return f"buildx reports them since version 0.14; this is {version}"
    why = metadata.why_unknown
    if numbers is not None and numbers < _REPORTS_ALL and platforms > 1:
        return (
            "buildx reports them for an image for several platforms since version 0.31; this is "
            f"{version}, and `docker buildx history inspect` failed: {why}"
        )
    return f"buildx did not report them: {why}"
