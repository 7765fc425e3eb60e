"""The models of `bxcache.toml`, which load it and generate the published schema."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from bxcache.config.backends import SETTINGS, BackendSettings, LocalSettings
from bxcache.config.builders import BuilderSettings
from bxcache.config.declaration import Declaration
from bxcache.config.quantities import Duration, Size
from bxcache.config.trust import ARGUMENT, CONTEXT, HARMLESS, NETWORK, PATH, asks

_DEFAULT_STORE = LocalSettings(type="local")
_LIST = Field(strict=False)
TextList = Annotated[tuple[str, ...], _LIST]


def _check_name(name: str) -> str:
    # Docker writes `name=value` and ends the name at the first `=`.
    if not name or "=" in name:
        raise ValueError("a name must not be empty or contain `=`")
    return name


def _check_share(value: float) -> float:
    if not 0 <= value <= 1:
        raise ValueError(f"must be a number from 0 to 1, such as 0.8, not {value:g}")
    return value


def _check_tag(name: str) -> str:
    if "$" in name:
        raise ValueError(f"`{name}` is not an image's name; none has a `$`")
    return name


Name = Annotated[str, AfterValidator(_check_name)]
TagList = Annotated[tuple[Annotated[str, AfterValidator(_check_tag)], ...], _LIST]
TextTable = dict[Name, str]
Share = Annotated[
    float, AfterValidator(_check_share), Field(json_schema_extra={"minimum": 0, "maximum": 1})
]


class BuildSettings(Declaration):
    """Defaults for `bxcache build`, named like docker's flags."""

    misplaced: ClassVar[dict[str, str]] = {
        "dockerfile": "docker calls it `file`",
        "args": "write `build_args`",
        "cache_to": "a cache is declared as a `[[cache.backends]]` table",
        "cache_from": "a cache is declared as a `[[cache.backends]]` table",
        "call": "docker then answers instead of building; give `{call}`",
        "check": "docker then answers instead of building; give `{call}`",
    }

    context: Annotated[str, CONTEXT] = "."
    """The build context: a folder (relative to the config file), a URL, or `-`. Default: the config
    file's folder."""

    file: Annotated[str | None, PATH] = None
    """The Dockerfile, relative to the config file. Default: `Dockerfile` in the context."""

    target: Annotated[str | None, HARMLESS] = None
    """The stage to build."""

    platforms: Annotated[TextList, HARMLESS] = ()
    """The platforms to build for, such as `linux/amd64`. Default: the builder's own."""

    builder: Annotated[str, asks("it chooses the builder")] = ""
    """The buildx builder. Default: the one of `[builder]`, or else the current one."""

    tags: Annotated[TagList, asks("it can replace another build's image")] = ()
    """Names for the image."""

    build_args: Annotated[dict[Name, str | None], ARGUMENT] = Field(default_factory=dict)
    """Build arguments. Values that look like secrets are never shown. In Python, None takes the
    value from the environment."""

    build_contexts: Annotated[TextTable, CONTEXT] = Field(default_factory=dict)
    """Named contexts: a folder or URL for each name."""

    labels: Annotated[TextTable, HARMLESS] = Field(default_factory=dict)
    """Labels of the image."""

    secrets: Annotated[TextList, asks("it reads variables and files of the runner")] = ()
    """Secrets for `RUN --mount=type=secret`, in the syntax of docker's `--secret`."""

    ssh: Annotated[TextList, asks("it uses keys of the runner")] = ()
    """SSH agents or keys for `RUN --mount=type=ssh`, in the syntax of docker's `--ssh`."""

    outputs: Annotated[TextList, asks("it writes files or images")] = ()
    """Where to write the result, in the syntax of docker's `--output`."""

    network: Annotated[str | None, NETWORK] = None
    """The network of RUN steps: `default`, `none` or `host`."""

    push: Annotated[bool, asks("it pushes with the runner's login")] = False
    """Push the image."""

    load: Annotated[bool, HARMLESS] = False
    """Load the image into docker."""

    pull: Annotated[bool, HARMLESS] = False
    """Look for newer base images."""

    no_cache: Annotated[bool, HARMLESS] = False
    """Do not import a cache; execute every step. The result is still saved."""

    no_cache_filter: Annotated[TextList, HARMLESS] = ()
    """Stages whose steps are executed even if a cache has them."""

    add_hosts: Annotated[TextList, asks("BuildKit keeps its address out of the cache key")] = ()
    """Hosts that RUN steps know in addition, such as `db:10.0.0.5`."""

    allow: Annotated[TextList, asks("it gives the build privileges on the builder")] = ()
    """Privileges of the build on its builder, such as `network.host`."""

    annotations: Annotated[TextList, HARMLESS] = ()
    """Annotations of the image, such as `index:org.opencontainers.image.title=App`."""

    attest: Annotated[TextList, HARMLESS] = ()
    """Attestations of the image, in the syntax of docker's `--attest`."""

    cgroup_parent: Annotated[str | None, asks("it names a control group of the runner")] = None
    """The control group that contains those of RUN steps."""

    debug: Annotated[bool, HARMLESS] = False
    """Let docker print what helps its developers."""

    iidfile: Annotated[str | None, asks("it writes a file of the runner")] = None
    """The file that gets the image's digest, relative to the config file."""

    metadata_file: Annotated[str | None, asks("it writes a file of the runner")] = None
    """The file that gets docker's metadata of the build, relative to the config file."""

    provenance: Annotated[str | None, HARMLESS] = None
    """The image's provenance, such as `false` or `mode=max`; short for `type=provenance` in
    `attest`."""

    sbom: Annotated[str | None, HARMLESS] = None
    """The image's bill of materials, such as `true`; short for `type=sbom` in `attest`."""

    shm_size: Annotated[str | None, HARMLESS] = None
    """The size of `/dev/shm` in RUN steps, such as `128m`."""

    ulimits: Annotated[TextList, HARMLESS] = ()
    """Limits of the processes of RUN steps, such as `nofile=1024:2048`."""


