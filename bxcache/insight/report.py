"""The report of a build: its record with the figures that people ask for.

It has a version. Keys are added, never renamed. Sizes are bytes, times seconds; moments are seconds
since 1970.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from bxcache.config.quantities import WrittenSeconds as Seconds
from bxcache.config.quantities import WrittenSize as Size
from bxcache.insight.document import Document, Text
from bxcache.insight.record_misses import RecordedAdvice, RecordedBasis, RecordedMiss
from bxcache.insight.record_parts import (
    RecordedCache,
    RecordedImage,
    RecordedPhase,
    RecordedPlace,
    RecordedScope,
    RecordedTools,
    StepFields,
    Verdict,
)

Count = Annotated[int, Field(ge=0)]
Position = Annotated[int, Field(ge=0)]
Ratio = Annotated[float, Field(ge=0, le=1)]
TotalSize = Annotated[int, Field(ge=0)]
NetSeconds = Annotated[float, Field(allow_inf_nan=False)]
TotalSeconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class ReportedStep(StepFields):
    """A step, or a base image, with its figures."""

    fetched: Seconds | None = None
    """How long the layers of a reused step were fetched and unpacked; None for others."""

    saved: NetSeconds | None = None
    """The time that the reuse of the step saved: `ran` less `fetched`; None if unknown."""


class ReportedCounts(Document):
    """The outcomes of steps. A `FROM` is not a step: it names a base image."""

    reused: Count = 0
    """How many steps came from a cache."""

    executed: Count = 0
    """How many steps ran and succeeded."""

    failed: Count = 0
    """How many steps ran and ended with an error."""

    hit_ratio: Ratio | None = None
    """The share of reused steps; None without steps."""

    spent: TotalSeconds = 0.0
    """The total time of all steps, including base images and transfers; parallel steps add up."""

    fetched: TotalSeconds = 0.0
    """The part of `spent` in which the layers of reused steps were fetched and unpacked."""

    saved: NetSeconds = 0.0
    """The time that reuse saved, as far as it is known: how long the reused steps ran when they
    were last executed, less how long their layers were fetched. It can be negative."""

    unknown: Count = 0
    """How many reused steps `saved` does not include, because no record contains their time."""


class ReportedLayer(Document):
    """A layer of a stage."""

    digest: str
    """The digest of the blob, by which stores and registries name it."""

    size: Size
    """The size of the blob as stored, usually compressed; 0 if unknown."""

    step: Position
    """The position of its step."""

    shared: bool = False
    """Whether it is listed before, in an earlier stage or for another step of this stage."""


class ReportedStage(Document):
    """A stage of the Dockerfile."""

    name: Text
    """Empty for steps of unknown stages."""

    line: int | None = None
    """The line of its `FROM`; None if unknown."""

    base: Text = ""
    """The name in its `FROM`; empty if unknown."""

    needed: bool = True
    """Whether the build needed it."""

    counts: ReportedCounts = ReportedCounts()
    """The counts of its own steps. A step of several stages counts in each."""

    steps: tuple[Position, ...] = ()
    """The positions of its own steps, after its base image if it has one."""

    first_executed: Position | None = None
    """The position of the first of its own steps that was executed; None if there is none, or if
    the stage builds on an executed step of another one."""

    layers: tuple[ReportedLayer, ...] = ()
    """The layers of its own steps, from the bottom."""

    bytes: TotalSize = 0
    """The size of its layers without the shared ones."""

    shared_bytes: TotalSize = 0
    """The size of the shared layers."""


class ReportedBuild(Document):
    """One of the last builds of the scope."""

    started: float
    """When the build began."""

    seconds: Seconds
    """How long the build took."""

    exit_status: int = 0
    """Docker's exit status; 0 is success."""

    refused: bool = False
    """Whether the build succeeded but a gate failed it."""

    hit_ratio: Ratio | None = None
    """The share of reused steps; None without steps."""

    bytes: TotalSize | None = None
    """The size of its layers without duplicates; None if unknown, as for a failed build."""


