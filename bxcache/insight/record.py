"""A build's record: a JSON document, the same in a store, in an archive and in a registry.

It has a version. Later versions of bxcache read the records of earlier ones, and keep unknown keys.
Sizes are bytes, times seconds; moments are seconds since 1970.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bxcache.buildx.stream.events import Outcome
from bxcache.config.quantities import WrittenMoment as Moment
from bxcache.config.quantities import WrittenSeconds as Seconds
from bxcache.config.quantities import WrittenSize as Size
from bxcache.errors import RecordError
from bxcache.insight.document import Digest, Document, Part, Text, shorten

VERSION = 1
_LENGTHS = (400, 100, 40)
"""The longest text in each attempt to shorten a record, in characters."""
_MOST_WARNINGS = 100


class RecordedLayer(Part):
    """A blob that a step made."""

    digest: Digest
    """The digest of the blob, by which stores and registries name it."""

    size: Size
    """The size of the blob as stored, usually compressed; 0 if unknown."""


class ReportedStep(Document):
    """A step, or a base image."""

    kind: Literal["instruction", "from"] = "instruction"
    """An `instruction` makes a layer; `from` is a base image, with all of its layers."""

    text: Text
    """The step as BuildKit shows it, shortened if it is long."""

    stage: Text = ""
    """The stage that BuildKit names it after; several stages can share an instruction."""

    lines: tuple[int, ...] = ()
    """The line of the step in the Dockerfile, in each stage that has it; empty if unknown."""

    platforms: tuple[Text, ...] = ()
    """The platforms that the step was built for, in a build for several platforms."""

    outcome: Outcome | None = None
    """`reused`, `executed` or `failed`; None for a base image, which is neither."""

    seconds: Seconds = 0.0
    """How long BuildKit worked on the step, including the transfer of layers."""

    began: Seconds | None = None
    """When the step began, in seconds since BuildKit's first action; None if unknown."""

    saved: Seconds | None = None
    """How long a reused step took when it was last executed; None if unknown."""

    layers: tuple[RecordedLayer, ...] = ()
    """The layers of the step; for a base image all of them, from the bottom. Empty if unknown."""

    error: Text = ""
    """Why the step failed, with secrets masked; empty if it did not."""

    log_bytes: Size = 0
    """How many bytes the step printed."""

    log: Text = ""
    """The end of the step's output, with secrets masked."""


class RecordedStep(ReportedStep):
    """A step with the details that only the record keeps."""

    model_config = ConfigDict(extra="allow", frozen=True)

    alternatives: tuple[tuple[RecordedLayer, ...], ...] = ()
    """The same layers in other forms, such as another compression."""

    parent: int | None = None
    """The position of the step below; None if there is none or it is unknown."""

    @property
    def forms(self) -> tuple[tuple[RecordedLayer, ...], ...]:
        """Its layers, and then the alternatives."""
        return self.layers, *self.alternatives

    def shortened(self, longest: int) -> RecordedStep:
        """The step with texts of at most so many characters, and without alternatives."""
        update = {
            "text": shorten(self.text, longest),
            "error": shorten(self.error, longest),
            "log": self.log[-longest:] if self.outcome is Outcome.FAILED else "",
            "alternatives": (),
        }
        return self.model_copy(update=update)


class RecordedStage(Part):
    """A stage of the Dockerfile."""

    name: Text
    """Its name; `stage-N` for an unnamed one."""

    line: int
    """The line of its `FROM`."""

    base: Text
    """The name in its `FROM`, as written."""

    needed: bool = True
    """Whether the build needed it."""


class RecordedImage(Part):
    """A base image."""

    name: Text
    """Its full name, such as `docker.io/library/busybox:latest`."""

    digest: str | None = None
    """The digest of what was used; None if unknown."""