class ImageSettings(BuildSettings):
    """One of a repository's images; its values take precedence over `[build]`."""


_WRITES = asks("it saves what a stranger built", "always")
Donor = Literal["branch", "base", "default"]
_SALVAGE = {"true": "failed", "false": "never"}


def _read_salvage(value: object) -> object:
    """Read a switch, as in a variable or in the file, as the choice that it means."""
    return _SALVAGE.get(str(value).lower(), value) if isinstance(value, bool | str) else value


class CacheSettings(Declaration):
    """Where caches are kept, and which builds read and write them."""

    read: Annotated[tuple[Donor, ...], _LIST, HARMLESS] = ("branch", "base", "default")
    """The caches to import from, in order: its own branch's, the pull request's base branch's, the
    repository's default branch's. The first that exists is imported."""

    read_all: Annotated[bool, HARMLESS] = False
    """Import every existing cache, not only the first. BuildKit may then find less."""

    write: Annotated[Literal["always", "trusted", "never"], _WRITES] = "trusted"
    """Which builds save their cache. A pull request from a fork is untrusted, and so is a build of
    unknown origin. They could have changed the file, so for them `always` counts only as a flag or
    variable. They save to the default local store and to backends from a flag or variable, but
    never to a declared tag."""

    strict: Annotated[bool, HARMLESS] = False
    """Fail, instead of warn, if a cache cannot be read or saved. The image is built either way."""

    shared_builder: Annotated[Literal["warn", "refuse", "trust"], HARMLESS] = "warn"
    """How a trusted CI build treats layers from the builder's own cache that no trusted build has
    saved: an untrusted build on the same builder may have created them. `warn` lists their steps,
    `refuse` also does not save them. `trust` is for a builder that only trusted builds use."""

    salvage: Annotated[
        Literal["failed", "always", "never"], BeforeValidator(_read_salvage), HARMLESS
    ] = "failed"
    """After which builds to save the steps that finished, so that the next build starts from them:
    those that `failed`, `always` also those that were stopped, or `never`; `true` and `false` are
    the first and the last."""

    salvage_timeout: Annotated[Duration, HARMLESS] = 60
    """How long saving the finished steps of a failed build may take."""

    allow_args: Annotated[TextList, asks("it lets a secret into a cache that others read")] = ()
    """The names of build arguments to allow although they look like secrets. A build with another
    one that does is refused where it would save where others can read it."""

    backends: Annotated[tuple[BackendSettings, ...], _LIST, HARMLESS] = (_DEFAULT_STORE,)
    """Where caches are kept. A build imports from the first that has one, and saves to all."""