class ComparedPhase(Document):
    """A phase that took longer or shorter than in an earlier build."""

    name: Text
    """`steps`, `fetch`, `save`, or another one of the documented names."""

    slower: NetSeconds
    """How much longer it took; negative if it took less time."""


class ComparedBuild(Document):
    """The earlier build that a build is compared with, and what changed since in time."""

    started: float
    """When the earlier build began."""

    scope: Text
    """The name of its scope: that of the build, or else one that it imported."""

    branch: Text = ""
    """Its branch or tag; empty if unknown."""

    commit: Text = ""
    """The full hash of its commit; empty if unknown."""

    seconds: Seconds
    """How long it took."""

    slower: NetSeconds
    """How much longer the build took than the earlier one; negative if it took less time."""

    phases: tuple[ComparedPhase, ...] = ()
    """The phases that took longer or shorter, the most different one first; empty if one of the
    two records has no phases."""

    more_executed: int = 0
    """How many more steps were executed; negative if fewer were."""

    first_executed: Position | None = None
    """The position of the first executed step that was reused before; None if there is none."""


class Report(Document):
    """The report of a build."""

    def to_dict(self) -> dict[str, Any]:
        """Return the document that `bxcache report --json` prints."""
        return self.model_dump(mode="json")

    version: Literal["1"] = "1"
    """The version of this format."""

    scope: RecordedScope
    """Whose cache the build had: an image, its platforms and a branch."""

    started: float
    """When the build began."""

    seconds: Seconds
    """How long the build took."""

    phases: tuple[RecordedPhase, ...] = ()
    """What the time was spent on; together they are all of it."""

    exit_status: int = 0
    """Docker's exit status; 0 is success."""

    image_digest: str | None = None
    """The image's digest; None if no image was exported."""

    pushed: tuple[Text, ...] = ()
    """The names by which the image was pushed."""

    counts: ReportedCounts
    """The counts of all steps, each once."""

    shared_steps: Count = 0
    """How many steps belong to several stages. They count in each of these, so the counts of all
    stages add up to more than those of the build."""

    bytes: TotalSize | None = None
    """The size of all layers without duplicates; None if unknown, as for a failed build."""

    stages: tuple[ReportedStage, ...] = ()
    """The stages, in the order of the Dockerfile."""

    steps: tuple[ReportedStep, ...] = ()
    """The steps, each after the step that it builds on."""

    misses: tuple[RecordedMiss, ...] = ()
    """Why steps were executed, each first cause once."""

    advice: tuple[RecordedAdvice, ...] = ()
    """What made this and earlier builds of the scope execute steps again and again."""

    basis: RecordedBasis | None = None
    """The build with which this one is compared for that: the one whose cache it imported."""

    slowest: tuple[Position, ...] = ()
    """The positions of the slowest steps among those that were executed or failed."""

    gains: tuple[Position, ...] = ()
    """The positions of the executed steps whose reuse would have shortened the build most."""

    caches: tuple[RecordedCache, ...] = ()
    """The caches that the build imported or saved to."""

    pulled_bytes: Size = 0
    """The size of the layers and base images that were fetched."""

    sent_bytes: Size = 0
    """The size of the build context that was sent."""

    warnings: tuple[Text, ...] = ()
    """The warnings of bxcache."""

    build_warnings: tuple[Text, ...] = ()
    """The warnings of BuildKit, such as a bad habit in the Dockerfile."""

    gates: tuple[Verdict, ...] = ()
    """The gates that the build failed."""

    images: tuple[RecordedImage, ...] = ()
    """The base images that the build used."""

    tools: RecordedTools = RecordedTools()
    """The versions of bxcache, docker, buildx and BuildKit in the build."""

    place: RecordedPlace = RecordedPlace()
    """The CI system and the branch for which the build ran."""

    compared: ComparedBuild | None = None
    """The last build of the scope before this one, or else of the imported scopes, with what
    changed since in time. Failed builds are left out; None for one, and if there is no other."""

    trend: tuple[ReportedBuild, ...] = ()
    """The last builds of the scope, the oldest first and this one last."""
