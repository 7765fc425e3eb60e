"""The cache backends that a repository can declare, as a union on `type`.

The attributes are BuildKit's, except those that bxcache sets itself: `mode` is always `max`, and
`tag`, `src` and `dest` of a local cache belong to the store.
https://github.com/moby/buildkit#export-cache
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import (
    AfterValidator,
    GetCoreSchemaHandler,
    ValidationInfo,
    field_validator,
)
from pydantic_core import CoreSchema, core_schema

from bxcache.config.declaration import Declaration
from bxcache.config.quantities import Age, Duration, Size
from bxcache.config.reference import Reference
from bxcache.config.services import ALWAYS_MAX, AzblobSettings, GhaSettings, S3Settings
from bxcache.config.trust import HARMLESS, PATH, asks

if TYPE_CHECKING:
    from collections.abc import Iterator

Compression = Literal["uncompressed", "gzip", "estargz", "zstd"]

# https://github.com/moby/buildkit/blob/v0.25.2/util/compression/attrs.go
_LEVELS = {"uncompressed": range(1), "gzip": range(10), "estargz": range(10), "zstd": range(23)}


Ref = Annotated[str, AfterValidator(lambda text: str(Reference.parse(text)))]


DROPS = "it can drop what trusted builds saved"
"""Why a bound asks, which has no effect in a build that saves nothing."""
_BOUNDS = asks(DROPS)
_INSECURE = asks("it sends docker's login in clear")


class CompressedSettings(Declaration):
    """The common settings of `local` and `registry`."""

    compression: Annotated[Compression | None, HARMLESS] = None
    """The compression of new layers. BuildKit's default is gzip."""

    compression_level: Annotated[int | None, HARMLESS] = None
    """0 to 9 for gzip and estargz, 0 to 22 for zstd."""

    force_compression: Annotated[bool, HARMLESS] = False
    """Recompress layers that have another compression. Slow, but the cache is uniform."""

    @field_validator("compression_level", mode="after")
    @classmethod
    def _level_fits(cls, level: int | None, info: ValidationInfo) -> int | None:
        kind = info.data.get("compression") or "gzip"
        if level is not None and level not in _LEVELS[kind]:
            raise ValueError(f"{kind} takes a level from 0 to {_LEVELS[kind][-1]}")
        return level

    @property
    def keeps_all(self) -> bool:
        """Every stage is kept, and each scope has its own name."""
        return True

    def list_compression(self) -> Iterator[tuple[str, str]]:
        """List the attributes of an export that choose its compression."""
        if self.compression is not None:
            yield "compression", self.compression
        if self.compression_level is not None:
            yield "compression-level", str(self.compression_level)
        if self.force_compression:
            yield "force-compression", "true"


class LocalSettings(CompressedSettings):
    """A store on this machine: a directory with a scope for each image, target and platform."""

    misplaced: ClassVar[dict[str, str]] = {
        "mode": ALWAYS_MAX,
        "reset": "bxcache removes what no scope needs by itself; remove this key",
        "tag": "bxcache names the scopes of a store itself; remove this key",
        "src": "the store's directory is `dir`, for reading and writing",
        "dest": "the store's directory is `dir`, for reading and writing",
        "ref": "a local store has a `dir`; `ref` belongs to `registry` and `inline`",
    }

    type: Annotated[Literal["local"], HARMLESS]

    dir: Annotated[str | None, PATH] = None
    """The store's directory, relative to the file that declares it. Default: a directory for each
    project in the user's cache folder."""

    max_size: Annotated[Size, _BOUNDS] = 20_000_000_000
    """The store's maximum size, such as `5GB`. Beyond it, the layers that save the least work for
    their size are evicted first. Default: 20 GB."""

    max_age: Annotated[Age, _BOUNDS] = 2_592_000
    """How long an unused scope is kept, such as `14d`. Default: 30 days."""


