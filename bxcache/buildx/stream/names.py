"""The names that BuildKit gives to vertices.

A step is `[PLATFORM STAGE i/n] TEXT`; platform and stage are optional.
https://github.com/moby/buildkit/blob/v0.25.2/frontend/dockerfile/dockerfile2llb/convert.go
"""

from __future__ import annotations

import re
from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

_STEP = re.compile(r"\[(?P<head>[^\]]*)\] (?P<text>.*)", re.DOTALL)
_PLACE = re.compile(r"(?P<index>[0-9]{1,9})/(?P<total>[0-9]{1,9})")
LINK = "LINK "
INTERNAL = "[internal] "
"""The prefix of BuildKit's internal vertices."""
ONLY_STAGE = "stage-0"
"""The name of a Dockerfile's only stage, which BuildKit leaves out."""


class Transfer(StrEnum):
    """The kinds of transfers."""

    PULL = "pull"
    """A layer is downloaded from a cache or an image."""
    SAVE = "save"
    """A layer is saved to a cache."""
    PUSH = "push"
    """A layer of the image is uploaded to a registry."""
    SEND = "send"
    """Files of the build context are sent to the builder."""


class StepName(Struct, frozen=True):
    """The parts of a step's name.

    Attributes:
        platform: None in a build for a single one.
        stage: its name, or `stage-N` as BuildKit numbers them.
        index, total: the step's number in the stage, from 1, and the number of all.
    """

    platform: str | None
    stage: str
    index: int
    total: int
    text: str

    @property
    def is_counted(self) -> bool:
        """Whether it counts as a step: not a `FROM`, and not the second half of a `COPY --link`."""
        return not (self.is_base or self.is_link)

    @property
    def is_base(self) -> bool:
        """Whether it is a `FROM`, which makes no layer."""
        return self.text.startswith("FROM ")

    @property
    def is_link(self) -> bool:
        """Whether it is the merge of a `COPY --link`."""
        return self.text.startswith(LINK)

    @property
    def copied(self) -> StepName | None:
        """The `COPY --link` whose merge it is; None if it is not a merge."""
        return replace(self, text=self.text.removeprefix(LINK)) if self.is_link else None

    @property
    def label(self) -> str:
        """`[STAGE i/n]`, with the platform if there is one."""
        head = f"{self.platform} {self.stage}" if self.platform else self.stage
        return f"[{head} {self.index}/{self.total}]"


def parse_step_name(name: str) -> StepName | None:
    """Parse a step's name; return None for a vertex that is not a step.

    >>> parse_step_name("[linux/arm64 build  2/10] RUN make").label
    '[linux/arm64 build 2/10]'
    """
    match = _STEP.fullmatch(name)
    words = match["head"].split() if match is not None else []
    place = _PLACE.fullmatch(words.pop()) if words else None
    if match is None or place is None:
        return None
    # A stage's name contains no `/`, but a platform always does.
    platform = words.pop(0) if words and "/" in words[0] else None
    stage = " ".join(words) or ONLY_STAGE
    return StepName(platform, stage, int(place["index"]), int(place["total"]), match["text"])


def has_link_flag(text: str) -> bool:
    """Whether an instruction is a `COPY --link`, which is made without the steps before it.

    >>> has_link_flag("COPY --link a /"), has_link_flag("COPY a--link /")
    (True, False)
    """
    return "--link" in text.split()


def is_local(name: str) -> bool:
    """Whether a vertex, by its name, is a context that the client sends.

    https://github.com/moby/buildkit/blob/v0.25.2/frontend/dockerui/namedcontext.go
    """
    return name == f"{INTERNAL}load build context" or name.endswith(" load from client")


class CacheVertex(StrEnum):
    """The prefixes of vertices that import or export a cache.

    Each exporter's name is fixed: https://github.com/moby/buildkit/tree/v0.25.2/cache/remotecache
    """

    IMPORT = "importing cache manifest from "
    EXPORT_LOCAL = "exporting cache to client directory"
    EXPORT_REGISTRY = "exporting cache to registry"
    EXPORT_GHA = "exporting to GitHub Actions Cache"
    EXPORT_S3 = "exporting cache to Amazon S3"
    EXPORT_AZURE = "exporting cache to Azure Blob Storage"


EXPORTS = {
    "local": CacheVertex.EXPORT_LOCAL,
    "registry": CacheVertex.EXPORT_REGISTRY,
    "gha": CacheVertex.EXPORT_GHA,
    "s3": CacheVertex.EXPORT_S3,
    "azblob": CacheVertex.EXPORT_AZURE,
}

WRITTEN = re.compile(r"writing cache (?:image )?manifest (?P<digest>sha256:[0-9a-f]{64})")
"""An exporter's status that names its cache manifest."""

_TRANSFERS = (
    ("sha256:", Transfer.PULL),
    ("writing layer ", Transfer.SAVE),
    ("pushing layer ", Transfer.PUSH),
    ("transferring ", Transfer.SEND),
)


def find_transfer(status: str) -> tuple[Transfer, str] | None:
    """Return the kind and the item of a transfer that a status reports, or None.

    >>> find_transfer("writing layer sha256:ab")
    (<Transfer.SAVE: 'save'>, 'sha256:ab')
    """
    for prefix, kind in _TRANSFERS:
        if status.startswith(prefix):
            return kind, status if kind is Transfer.PULL else status.removeprefix(prefix)
    return None
