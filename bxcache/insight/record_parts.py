"""The parts of a build's record. Sizes are bytes, times seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from bxcache.buildx.stream.events import Outcome
from bxcache.config.quantities import WrittenSeconds as Seconds
from bxcache.config.quantities import WrittenSize as Size
from bxcache.insight.document import Digest, Document, Part, Text, shorten
from bxcache.insight.record_inputs import RecordedInputs
from bxcache.place.origin import keep_commit, keep_link

if TYPE_CHECKING:
    from collections.abc import Mapping

# A record may come from anywhere, and a report shows these without doubt.
Commit = Annotated[Text, AfterValidator(keep_commit)]
Link = Annotated[Text, AfterValidator(keep_link)]


class RecordedLayer(Part):
    """A blob that a step made."""

    digest: Digest
    """The digest of the blob, by which stores and registries name it."""

    size: Size
    """The size of the blob as stored, usually compressed; 0 if unknown."""


class StepFields(Document):
    """What a record and a report contain about a step, or about a base image."""

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
    """When the step began, in seconds since the build began; None if unknown."""

    ran: Seconds | None = None
    """How long a reused step ran when it was last executed; None if unknown."""

    critical: bool = False
    """Whether the build ended later because of this step: it is on the critical path."""

    gain: Seconds = 0.0
    """How much shorter the steps of the build would have been if this one had taken no time."""

    layers: tuple[RecordedLayer, ...] = ()
    """The layers of the step; for a base image all of them, from the bottom. Empty if unknown."""

    error: Text = ""
    """Why the step failed, with secrets masked; empty if it did not."""

    log_bytes: Size = 0
    """How many bytes the step printed."""

    log: Text = ""
    """The end of the step's output, with secrets masked."""


class RecordedStep(StepFields):
    """A step with the details that only the record keeps."""

    model_config = ConfigDict(extra="allow", frozen=True)

    alternatives: tuple[tuple[RecordedLayer, ...], ...] = ()
    """The same layers in other forms, such as another compression."""

    parent: int | None = None
    """The position of the step below; None if there is none or it is unknown."""

    inputs: RecordedInputs | None = None
    """What decides whether the step is reused; None if unknown."""

    from_builder: bool = False
    """Whether it was reused from the builder's own cache: no imported cache has its layers."""

    @model_validator(mode="before")
    @classmethod
    def _read_early(cls, values: Any) -> Any:  # noqa: ANN401  # whatever the document contains
        """Read an early record, in which `ran` has the name `saved`."""
        if isinstance(values, dict) and "saved" in values:
            values = {"ran": values["saved"], **values}
            del values["saved"]
        return values

    @property
    def forms(self) -> tuple[tuple[RecordedLayer, ...], ...]:
        """Its layers, and then the alternatives."""
        return self.layers, *self.alternatives

    def shortened(self, longest: int) -> RecordedStep:
        """The step with texts of at most so many characters, and with little else."""
        update = {
            "text": shorten(self.text, longest),
            "error": shorten(self.error, longest),
            "log": self.log[-longest:] if self.outcome is Outcome.FAILED else "",
            "alternatives": (),
            "inputs": None,
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
        return list_different(self.values, later.values)


def list_different(
    one: Mapping[str, str | None], other: Mapping[str, str | None]
) -> tuple[str, ...]:
    """The names whose values differ, or that only one side has; those of the first come first."""
    different = {name for name, _ in one.items() ^ other.items()}
    return tuple(name for name in {**one, **other} if name in different)


class RecordedPlace(Part):
    """Where the build ran, as in `bxcache config show`, and what it built."""

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

    project: Text = ""
    """The repository as the CI system names it, such as `team/app`; in a checkout elsewhere the
    host and path of the remote `origin`. Empty if unknown."""

    commit: Commit = ""
    """The full hash of the commit that was checked out; empty if unknown."""

    job_url: Link = ""
    """The page of the CI job; empty if unknown. It is http or https, without a user."""


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

    salvaged: int = 0
    """How many steps of a failed build were saved, which it had executed."""

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


class RecordedPhase(Part):
    """A phase of the build. Of several at one moment, the one that the build waits for counts."""

    name: Text
    """`steps`, `fetch`, `save`, or another one of the documented names."""

    seconds: Seconds
    """The phase's share of the build's time."""

    bytes: Size = 0
    """How many bytes it moved; 0 if unknown or none."""

    spans: tuple[tuple[Seconds, Seconds], ...] = ()
    """When it went on, also beside other phases: beginnings, since the build began, and ends."""