class RecordedArguments(Part):
    """The build arguments. Hashes with the same key can be compared between records.

    A hash hides a value but does not protect it from guessing, because the key is beside it. So
    arguments whose names look like secrets have no hash.
    """

    key: Annotated[str, Field(pattern=r"^([0-9a-f]{2})*$")] = ""
    """The key of the hashes, in hex."""

    values: dict[Text, str | None] = Field(default_factory=dict)
    """By name: the beginning of the HMAC-SHA256 of the value, or None if it is not recorded."""

    def list_different(self, later: RecordedArguments) -> tuple[str, ...]:
        """The names of the arguments that differ from those of a build with the same key."""
        different = {name for name, _ in self.values.items() ^ later.values.items()}
        return tuple(name for name in self.values | later.values if name in different)


class RecordedPlace(Part):
    """Where the build ran, as in `bxcache config show`."""

    provider: Text = ""
    """The CI system, such as `github`; `git` in a checkout elsewhere, `none` without either."""

    branch: Text | None = None
    """The branch that was built; for a pull request, its head branch. None if unknown or none."""

    tag: Text | None = None
    """The git tag that was built; None for a branch."""

    base: Text | None = None
    """The branch that a pull request or a merge queue targets; None for others."""

    pull_request: Text | None = None
    """The pull request's number; None for others."""

    trusted: bool = False
    """Whether the code is from people who may write to the repository; false if unknown."""


class RecordedTools(Part):
    """The versions of the tools of the build; empty if unknown."""

    bxcache: str = ""
    """The bxcache that wrote the record."""

    docker: str = ""
    """Docker's command line."""

    engine: str = ""
    """The Docker engine."""

    buildx: str = ""
    """The plugin that `docker buildx` runs."""

    buildkit: str = ""
    """BuildKit on the builder's first node with a known version."""

    driver: str = ""
    """The builder's driver, such as `docker` or `docker-container`."""


class RecordedCache(Part):
    """A cache that the build imported or saved to."""

    backend: Text
    """The declared type, such as `local`, `registry` or `inline`."""

    place: Text
    """The store's directory or the ref, with secrets masked."""

    scope: Text
    """The scope's name: an image, its platforms and a branch."""

    digest: str | None = None
    """The digest of the saved manifest, else of the imported one; None if unknown."""

    bytes: Size | None = None
    """The size of the scope there after the build; None if unknown."""

    new_bytes: Size | None = None
    """The part of `bytes` that was not there before; None if unknown."""

    imported: bool = False
    """Whether the build started from it."""

    exported: bool = False
    """Whether the build was saved to it."""

    unsaved: tuple[Digest, ...] | None = None
    """The layers of the build's steps that are not in the cache afterwards; None if unknown."""


class Verdict(Part):
    """A gate that the build failed."""

    gate: Text
    """The key in `[gate]`."""

    reason: Text
    """The value of the build, and the limit."""

    fails: bool
    """Whether the gate fails the build; if not, it only warns."""

    def __str__(self) -> str:
        return f"gate `{self.gate}` failed: {self.reason}"


class RecordedScope(Part):
    """The scope of the build."""

    name: Text
    """All of the following as a tag."""

    image: Text
    """The image's name in the project, not docker's name for it."""

    target: Text | None = None
    """The stage that was built; None for the last one."""

    platforms: tuple[Text, ...] = ()
    """The platforms that were built, such as `linux/amd64`."""

    branch: Text | None = None
    """The branch; `tag:NAME` or `untrusted:NAME` for another owner, None for no owner."""


class Record(Part):
    """The record of a build."""

    version: Literal[1]
    """The version of this format."""

    scope: RecordedScope
    """Whose cache the build had: an image, its platforms and a branch."""

    started: Moment
    """When the build began."""

    seconds: Seconds
    """How long `docker buildx build` took."""

    exit_status: int = 0
    """Docker's exit status; 0 is success."""

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

    def to_json(self) -> bytes:
        """The record as one line, without default values."""
        return self.model_dump_json(exclude_defaults=True).encode() + b"\n"

    def fit(self, most: int) -> Record:
        """Shorten it to a size in bytes, which only a build of thousands of steps exceeds.

        First go the logs of steps that did not fail, other forms of layers, and the end of each
        long text; the layers go last. A record that stays larger is returned as short as it gets.
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
        return self.model_copy(update=update)


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
