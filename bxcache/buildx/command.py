"""The arguments of `docker buildx build`."""

from __future__ import annotations

import posixpath
import shlex
from itertools import starmap
from typing import TYPE_CHECKING

from msgspec import Struct, field

from bxcache.buildx.extra_flags import (
    CACHE_FROM,
    CACHE_TO,
    INLINE,
    LAYERLESS,
    adds_inline,
    find_short,
    find_values,
    list_flags,
)
from bxcache.buildx.metadata import PROVENANCE_VARIABLE
from bxcache.buildx.option_text import TRUE, read_options, split_fields
from bxcache.config.paths import is_remote
from bxcache.config.wording import name_option

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from bxcache.config.models import BuildSettings

VARIABLES = {PROVENANCE_VARIABLE: "max"}
"""The environment variable that makes a build's metadata describe every step."""


class Command(Struct, frozen=True):
    """A command line for docker, without `docker`, and the metadata file that it writes.

    Attributes:
        variables: additions to docker's environment.
        targets: a bake's targets; the result describes the last one, with the layers of all.
        own_stage: the stage whose steps it may execute; empty if it may execute none.
    """

    arguments: tuple[str, ...]
    metadata: Path
    variables: Mapping[str, str] = field(default_factory=lambda: VARIABLES)
    targets: tuple[str, ...] = ()
    own_stage: str = ""


class Saving(Struct, frozen=True):
    """A run of docker that saves the cache of a finished build, by default for all platforms.

    Attributes:
        file, target: the Dockerfile and the stage to build; None for those of the build.
    """

    options: tuple[tuple[str, str], ...]
    metadata: Path
    platform: str = ""
    file: Path | None = None
    target: str | None = None


def render_build(
    settings: BuildSettings,
    *,
    cache_options: Iterable[tuple[str, str]],
    metadata_file: str,
    extra: Sequence[str] = (),
) -> tuple[str, ...]:
    """Render the arguments after `docker` for a build; cache options are flags with values."""
    by_itself = INLINE if adds_inline(settings, extra) else None
    caches = (each for each in cache_options if each[1] != by_itself)
    switches = {
        "--push": settings.push,
        "--load": settings.load,
        "--pull": settings.pull,
        "--no-cache": settings.no_cache,
    }
    return (
        *("buildx", "build", "--progress", "rawjson", "--metadata-file", metadata_file),
        *(word for pair in _valued_options(settings) for word in pair),
        *(flag for flag, wanted in switches.items() if wanted),
        *extra,
        # After the caller's own caches: BuildKit does not name stores, only their order identifies
        # them.
        *(word for pair in caches for word in pair),
        settings.context,
    )


def render_question(
    settings: BuildSettings, extra: Sequence[str], progress: str
) -> tuple[str, ...]:
    """Render the arguments after `docker` for a question about a build, such as `--check`."""
    options = (word for pair in _valued_options(settings) for word in pair)
    return ("buildx", "build", "--progress", progress, *options, *extra, settings.context)


def _valued_options(settings: BuildSettings) -> Iterator[tuple[str, str]]:
    single = {
        "--builder": settings.builder,
        "--file": settings.file,
        "--target": settings.target,
        "--network": settings.network,
        "--platform": ",".join(settings.platforms),
    }
    yield from ((flag, value) for flag, value in single.items() if value)
    several: dict[str, Iterable[str]] = {
        "--tag": settings.tags,
        "--build-arg": starmap(render_pair, settings.build_args.items()),
        "--build-context": starmap(render_pair, settings.build_contexts.items()),
        "--label": starmap(render_pair, settings.labels.items()),
        "--secret": settings.secrets,
        "--ssh": settings.ssh,
        "--output": settings.outputs,
    }
    yield from ((flag, value) for flag, values in several.items() for value in values)


def render_pair(name: str, value: str | None) -> str:
    """Render `NAME=value` for docker's flags; `NAME` alone takes the value from the environment."""
    return name if value is None else f"{name}={value}"


_REPEATABLE = frozenset(
    (
        *("--add-host", "--allow", "--build-arg", "--build-context", "--cgroup-parent"),
        *("--label", "--secret", "--shm-size", "--ssh", "--ulimit", "-D", "--debug"),
    )
)
"""Flags of docker that have no other effect if the build runs again to save its cache."""


def explain_once(settings: BuildSettings, extra: Sequence[str]) -> str | None:
    """Explain why a build cannot be run again just to save its cache, if it cannot."""
    if "-" in (settings.context, settings.file):
        return "it reads stdin, which can be read only once"
    if is_remote(settings.context):
        return "its context is remote and may have changed"
    if settings.no_cache:
        return "it is built without a cache"
    flags = list_flags(extra)
    if "--no-cache-filter" in flags:
        return f"`{name_option('no_cache_filter')}` builds stages without a cache"
    unknown = [flag for flag in flags if flag not in _REPEATABLE | LAYERLESS]
    cache = next((flag for flag in unknown if flag in (CACHE_FROM, CACHE_TO)), None)
    if cache:
        return f"docker's own `{cache}` is given in place of a backend"
    return f"`{unknown[0]}` may have side effects" if unknown else None


