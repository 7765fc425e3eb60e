"""The options of a build in Python: their types, and from them to the values of a configuration."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Required, TypedDict

from bxcache.buildx.option_text import render_options

Texts = str | Sequence[str]
"""One text, or several."""
Path = str | os.PathLike[str]
Size = int | str
"""Bytes, or a text such as `5GB`."""
Seconds = float | str
"""Seconds, or a text such as `10m`."""


class Secret(TypedDict, total=False):
    """A secret for `RUN --mount=type=secret`, from a file or a variable.

    https://docs.docker.com/reference/cli/docker/buildx/build/#secret
    """

    id: Required[str]
    """The name in the Dockerfile."""

    src: Path
    """The file that contains it."""

    env: str
    """The variable that contains it. Default, without `src`: the one named like `id`."""


class Output(TypedDict, total=False):
    """Where to write the result; other attributes of docker go into a plain `dict`.

    https://docs.docker.com/reference/cli/docker/buildx/build/#output
    """

    type: Required[Literal["local", "tar", "oci", "docker", "image", "registry", "cacheonly"]]
    """What to write."""

    dest: Path
    """The folder or the file to write."""

    name: str
    """The image's name."""

    push: bool
    """Push the image."""

    compression: Literal["uncompressed", "gzip", "estargz", "zstd"]
    """The compression of new layers."""

    compression_level: int
    """0 to 9 for gzip and estargz, 0 to 22 for zstd."""

    force_compression: bool
    """Recompress layers that have another compression."""

    oci_mediatypes: bool
    """Use OCI media types instead of docker's."""

    rewrite_timestamp: bool
    """Set the times of all files to `SOURCE_DATE_EPOCH`."""

    tar: bool
    """Write an archive instead of a folder, for `oci` and `docker`."""


class Gate(TypedDict, total=False):
    """What a build must meet, or it raises a `GateError`: the keys of `[gate]`."""

    min_hit_ratio: float | None
    """The minimum share of reused steps, from 0 to 1."""

    require_cached: Texts
    """Stages whose steps must all be reused."""

    max_growth: Size | None
    """The maximum growth of the cache from one build to the next."""

    max_size: Size | None
    """The maximum size of the cache."""

    max_seconds: Seconds | None
    """The maximum duration of the build."""

    warn: Texts
    """The gates that only warn."""

    first: bool
    """Check a first build too."""


class _Compressed(TypedDict, total=False):
    compression: Literal["uncompressed", "gzip", "estargz", "zstd"] | None
    """The compression of new layers. Default: BuildKit's, which is gzip."""

    compression_level: int | None
    """0 to 9 for gzip and estargz, 0 to 22 for zstd."""

    force_compression: bool
    """Recompress layers that have another compression."""


class LocalBackend(_Compressed, total=False):
    """A store on this machine: the keys of a `local` backend."""

    type: Required[Literal["local"]]
    """The kind of backend."""

    dir: Path | None
    """The store's directory. Default: one for each project in the user's cache folder."""

    max_size: Size
    """The store's maximum size. Default: 20 GB."""

    max_age: Size
    """How long an unused scope is kept: seconds, or a text such as `14d`. Default: 30 days."""


class RegistryBackend(_Compressed, total=False):
    """A repository in a registry, with a tag for each scope: the keys of a `registry` backend."""

    type: Required[Literal["registry"]]
    """The kind of backend."""

    ref: Required[str]
    """The repository, such as `registry.example.com/team/app-cache`."""

    insecure: bool
    """Allow plain HTTP and unverified TLS."""

    timeout: Seconds
    """The time limit for saving. Default: 10 minutes."""

    max_age: Size | None
    """How long `bxcache registry prune` keeps an unused scope. Default: forever."""

    image_manifest: bool
    """Write the cache as an image manifest. Default: True."""

    oci_mediatypes: bool
    """Use OCI media types. Default: True."""

    ignore_error: bool
    """Let docker continue if the cache cannot be written. Default: True."""


class InlineBackend(TypedDict, total=False):
    """The cache inside images: the keys of an `inline` backend."""

    type: Required[Literal["inline"]]
    """The kind of backend."""

    ref: Required[str]
    """The image, or with all stages the repository."""

    stages: Literal["final", "all"]
    """Which stages are kept. Default: the final one."""

    insecure: bool
    """Allow plain HTTP and unverified TLS."""

    timeout: Seconds
    """The time limit for saving all stages. Default: 10 minutes."""

    max_age: Size | None
    """With all stages, how long `registry prune` keeps an unused scope. Default: forever."""


Backend = LocalBackend | RegistryBackend | InlineBackend | Mapping[str, Any] | str


