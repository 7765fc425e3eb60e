"""What BuildKit writes into a vertex's name.

A step is `[PLATFORM STAGE i/n] TEXT`; platform and stage can be absent.
https://github.com/moby/buildkit/blob/v0.25.2/frontend/dockerfile/dockerfile2llb/convert.go
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

_STEP = re.compile(r"\[(?P<head>[^\]]*)\] (?P<text>.*)", re.DOTALL)
_PLACE = re.compile(r"(?P<index>[0-9]{1,9})/(?P<total>[0-9]{1,9})")
LINK = "LINK "
INTERNAL = "[internal] "
"""How the names of vertices begin that are BuildKit's own business."""
_CONTEXT = f"{INTERNAL}load build context"
_NAMED_CONTEXT = " load from client"
_FROM = "FROM "
ONLY_STAGE = "stage-0"
"""What a stage is called that BuildKit does not name, since it is the only one."""


class Transfer(StrEnum):
    """What moves bytes."""

    PULL = "pull"
    """A layer comes from a cache or an image."""
    SAVE = "save"
    """A layer goes to a cache."""
    PUSH = "push"
    """A layer goes to a registry, as a part of the image."""
    SEND = "send"
    """Files of the build context go to the builder."""


@dataclass(frozen=True, slots=True)
class StepName:
    """A step's name taken apart.

    Attributes:
        platform: the platform, which only a build for several names.
        stage: the stage's name, or `stage-N` as BuildKit counts them.
        index: which of the stage's steps it is, from 1.
        total: how many steps the stage has.
        text: the instruction.
        is_base: it is a `FROM`, which names a base image and makes no layer.
        is_link: it is the merge that places the layer of a `COPY --link`.
    """

    platform: str | None
    stage: str
    index: int
    total: int
    text: str

    @property
    def is_base(self) -> bool:
        return self.text.startswith(_FROM)

    @property
    def is_link(self) -> bool:
        return self.text.startswith(LINK)

    @property
    def label(self) -> str:
        """`[STAGE i/n]`, with the platform where there is one."""
        head = f"{self.platform} {self.stage}" if self.platform else self.stage
        return f"[{head} {self.index}/{self.total}]"


def parse_step_name(name: str) -> StepName | None:
    """The parts of a step's name; None for a vertex that is no step.

    >>> parse_step_name("[linux/arm64 build  2/10] RUN make").label
    '[linux/arm64 build 2/10]'
    """
    match = _STEP.fullmatch(name)
    words = match["head"].split() if match is not None else []
    place = _PLACE.fullmatch(words.pop()) if words else None
    if match is None or place is None:
        return None
    platform, stage = _split_head(words)
    return StepName(platform, stage, int(place["index"]), int(place["total"]), match["text"])


def _split_head(words: list[str]) -> tuple[str | None, str]:
    # A stage's name has no `/`, a platform always has one.
    platform = words.pop(0) if words and "/" in words[0] else None
    return platform, " ".join(words) or ONLY_STAGE


def is_local(name: str) -> bool:
    """Whether a vertex is a context that the client sends, by its name.

    https://github.com/moby/buildkit/blob/v0.25.2/frontend/dockerui/namedcontext.go
    """
    return name == _CONTEXT or name.endswith(_NAMED_CONTEXT)


class CacheVertex(StrEnum):
    """The vertices that import or export a cache, by how their names begin.

    Each exporter's name is fixed: https://github.com/moby/buildkit/tree/v0.25.2/cache/remotecache
    """

    IMPORT = "importing cache manifest from "
    EXPORT_LOCAL = "exporting cache to client directory"
    EXPORT_REGISTRY = "exporting cache to registry"
    EXPORT_GHA = "exporting to GitHub Actions Cache"
    EXPORT_S3 = "exporting cache to Amazon S3"
    EXPORT_AZURE = "exporting cache to Azure Blob Storage"


EXPORTS = {"local": CacheVertex.EXPORT_LOCAL, "registry": CacheVertex.EXPORT_REGISTRY}

_WRITTEN = re.compile(r"writing cache (?:image )?manifest (?P<digest>sha256:[0-9a-f]{64})")


def parse_written_manifest(status: str) -> str | None:
    """The digest of the cache manifest that an exporter's status says it writes."""
    match = _WRITTEN.fullmatch(status)
    return match["digest"] if match else None


_TRANSFERS = (
    ("sha256:", Transfer.PULL),
    ("writing layer ", Transfer.SAVE),
    ("pushing layer ", Transfer.PUSH),
    ("transferring ", Transfer.SEND),
)


def find_transfer(status: str) -> tuple[Transfer, str] | None:
    """What a status tells to be moved, and which item; None where it tells something else.

    >>> find_transfer("writing layer sha256:ab")
    (<Transfer.SAVE: 'save'>, 'sha256:ab')
    """
    for prefix, kind in _TRANSFERS:
        if status.startswith(prefix):
            return kind, status if kind is Transfer.PULL else status.removeprefix(prefix)
    return None
