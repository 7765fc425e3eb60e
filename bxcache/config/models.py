"""The shape of `bxcache.toml`: these classes load it, and the published schema comes from them."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from bxcache.config.backends import SETTINGS, BackendSettings, Declaration, LocalSettings
from bxcache.config.quantities import Duration, Size
from bxcache.config.trust import ARGUMENT, CONTEXT, HARMLESS, NETWORK, PATH, asks

TextList = Annotated[tuple[str, ...], Field(strict=False)]


def _check_name(name: str) -> str:
    # Docker has a name and its value in one word, and ends the name at the first `=`.
    if not name or "=" in name:
        raise ValueError("a name has no `=` and is not empty")
    return name


Name = Annotated[str, AfterValidator(_check_name)]
TextTable = dict[Name, str]
Share = Annotated[float, Field(ge=0, le=1)]


class BuildSettings(Declaration):
    """Defaults for `bxcache build`, by the names of docker's own flags."""

    misplaced: ClassVar[dict[str, str]] = {
        "dockerfile": "docker's flag is `--file`; write `file`",
        "args": "write `build_args`",
        "cache_to": "a cache is declared as a `[[cache.backends]]` table",
        "cache_from": "a cache is declared as a `[[cache.backends]]` table",
    }

    context: Annotated[str, CONTEXT] = "."
    """The build context: a folder, a URL, or `-`. Relative to the config file. Default: the config
    file's folder."""

    file: Annotated[str | None, PATH] = None
    """The Dockerfile, relative to the config file. Default: `Dockerfile` in the context."""

    target: Annotated[str | None, HARMLESS] = None
    """The stage to build."""

    platforms: Annotated[TextList, HARMLESS] = ()
    """The platforms to build for, such as `linux/amd64`. Default: the builder's own."""

    builder: Annotated[str, asks("it chooses whose builder is used")] = ""
    """The buildx builder. Default: the current one."""

    tags: Annotated[TextList, asks("it can name another build's image")] = ()
    """Names for the image."""

    build_args: Annotated[dict[Name, str | None], ARGUMENT] = Field(default_factory=dict)
    """Build arguments. A value that looks like a secret is never shown. From Python, None takes
    the value from the environment."""

    build_contexts: Annotated[TextTable, CONTEXT] = Field(default_factory=dict)
    """Named contexts: a folder or a URL for each name."""

    labels: Annotated[TextTable, HARMLESS] = Field(default_factory=dict)
    """Labels of the image."""

    secrets: Annotated[TextList, asks("it reads variables and files of the runner")] = ()
    """Secrets for `RUN --mount=type=secret`, as in docker's `--secret`."""

    ssh: Annotated[TextList, asks("it uses keys of the runner")] = ()
    """SSH agents or keys for `RUN --mount=type=ssh`, as in docker's `--ssh`."""

    outputs: Annotated[TextList, asks("it writes files or images")] = ()
    """Where the result goes, as in docker's `--output`."""

    network: Annotated[str | None, NETWORK] = None
    """The network of RUN steps: `default`, `none` or `host`."""

    push: Annotated[bool, asks("it pushes with the runner's login")] = False
    """Push the image."""

    load: Annotated[bool, HARMLESS] = False
    """Load the image into docker."""

    pull: Annotated[bool, HARMLESS] = False
    """Look for newer base images."""

    no_cache: Annotated[bool, HARMLESS] = False
    """Import no cache and execute every step. What is built is still saved."""


class ImageSettings(BuildSettings):
    """One of several images of a repository: what it sets goes before `[build]`."""


Donor = Literal["branch", "base", "default"]


