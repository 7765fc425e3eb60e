"""A build's record: a JSON document, the same in a store, in an archive and in a registry.

It has a version. Later versions of bxcache read the records of earlier ones, and keep unknown keys.
Sizes are bytes, times seconds; moments are seconds since 1970.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field, ValidationError

from bxcache.config.quantities import WrittenMoment as Moment
from bxcache.config.quantities import WrittenSeconds as Seconds
from bxcache.config.quantities import WrittenSize as Size
from bxcache.errors import RecordError
from bxcache.insight.document import Part, Text, shorten
from bxcache.insight.record_inputs import RecordedFiles, RecordedInstruction
from bxcache.insight.record_misses import (
    RecordedAdvice,
    RecordedBasis,
    RecordedMiss,
    RecordedPrediction,
)
from bxcache.insight.record_parts import (
    RecordedArguments,
    RecordedCache,
    RecordedImage,
    RecordedPhase,
    RecordedPlace,
    RecordedScope,
    RecordedStage,
    RecordedStep,
    RecordedTools,
    Verdict,
)

VERSION = 1
_LENGTHS = (400, 100, 40)
"""The longest text in each attempt to shorten a record, in characters."""
_MOST_WARNINGS = 100


class Record(Part):
    """The record of a build."""

    version: Literal[1]
    """The version of this format."""

    scope: RecordedScope
    """Whose cache the build had: an image, its platforms and a branch."""

    started: Moment
    """When the build began."""

    seconds: Seconds
    """How long the build took, until the record was written."""

    exit_status: int = 0
    """Docker's exit status; 0 is success."""

    phases: tuple[RecordedPhase, ...] = ()
    """What the time was spent on, until the record was written; together they are all of it."""

    image_digest: str | None = None
    """The image's digest; None if no image was exported."""

    pushed: tuple[Text, ...] = ()
    """The names by which the image was pushed."""

    steps: tuple[RecordedStep, ...] = ()
    """The steps, each after the step that it builds on."""

    stages: tuple[RecordedStage, ...] = ()
    """The stages of the Dockerfile, in order; empty if unknown."""

    images: tuple[RecordedImage, ...] = ()
    """The base images that the build used."""

    arguments: RecordedArguments = RecordedArguments()
    """The build arguments, with hashes of their values."""

    files: dict[Text, RecordedFiles] = Field(default_factory=dict)
    """The files of local build contexts that steps read, by the names of the contexts."""

    instructions: tuple[RecordedInstruction, ...] = ()
    """The instructions of the Dockerfile, in order; empty if unknown."""

    frontend: Text | None = None
    """The image that read the Dockerfile, as `NAME@DIGEST`; empty for BuildKit's own frontend,
    None if unknown."""

    uncached: tuple[Text, ...] = ()
    """The stages that were built without a cache because the caller asked for it; `*` is all."""

    basis: RecordedBasis | None = None
    """The earlier build with which this one is compared; None if none is known."""

    misses: tuple[RecordedMiss, ...] = ()
    """Why steps were executed."""

    prediction: RecordedPrediction | None = None
    """How well the steps could be predicted; None if there was nothing to predict them from."""

    advice: tuple[RecordedAdvice, ...] = ()
    """What made this and earlier builds of the scope execute steps again and again."""

    context: Text = ""
    """The build context, from the project's top folder; empty if unknown."""

    file: Text = ""
    """The Dockerfile, from the project's top folder; empty for the one in the context."""

    network: Text = ""
    """The network of its RUN steps, if not the default one."""

    place: RecordedPlace = RecordedPlace()
    """The CI system and the branch for which the build ran."""

    tools: RecordedTools = RecordedTools()
    """The versions of bxcache, docker, buildx and BuildKit in the build."""

    caches: tuple[RecordedCache, ...] = ()
    """The caches that the build imported or saved to."""

    pulled_bytes: Size = 0
    """The size of the layers and base images that were fetched."""

    sent_bytes: Size = 0
    """The size of the build context that was sent."""

    warnings: tuple[Text, ...] = ()
    """The warnings of bxcache, with secrets masked."""

    build_warnings: tuple[Text, ...] = ()
    """The warnings of BuildKit, such as a bad habit in the Dockerfile, with secrets masked."""

    gates: tuple[Verdict, ...] = ()
    """The gates that the build failed."""

    why_unknown: Text = ""
    """Why no layers are known, with secrets masked; empty if any are, or the reason is unknown."""

    @property
    def is_salvaged(self) -> bool:
        """Whether the build failed, and what it had finished was saved."""
        return bool(self.exit_status) and any(each.salvaged for each in self.caches)

    def to_json(self) -> bytes:
        """The record as one line, without default values."""
        return self.model_dump_json(exclude_defaults=True).encode() + b"\n"

    def fit(self, most: int) -> Record:
        """Shorten it to a size in bytes, which only a build of thousands of steps exceeds.

        First go the inputs of steps, the logs of those that did not fail, other forms of layers,
        and the end of each long text; the layers go last. A record that stays larger is returned as
        short as it gets.
        """
        record = self
        for longest in _LENGTHS:
            if len(record.to_json()) <= most:
                return record
            record = record._shortened(longest)
        if len(record.to_json()) <= most:
            return record
        steps = (step.model_copy(update={"layers": ()}) for step in record.steps)
        return record.model_copy(update={"steps": tuple(steps)})

    def _shortened(self, longest: int) -> Record:
        own, built = self.warnings[:_MOST_WARNINGS], self.build_warnings[:_MOST_WARNINGS]
        update = {
            "steps": tuple(step.shortened(longest) for step in self.steps),
            "warnings": tuple(shorten(text, longest) for text in own),
            "build_warnings": tuple(shorten(text, longest) for text in built),
        }
        return self.model_copy(update={**update, "instructions": ()})


class _Head(BaseModel):
    version: int = VERSION


def parse_record(data: bytes, source: str) -> Record:
    """Parse a record; an error names its source.

    Raises:
        RecordError: the record is damaged, or a later bxcache wrote it.
    """
    try:
        version = _Head.model_validate_json(data).version
        if version > VERSION:
            raise RecordError(
                f"the record of {source} has version {version}; this bxcache reads up to {VERSION}",
                hint="update bxcache, or build again with this one to get a record "
                "that it can read",
            )
        record = Record.model_validate_json(data)
    except ValueError as error:
        raise _damaged(source, error) from error
    parents = ((at, step.parent) for at, step in enumerate(record.steps))
    if not all(parent is None or 0 <= parent < at for at, parent in parents):
        raise _damaged(source, ValueError("a step builds on one that comes after it"))
    return record


def _damaged(source: str, error: ValueError) -> RecordError:
    why = str(error)
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        why = f"{'.'.join(map(str, first['loc'])) or 'the document'}: {first['msg']}"
    return RecordError(
        f"the record of {source} is damaged: {why}",
        hint="the cache itself is not affected; the next build leaves a new record",
    )
