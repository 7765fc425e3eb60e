"""A build's report: what its record tells, with the figures that people ask for.

It has a version; keys are added, never renamed. Sizes are bytes, times seconds; moments are seconds
since 1970.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from bxcache.config.quantities import WrittenSeconds as Seconds
from bxcache.config.quantities import WrittenSize as Size
from bxcache.insight.record import (
    RecordedCache,
    RecordedImage,
    RecordedPlace,
    RecordedScope,
    RecordedTools,
    ReportedStep,
    Text,
    Verdict,
)

Count = Annotated[int, Field(ge=0)]
Position = Annotated[int, Field(ge=0)]
Ratio = Annotated[float, Field(ge=0, le=1)]
TotalSize = Annotated[int, Field(ge=0)]
TotalSeconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class ReportedCounts(_Part):
    """What became of steps. A `FROM` is none of them: it names a base image."""

    reused: Count = 0
    executed: Count = 0
    failed: Count = 0
    hit_ratio: Ratio | None = None
    """The share of them that was reused; None where there is no step."""

    spent: TotalSeconds = 0.0
    """How long all steps were worked on, base images and transfers included, those that ran side
    by side added up."""

    saved: TotalSeconds = 0.0
    """How long the reused ones took when they were executed last, as far as that is known."""

    unknown: Count = 0
    """How many of the reused ones are not among those saved: no record tells what they took."""


class ReportedLayer(_Part):
    """A layer of a stage."""

    digest: str
    size: Size
    step: Position
    """The position of the step that made it."""

    shared: bool = False
    """Whether it was told before: by a stage above, or by another step of this one."""


class ReportedStage(_Part):
    """A stage of the Dockerfile."""

    name: Text
    """Empty for what belongs to no stage that is known."""

    line: int | None = None
    """The line of its `FROM`; None if unknown."""

    base: Text = ""
    """What its `FROM` names; empty if unknown."""

    needed: bool = True
    """Whether it was part of the build."""

    counts: ReportedCounts = ReportedCounts()
    """Of its own steps. One that several stages have counts in each of them."""

    steps: tuple[Position, ...] = ()
    """The positions of its own steps, its base image first where it has one."""

    layers: tuple[ReportedLayer, ...] = ()
    """Those of its own steps, from the bottom."""

    bytes: TotalSize = 0
    """The size of its layers without the shared ones."""

    shared_bytes: TotalSize = 0
    """The size of the shared ones."""


class ReportedBuild(_Part):
    """One of the last builds of the scope."""

    started: float
    seconds: Seconds
    exit_status: int = 0
    """Docker's; 0 is a build that succeeded."""

    refused: bool = False
    """It succeeded by itself, and a gate made it fail."""

    hit_ratio: Ratio | None = None
    """The share of its steps that was reused; None where it had none."""

    bytes: TotalSize | None = None
    """The size of its layers, each once; None if unknown, as of a build that failed."""


class Report(_Part):
    """What there is to tell of a build."""

    version: Literal["1"] = "1"
    scope: RecordedScope
    started: float
    """When it began."""

    seconds: Seconds
    """How long `docker buildx build` took."""

    exit_status: int = 0
    """Docker's; 0 is a build that succeeded."""

    counts: ReportedCounts
    """Of all steps, each once."""

    shared_steps: Count = 0
    """How many of them several stages have. They count in each of these, so that the counts of all
    stages add up to more than those of the build."""

    bytes: TotalSize | None = None
    """The size of all layers, each once; None if unknown, as of a build that failed."""

    stages: tuple[ReportedStage, ...] = ()
    """In the order of the Dockerfile."""

    steps: tuple[ReportedStep, ...] = ()
    """Each after what it builds on."""

    slowest: tuple[Position, ...] = ()
    """The positions of the steps that took longest of those that were executed or failed."""

    caches: tuple[RecordedCache, ...] = ()
    pulled_bytes: Size = 0
    """How much of layers and base images was fetched."""

    sent_bytes: Size = 0
    """How much of the build context was sent."""

    warnings: tuple[Text, ...] = ()
    """What a person should look at."""

    build_warnings: tuple[Text, ...] = ()
    """What BuildKit warned of, such as a bad habit in the Dockerfile."""

    gates: tuple[Verdict, ...] = ()
    """The gates that it does not pass."""

    images: tuple[RecordedImage, ...] = ()
    tools: RecordedTools = RecordedTools()
    place: RecordedPlace = RecordedPlace()
    trend: tuple[ReportedBuild, ...] = ()
    """The last builds of the scope, the oldest first; this one is the last of them."""
