"""A build's record: a JSON document, the same in a store, in an archive and in a registry.

It has a version. Later versions of bxcache read the records of earlier ones, and keep unknown keys.
Sizes are bytes, times seconds; moments are seconds since 1970.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from bxcache.buildx.stream.events import Outcome
from bxcache.config.quantities import WrittenMoment as Moment
from bxcache.config.quantities import WrittenSeconds as Seconds
from bxcache.config.quantities import WrittenSize as Size
from bxcache.errors import RecordError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic._internal._model_construction import ModelMetaclass
else:
    # Pydantic exports it under no name.
    ModelMetaclass = type(BaseModel)

VERSION = 1
_LENGTHS = (400, 100, 40)
"""The longest text in each attempt to shorten a record, in characters."""
_MOST_WARNINGS = 100
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]


def _escape(value: object) -> object:
    # A name from a variable may hold bytes that are not UTF-8, which JSON cannot contain.
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    return value


Text = Annotated[str, BeforeValidator(_escape)]


_OTHERS = frozenset(dir(BaseModel)) - frozenset(dir(object))


def _list_own(names: Iterable[str]) -> list[str]:
    return [each for each in names if each not in _OTHERS and "pydantic" not in each]


class _Shown(ModelMetaclass):
    """Keeps the names of pydantic out of `dir` and `help`: they can change with its version."""

    def __dir__(cls) -> list[str]:  # noqa: N805  # it is a class of classes
        return _list_own(super().__dir__())


class Document(BaseModel, metaclass=_Shown):
    """The base of records and reports."""

    model_config = ConfigDict(frozen=True)

    def __dir__(self) -> list[str]:
        return _list_own(super().__dir__())


class _Part(Document):
    model_config = ConfigDict(extra="allow", frozen=True)


class RecordedLayer(_Part):
    """A blob that a step made."""

    digest: Digest
    size: Size


class ReportedStep(Document):
    """A step, or a base image.

    An `instruction` makes a layer; `from` is a base image, with all of its layers.
    """

    kind: Literal["instruction", "from"] = "instruction"
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
        update = {
            "text": shorten(self.text, longest),
            "error": shorten(self.error, longest),
            "log": self.log[-longest:] if self.outcome is Outcome.FAILED else "",
            "alternatives": (),
        }
        return self.model_copy(update=update)


class RecordedStage(_Part):
    """A stage of the Dockerfile."""

    name: Text
    line: int
    """The line of its `FROM`."""

    base: Text
    """The name in its `FROM`, as written."""

    needed: bool = True
    """Whether the build needed it."""


class RecordedImage(_Part):
    """A base image."""

    name: Text
    digest: str | None = None


class RecordedArguments(_Part):
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


class RecordedPlace(_Part):
    """Where the build ran, as in `bxcache config show`."""

    provider: Text = ""
    branch: Text | None = None
    tag: Text | None = None
    base: Text | None = None
    pull_request: Text | None = None
    trusted: bool = False


class RecordedTools(_Part):
    """The versions of the tools of the build; empty if unknown."""

    bxcache: str = ""
    docker: str = ""
    engine: str = ""
    buildx: str = ""
    buildkit: str = ""
    driver: str = ""


class RecordedCache(_Part):
    """A cache that the build imported or saved to."""

    backend: Text
    place: Text
    scope: Text
    digest: str | None = None
    bytes: Size | None = None
    new_bytes: Size | None = None
    """The part of `bytes` that was not there before; None if unknown."""

    imported: bool = False
    exported: bool = False
    unsaved: tuple[Digest, ...] | None = None
    """The layers of the build's steps that are not in the cache afterwards; None if unknown."""


class Verdict(_Part):
    """A gate that the build failed."""

    gate: Text
    """The key in `[gate]`."""

    reason: Text
    """The value of the build, and the limit."""

    fails: bool
    """Whether the gate fails the build; if not, it only warns."""

    def __str__(self) -> str:
        return f"gate `{self.gate}` failed: {self.reason}"


class RecordedScope(_Part):
    """The scope of the build."""

    name: Text
    image: Text
    target: Text | None = None
    platforms: tuple[Text, ...] = ()
    branch: Text | None = None


class Record(_Part):
    """The record of a build."""

    version: Literal[1]
    scope: RecordedScope
    started: Moment
    """When the build began."""

    seconds: Seconds
    """How long `docker buildx build` took."""

    exit_status: int = 0
    """Docker's exit status; 0 is success."""

    steps: tuple[RecordedStep, ...] = ()
    """The steps, each after the step that it builds on."""

    stages: tuple[RecordedStage, ...] = ()
    """The stages of the Dockerfile, in order; empty if unknown."""

    images: tuple[RecordedImage, ...] = ()
    arguments: RecordedArguments = RecordedArguments()
    context: Text = ""
    """The build context, from the project's top folder; empty if unknown."""

    file: Text = ""
    """The Dockerfile, from the project's top folder; empty for the one in the context."""

    network: Text = ""
    """The network of its RUN steps, if not the default one."""

    place: RecordedPlace = RecordedPlace()
    tools: RecordedTools = RecordedTools()
    caches: tuple[RecordedCache, ...] = ()
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
        update = {
            "steps": tuple(step.shortened(longest) for step in self.steps),
            "warnings": _shorten_each(self.warnings, longest),
            "build_warnings": _shorten_each(self.build_warnings, longest),
        }
        return self.model_copy(update=update)


def _shorten_each(texts: Iterable[str], longest: int) -> tuple[str, ...]:
    return tuple(shorten(text, longest) for text in texts)[:_MOST_WARNINGS]


def shorten(text: str, longest: int) -> str:
    """Cut a text to a number of characters."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


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