class PlaceSettings(Declaration):
    """Where the build runs, to override what the CI system and git report."""

    branch: Annotated[str | None, asks("it passes for another branch")] = None
    """The branch that is built; for a pull request, its source branch."""

    tag: Annotated[str | None, asks("it passes for another tag")] = None
    """The git tag that is built; it has its own cache."""

    base: Annotated[str | None, HARMLESS] = None
    """The base branch of a pull request."""

    default: Annotated[str | None, HARMLESS] = None
    """The repository's default branch."""

    trusted: Annotated[bool | None, asks("it passes for a trusted build")] = None
    """Whether the build may save a cache that others import. In an otherwise untrusted build, this,
    `branch` and `tag` count only as a flag or variable."""


GateName = Literal["min_hit_ratio", "require_cached", "max_growth", "max_size", "max_seconds"]


class GateSettings(Declaration):
    """Conditions that a build must meet. One that does not fails with its own exit status, after
    its image is built and its caches are saved."""

    min_hit_ratio: Annotated[Share | None, HARMLESS] = None
    """The minimum share of reused steps, from 0 to 1."""

    require_cached: Annotated[TextList, HARMLESS] = ()
    """Stages whose steps must all be reused."""

    max_growth: Annotated[Size | None, HARMLESS] = None
    """The maximum growth of the cache from one build to the next, such as `200MB`."""

    max_size: Annotated[Size | None, HARMLESS] = None
    """The maximum size of the cache, such as `2GB`."""

    max_seconds: Annotated[Duration | None, HARMLESS] = None
    """The maximum duration of the build, such as `90s` or `10m`."""

    warn: Annotated[tuple[GateName, ...], _LIST, HARMLESS] = ()
    """Gates that only warn when they fail."""

    first: Annotated[bool, HARMLESS] = False
    """Check a first build, too: one that imports no cache, of a scope without a known successful
    build."""

    @property
    def is_set(self) -> bool:
        """Whether any gate is set."""
        bounds = (self.min_hit_ratio, self.max_growth, self.max_size, self.max_seconds)
        return bool(self.require_cached) or any(each is not None for each in bounds)


class Config(Declaration):
    """The whole file."""

    build: BuildSettings = BuildSettings()
    builder: BuilderSettings = BuilderSettings()
    cache: CacheSettings = CacheSettings()
    place: PlaceSettings = PlaceSettings()
    images: dict[str, ImageSettings] = Field(default_factory=dict)
    """The repository's images, by name: `bxcache build --image NAME`."""
    gate: GateSettings = GateSettings()


SECTIONS: dict[str, type[Declaration]] = {
    "build": BuildSettings,
    "builder": BuilderSettings,
    "cache": CacheSettings,
    "place": PlaceSettings,
    "gate": GateSettings,
}
"""The model of each table, except `[images]`."""


def add_settings(kind: str, model: type[Declaration]) -> None:
    """Let configurations declare a backend of one more type."""
    SETTINGS[kind] = model
    for each in (CacheSettings, Config):
        each.model_rebuild(force=True)