class RegistrySettings(CompressedSettings):
    """A repository in a container registry, with one tag for each scope."""

    misplaced: ClassVar[dict[str, str]] = {
        "mode": ALWAYS_MAX,
        "dir": "a registry cache has a `ref`; `dir` belongs to `local`",
        "registry.insecure": "write it as `insecure`",
    }

    type: Annotated[Literal["registry"], HARMLESS]

    ref: Annotated[Ref, HARMLESS]
    """The repository, such as `registry.example.com/team/app-cache`. With a tag, all builds share
    that tag; without one, each scope has its own."""

    insecure: Annotated[bool, _INSECURE] = False
    """Allow plain HTTP and unverified TLS to this registry."""

    timeout: Annotated[Duration, HARMLESS] = 600
    """The time limit for saving, such as `20m`. Default: 10 minutes."""

    max_age: Annotated[Age | None, _BOUNDS] = None
    """How long `bxcache registry prune` keeps an unused scope, such as `30d`. Default: forever."""

    image_manifest: Annotated[bool, HARMLESS] = True
    """Write the cache as an image manifest, which every registry accepts."""

    oci_mediatypes: Annotated[bool, HARMLESS] = True
    """Use OCI media types instead of docker's."""

    ignore_error: Annotated[bool, HARMLESS] = True
    """Let docker continue if the cache cannot be written. With `cache.strict`, bxcache then fails
    after the image is built."""

    @field_validator("oci_mediatypes", mode="after")
    @classmethod
    def _manifest_fits(cls, oci: bool, info: ValidationInfo) -> bool:  # noqa: FBT001  # pydantic's
        if not oci and info.data.get("image_manifest"):
            raise ValueError(
                "an image manifest needs OCI media types; set `image_manifest = false`"
            )
        return oci


class InlineSettings(Declaration):
    """The cache inside images: the final stage's chain in the image itself, or every stage."""

    misplaced: ClassVar[dict[str, str]] = {
        "mode": "BuildKit ignores `mode` for an inline cache, which has the final stage's chain "
        'only; set `stages = "all"` to keep every stage',
        "dir": "an inline cache is in the image at `ref`; `dir` belongs to `local`",
        "compression": "an inline cache has the image's own layers; set it on the image's output",
    }

    type: Annotated[Literal["inline"], HARMLESS]

    ref: Annotated[Ref, HARMLESS]
    """The image to import from, usually a tag that this build pushes. With `stages = "all"`, the
    repository, without a tag."""

    stages: Annotated[Literal["final", "all"], HARMLESS] = "final"
    """`all` pushes every stage as an image `SCOPE.STAGE`, and one image `SCOPE` to import all of
    them from. The engine and the registry need to support only images."""

    insecure: Annotated[bool, _INSECURE] = False
    """Allow plain HTTP and unverified TLS to this registry."""

    timeout: Annotated[Duration, HARMLESS] = 600
    """The time limit for saving all stages. Default: 10 minutes."""

    max_age: Annotated[Age | None, _BOUNDS] = None
    """With `stages = "all"`, how long `bxcache registry prune` keeps an unused scope, such as
    `30d`. Default: forever."""

    @field_validator("stages", mode="after")
    @classmethod
    def _ref_fits(cls, stages: str, info: ValidationInfo) -> str:
        ref = info.data.get("ref")
        if stages == "all" and ref is not None and Reference.parse(ref).tag:
            raise ValueError(
                f"bxcache names the tags of all stages itself; remove the tag from `{ref}`"
            )
        return stages

    @property
    def keeps_all(self) -> bool:
        """Every stage is kept, and each scope has tags; otherwise only the image's chain."""
        return self.stages == "all"


SETTINGS: dict[str, type[Declaration]] = {
    "local": LocalSettings,
    "registry": RegistrySettings,
    "inline": InlineSettings,
    "gha": GhaSettings,
    "s3": S3Settings,
    "azblob": AzblobSettings,
}
"""What each backend declares, by its type; `backends.declared` has the backends themselves."""


class _ByType:
    """One of `SETTINGS`, by its `type`."""

    def __get_pydantic_core_schema__(
        self, _source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        choices = {kind: handler(model) for kind, model in SETTINGS.items()}
        return core_schema.tagged_union_schema(choices, discriminator="type")


BackendSettings = Annotated[
    LocalSettings | RegistrySettings | InlineSettings | GhaSettings | S3Settings | AzblobSettings,
    _ByType(),
]