class BakeOptions(TypedDict, total=False):
    """The options of a bake, named like the keys of `[build]` and `[cache]`.

    A value takes precedence over the configuration. Where several are possible, a single one will
    do. Backends, gates, secrets and outputs are dictionaries, such as `Secret(id="token")`, or
    texts as on the command line.
    """

    directory: Path
    """The checkout, instead of the working directory: threads can build in several at once."""

    builder: str
    """The buildx builder."""

    push: bool
    """Push the image."""

    load: bool
    """Load the image into docker."""

    pull: bool
    """Look for newer base images."""

    no_cache: bool
    """Import no cache; the result is still saved."""

    allow: Texts
    """Privileges of the build on its builder, such as `network.host`."""

    debug: bool
    """Let docker print what helps its developers."""

    metadata_file: Path
    """The file that gets docker's metadata of the build."""

    provenance: str
    """The image's provenance, such as `false` or `mode=max`."""

    sbom: str
    """The image's bill of materials, such as `true`."""

    backends: Backend | Sequence[Backend]
    """Where caches are kept, instead of the configured backends."""

    read: Texts
    """Whose caches to import, in order: of `branch`, `base`, `default`."""

    read_all: bool
    """Import every existing cache, not only the first."""

    write: Literal["always", "trusted", "never"]
    """Which builds save their cache."""

    strict: bool
    """Raise a `CacheError`, instead of a warning, if a cache cannot be read or saved."""

    shared_builder: Literal["warn", "refuse", "trust"]
    """How to treat layers that untrusted builds may have left in the builder."""

    salvage: Literal["failed", "always", "never"]
    """After which builds to save the steps that finished."""

    salvage_timeout: float | str
    """How long that may take, in seconds or with a unit, such as `2m`."""

    allow_args: Texts
    """The names of build arguments to allow although they look like secrets."""

    gate: Gate | Mapping[str, Any] | Texts
    """What the build must meet, in addition to the configured gates."""

    branch: str
    """The branch, instead of the one that CI or git reports."""

    git_tag: str
    """The git tag, likewise."""

    base_branch: str
    """The branch that a pull request targets."""

    default_branch: str
    """The repository's default branch."""

    trusted: bool
    """Whether other builds may import the cache."""


class BuildOptions(BakeOptions, total=False):
    """The options of a build: those of `BakeOptions`, and what a bake file says for a bake."""

    file: Path
    """The Dockerfile. Default: `Dockerfile` in the context."""

    target: str
    """The stage to build."""

    platforms: Texts
    """The platforms to build for, such as `linux/amd64`."""

    tags: Texts
    """Names for the image."""

    build_args: Mapping[str, str | None]
    """Build arguments; None takes the value of the variable."""

    build_contexts: Mapping[str, str]
    """Named contexts: a folder or URL for each name."""

    labels: Mapping[str, str]
    """Labels of the image."""

    secrets: Secret | Mapping[str, Any] | str | Sequence[Secret | Mapping[str, Any] | str]
    """Secrets for RUN steps: `Secret(id="token", env="TOKEN")` or `"id=token,env=TOKEN"`."""

    ssh: Texts
    """SSH agents or keys for RUN steps, such as `default`."""

    outputs: Output | Mapping[str, Any] | str | Sequence[Output | Mapping[str, Any] | str]
    """Where to write the result, such as `Output(type="local", dest="out")` or `"out"`."""

    network: str
    """The network of RUN steps: `default`, `none` or `host`."""

    no_cache_filter: Texts
    """Stages whose steps are executed even if a cache has them."""

    add_hosts: Texts
    """Hosts that RUN steps know in addition, such as `db:10.0.0.5`."""

    annotations: Texts
    """Annotations of the image."""

    attest: Texts
    """Attestations of the image, such as `type=sbom`."""

    cgroup_parent: str
    """The control group that contains those of RUN steps."""

    iidfile: Path
    """The file that gets the image's digest."""

    shm_size: str
    """The size of `/dev/shm` in RUN steps, such as `128m`."""

    ulimits: Texts
    """Limits of the processes of RUN steps, such as `nofile=1024:2048`."""


_LISTS = frozenset(
    (
        *("add_hosts", "allow", "annotations", "attest", "no_cache_filter", "outputs", "platforms"),
        *(
            "allow_args",
            "read",
            "secrets",
            "ssh",
            "tags",
            "ulimits",
            "backends",
            "require_cached",
            "warn",
        ),
    )
)
"""The options that are lists; a single value counts as a list of one."""


def read_option(name: str, value: object) -> object:
    """Read the value of an option as that of a configuration.

    >>> read_option("secrets", {"id": "t", "env": "T"}), read_option("tags", "app:1")
    (['id=t,env=T'], ['app:1'])
    >>> read_option("gate", "max_size=2GB"), read_option("backends", "type=local")
    ({'max_size': '2GB'}, [{'type': 'local'}])

    Raises:
        ValueError: a text does not have the form of the option.
    """
    from bxcache.config.environment import parse_backend, parse_gates  # noqa: PLC0415  # loads pydantic

    value = _plain(value)
    if name in _LISTS and isinstance(value, str | dict):
        value = [value]
    if name == "gate" and not isinstance(value, dict):
        texts = [value] if isinstance(value, str) else value
        if isinstance(texts, list) and all(isinstance(each, str) for each in texts):
            return parse_gates(texts)
    if name == "gate" and isinstance(value, dict):
        return {key: read_option(key, each) for key, each in value.items()}
    if name in ("secrets", "outputs") and isinstance(value, list):
        return [_to_text(each) if isinstance(each, dict) else each for each in value]
    if name == "backends" and isinstance(value, list):
        return [parse_backend(each) if isinstance(each, str) else each for each in value]
    return value


def _to_text(attributes: Mapping[str, object]) -> str:
    """Write attributes as docker's option text; docker separates words by dashes."""

    def name(key: str) -> str:
        return key if "." in key else key.replace("_", "-")

    def show(value: object) -> str:
        return str(value).lower() if isinstance(value, bool) else str(value)

    return render_options((name(key), show(value)) for key, value in attributes.items())


def _plain(value: object) -> object:
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_plain(each) for each in value]
    return value