def reads_context(settings: BuildSettings) -> bool:
    """Whether the build reads its context from stdin, which it can do only once."""
    return settings.context == "-"


def reads_dockerfile(settings: BuildSettings, extra: Sequence[str]) -> bool:
    """Whether the build reads only its Dockerfile, which is small, from stdin."""
    files = (settings.file, *find_values(extra, "--file"), *find_values(extra, "-f"))
    return "-" in files and not reads_context(settings)


def as_repetition(settings: BuildSettings, saving: Saving) -> BuildSettings:
    """Return settings for the same layers without exports."""
    changed: dict[str, object] = {"tags": (), "labels": {}, "push": False, "load": False}
    changed["outputs"] = ("type=cacheonly",)
    if saving.platform:
        changed["platforms"] = (saving.platform,)
    if saving.file is not None:
        changed |= {"file": str(saving.file), "target": saving.target}
    return settings.model_copy(update=changed)


def writes_stdout(settings: BuildSettings) -> bool:
    """Whether the build writes its result to stdout (`--output -`)."""
    return any(map(_is_stdout, settings.outputs))


_PIPED = ("tar", "oci", "docker")
"""The outputs that are archives."""


def _read_output(output: str) -> dict[str, str]:
    """Parse the attributes of an output; a text without attributes is a folder."""
    # https://github.com/docker/buildx/blob/v0.29.1/util/buildflags/export.go
    if split_fields(output) == [output] and not output.startswith("type="):
        return {"type": "tar" if output == "-" else "local", "dest": output}
    return read_options(output)


def find_path(output: str) -> tuple[str | None, bool]:
    """Return an output's path on this machine, if any, and whether it is a folder.

    >>> find_path("out"), find_path("type=oci,dest=a.tar"), find_path("type=oci,tar=0,dest=a")
    (('out', True), ('a.tar', False), ('a', True))
    """
    attributes = _read_output(output)
    path = attributes.get("dest")
    # Anything but an archive may be a folder.
    is_file = attributes.get("type") in _PIPED and "tar" not in attributes
    return (None if path == "-" else path), not is_file


def _is_stdout(output: str) -> bool:
    attributes = _read_output(output)
    default = "none" if attributes.get("type") == "docker" else ""
    return attributes.get("type") in _PIPED and attributes.get("dest", default) in ("", "-")


def list_destinations(output: str) -> Iterator[tuple[str, str]]:
    """List what an output writes and no other build may write, as pairs of kind and name.

    The kind is `path`, `image` (if the output names it) or `stdout`. An output without a
    destination of its own, such as an image named only by tags, has none.

    >>> [*list_destinations("out/"), *list_destinations("type=image,push=true,name=r/app")]
    [('path', 'out'), ('image', 'r/app')]
    """
    attributes = _read_output(output)
    if _is_stdout(output):
        yield "stdout", "-"
    elif path := attributes.get("dest"):
        yield "path", posixpath.normpath(path)
    else:
        yield from (("image", name) for name in attributes.get("name", "").split(",") if name)


def list_pushed(settings: BuildSettings, extra: Sequence[str]) -> tuple[str, ...]:
    """List the names by which a build pushes its image; empty if it pushes none."""
    given = (*settings.outputs, *find_values(extra, "--output"), *find_short(extra, "o"))
    pushing = [each for each in map(_read_output, given) if _is_pushed(each)]
    if not (settings.push or pushing or "--push" in list_flags(extra)):
        return ()
    tags = (*settings.tags, *find_values(extra, "--tag"), *find_short(extra, "t"))
    # Docker gives the tags, if there are any, to each output.
    names = (name for each in pushing for name in each.get("name", "").split(",") if name)
    return tuple(dict.fromkeys(tags or names))


def _is_pushed(output: Mapping[str, str]) -> bool:
    kind, pushes = output.get("type"), output.get("push")
    return (kind == "image" and pushes in TRUE) or (kind == "registry" and pushes in (None, *TRUE))


def exports_image(settings: BuildSettings, driver: str) -> bool:
    """Whether the build makes an image, as far as the settings show."""
    if settings.push or settings.load:
        return True
    if not settings.outputs:
        return driver == "docker"
    kinds = ("type=image", "type=docker", "type=oci", "type=registry", "type=moby")
    return any(kind in output for output in settings.outputs for kind in kinds)


def quote_command(words: Iterable[str]) -> str:
    """Quote a command for a shell, with a line for each option."""
    lines = (("\\\n  " if word.startswith("--") else "") + shlex.quote(word) for word in words)
    return " ".join(lines)