class CacheSettings(Declaration):
    """Which caches are read and written."""

    read: Annotated[tuple[Donor, ...], Field(strict=False), HARMLESS] = (
        "branch",
        "base",
        "default",
    )
    """Whose cache a build may start from, in this order: that of its own branch, of the branch
    that a pull request goes to, of the repository's default branch. The first that exists is
    taken."""

    read_all: Annotated[bool, HARMLESS] = False
    """Start from all that exist instead of the first. BuildKit then finds less at times."""

    write: Annotated[
        Literal["always", "trusted", "never"],
        asks("it saves what a stranger built", "always"),
    ] = "trusted"
    """Which builds save their cache. A pull request from a fork is not trusted, nor a build where
    that cannot be told. `always` counts for those only as a flag or a variable: they could have
    changed the file. They save to the default local store, and to what a flag or a variable
    declares, never to a tag that is declared."""

    strict: Annotated[bool, HARMLESS] = False
    """Fail when a cache cannot be read or saved. Otherwise that is a warning. The image is built
    either way."""

    shared_builder: Annotated[Literal["warn", "refuse", "trust"], HARMLESS] = "warn"
    """What a trusted build on a CI system does about layers that it took from the builder's own
    cache, and that no trusted build has saved: an untrusted build on the same builder can have
    made them. `warn` names their steps, `refuse` does not save them either. `trust` is for a
    builder that only trusted builds use."""

    backends: Annotated[tuple[BackendSettings, ...], Field(strict=False), HARMLESS] = (
        LocalSettings(type="local"),
    )
    """Where caches are kept. A build reads from the first that has one and saves to all."""


class PlaceSettings(Declaration):
    """Where the build runs, where that is not what the CI system or git says."""

    branch: Annotated[str | None, asks("it passes for another branch")] = None
    """The branch that is built; of a pull request the one that it comes from."""

    tag: Annotated[str | None, asks("it passes for another tag")] = None
    """The git tag that is built, which then has a cache of its own."""

    base: Annotated[str | None, HARMLESS] = None
    """The branch that a pull request goes to."""

    default: Annotated[str | None, HARMLESS] = None
    """The repository's default branch."""

    trusted: Annotated[bool | None, asks("it passes for a trusted build")] = None
    """Whether the build may save a cache that others start from. In a build that is not trusted
    by itself this counts only as a flag or a variable, and so do `branch` and `tag`."""


GateName = Literal["min_hit_ratio", "require_cached", "max_growth", "max_size", "max_seconds"]


class GateSettings(Declaration):
    """What a build must reach to pass. One that does not fails with a status of its own, after its
    image is built and its caches are saved."""

    min_hit_ratio: Annotated[Share | None, HARMLESS] = None
    """The least share of steps that must be reused, from 0 to 1."""

    require_cached: Annotated[TextList, HARMLESS] = ()
    """Stages of which every step must be reused."""

    max_growth: Annotated[Size | None, HARMLESS] = None
    """How much the cache may grow from one build to the next, such as `200MB`."""

    max_size: Annotated[Size | None, HARMLESS] = None
    """How large the cache may be, such as `2GB`."""

    max_seconds: Annotated[Duration | None, HARMLESS] = None
    """How long the build may take, such as `90s` or `10m`."""

    warn: Annotated[tuple[GateName, ...], Field(strict=False), HARMLESS] = ()
    """Gates that are only told when they are not passed."""

    first: Annotated[bool, HARMLESS] = False
    """Judge a first build too: one that starts from no cache, of a scope of which no build that
    succeeded is known."""

    @property
    def is_set(self) -> bool:
        """Something is wanted."""
        bounds = (self.min_hit_ratio, self.max_growth, self.max_size, self.max_seconds)
        return bool(self.require_cached) or any(each is not None for each in bounds)


class Config(Declaration):
    """The whole file."""

    build: BuildSettings = BuildSettings()
    cache: CacheSettings = CacheSettings()
    place: PlaceSettings = PlaceSettings()
    images: dict[str, ImageSettings] = Field(default_factory=dict)
    """Several images in one repository, by name: `bxcache build --image NAME`."""
    gate: GateSettings = GateSettings()


def add_settings(kind: str, model: type[Declaration]) -> None:
    """Let configurations declare a backend of one more type."""
    SETTINGS[kind] = model
    for each in (CacheSettings, Config):
        each.model_rebuild(force=True)
