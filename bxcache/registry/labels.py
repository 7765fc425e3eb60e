"""The label that bxcache writes beside each scope in a registry: an OCI artifact.

The layers of a cache are BuildKit's, and its manifest has no place for metadata. So the tag
`SCOPE.bxcache` has a manifest whose annotations describe the tag `SCOPE`, and whose layers are
the records of its last builds, newest first. A tag without a label is not bxcache's.
https://github.com/opencontainers/image-spec/blob/v1.1.0/manifest.md#guidelines-for-artifact-usage
"""

from __future__ import annotations

import json
import secrets
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from bxcache.oci.documents import MOST_RECORDS, Descriptor, compute_digest
from bxcache.place.scope import LABEL_PART, Kind, Owner, Scope

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

ARTIFACT_TYPE = "application/vnd.bxcache.place.scope.v1+json"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
RECORD_TYPE = "application/vnd.bxcache.record.v1+json"
EMPTY = b"{}"
"""The blob of an empty artifact."""
_EMPTY_DESCRIPTOR = {
    "mediaType": "application/vnd.oci.empty.v1+json",
    "digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
    "size": len(EMPTY),
}
_PREFIX = "io.bxcache."
_CREATED = "org.opencontainers.image.created"
_LEAVING = f"{_PREFIX}removed"
_LONGEST_TAG = 128
_MOST_DIGITS = 10


class Label(Struct, frozen=True):
    """The metadata of a scope in a registry.

    Attributes:
        digest: the manifest that was written under the scope's tag.
        created: when the cache was written, in seconds since 1970.
        used: when a build that may write last wrote or read it, in seconds since 1970.
        records: the records of the builds that wrote it, newest first.
        key: the key of the hashes in these records, in hex.
        stages: the images of its stages as written: the last part of each tag, and its digest.
        steps: how many steps its build has; None if unknown.
        state: a guess of the files that were built, equal for equal files; empty if unknown.
    """

    scope: Scope
    digest: str
    created: float
    used: float
    records: tuple[Descriptor, ...] = ()
    key: str = ""
    stages: tuple[tuple[str, str], ...] = ()
    steps: int | None = None
    state: str = ""

    def with_record(self, record: bytes) -> Label:
        """A copy with the record of a later build, without the oldest record beyond the limit."""
        digest = compute_digest(record)
        added = Descriptor(media_type=RECORD_TYPE, digest=digest, size=len(record))
        kept = (each for each in self.records if each.digest != digest)
        return replace(self, records=(added, *kept)[:MOST_RECORDS])


def name_label(tag: str) -> str | None:
    """The tag of a scope's label; None if the scope's tag is too long for one.

    >>> name_label("image.linux-amd64.main")
    'image.linux-amd64.main.bxcache'
    """
    name = f"{tag}.{LABEL_PART}"
    return name if len(name) <= _LONGEST_TAG else None


def find_labelled(tag: str) -> str | None:
    """The tag that a label's tag describes; None if it is not a label's tag."""
    suffix = f".{LABEL_PART}"
    return tag.removesuffix(suffix) if tag.endswith(suffix) else None


def render_label(label: Label) -> bytes:
    """The label's manifest; the same label gives the same bytes."""
    scope, owner = label.scope, str(label.scope.owner)
    values = {
        "image": scope.image,
        "target": scope.target or "",
        "platforms": ",".join(scope.platforms),
        "branch": owner,
        "digest": label.digest,
        "used": _write_time(label.used),
        # For a branch whose name looks like another kind of owner.
        **({"owner": scope.owner.kind} if Owner.parse(owner) != scope.owner else {}),
        **({"key": label.key} if label.key else {}),
        **({"stages": json.dumps(dict(label.stages))} if label.stages else {}),
        **({"steps": str(label.steps)} if label.steps is not None else {}),
        **({"state": label.state} if label.state else {}),
    }
    notes = {f"{_PREFIX}{name}": value for name, value in values.items()}
    return render_artifact({_CREATED: _write_time(label.created), **notes}, label.records)


def render_artifact(annotations: Mapping[str, str], content: Iterable[Descriptor] = ()) -> bytes:
    layers = [each.model_dump(by_alias=True, exclude_unset=True) for each in content]
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "artifactType": ARTIFACT_TYPE,
        "config": _EMPTY_DESCRIPTOR,
        "layers": layers or [_EMPTY_DESCRIPTOR],
        "annotations": dict(annotations),
    }
    return json.dumps(document, separators=(",", ":")).encode()


def render_leaving() -> bytes:
    """A unique manifest for a tag that is about to be deleted."""
    return render_artifact({_LEAVING: secrets.token_hex(16)})


def is_leaving(body: bytes) -> bool:
    """Whether a manifest is one of `render_leaving`."""
    try:
        document = json.loads(body)
        return document["artifactType"] == ARTIFACT_TYPE and _LEAVING in document["annotations"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return False


def parse_label(body: bytes) -> Label | None:
    """Parse a label's manifest; None if it is not a label."""
    try:
        document = json.loads(body)
        if document["artifactType"] != ARTIFACT_TYPE:
            return None
        notes = {
            name.removeprefix(_PREFIX): str(value)
            for name, value in document["annotations"].items()
            if name.startswith((_PREFIX, _CREATED))
        }
        branch = notes["branch"]
        owner = Owner(Kind.BRANCH, branch) if "owner" in notes else Owner.parse(branch)
        platforms = tuple(filter(None, notes["platforms"].split(",")))
        stages, layers = json.loads(notes.get("stages", "{}")), document.get("layers")
        return Label(
            scope=Scope(notes["image"], notes["target"] or None, platforms, owner),
            digest=notes["digest"],
            created=_read_time(notes[_CREATED]),
            used=_read_time(notes["used"]),
            records=tuple(_read_records(layers if isinstance(layers, list) else ())),
            key=notes.get("key", ""),
            stages=tuple(_read_stages(stages if isinstance(stages, dict) else {})),
            steps=_read_count(notes.get("steps", "")),
            state=notes.get("state", ""),
        )
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, OverflowError):
        return None


def _read_records(layers: Iterable[object]) -> Iterator[Descriptor]:
    for each in layers:
        if isinstance(each, dict) and each.get("mediaType") == RECORD_TYPE:
            yield Descriptor.model_validate(each)


def _read_stages(stages: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    return ((part, digest) for part, digest in stages.items() if isinstance(digest, str))


def _read_count(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < _MOST_DIGITS else None


def _write_time(seconds: float) -> str:
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _read_time(text: str) -> float:
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
