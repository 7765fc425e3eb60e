"""The definition for `docker buildx bake` to push several stages as images at once.

Parallel builds would each send the context. The targets of one bake send it once if they read the
same files.
https://docs.docker.com/build/bake/reference/
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

from bxcache.buildx.extra_flags import (
    INLINE,
    INLINE_ARGUMENT,
    LAYERLESS,
    find_values,
    list_flags,
    split_flags,
)
from bxcache.buildx.metadata import PROVENANCE_VARIABLE
from bxcache.buildx.option_text import render_options
from bxcache.config.paths import is_remote

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from bxcache.config.models import BuildSettings

VARIABLES = {PROVENANCE_VARIABLE: "max", "BUILDX_BAKE_ENTITLEMENTS_FS": "0"}
"""Variables of the run. The original build was allowed to read its files; bake must not ask."""

OLDEST_BAKE = (0, 17)
"""The first buildx whose bake reads a network and entitlements from a file."""
_DROPPED = LAYERLESS | {"--label", "-D", "--debug"}
_LISTS = {"--secret": "secret", "--ssh": "ssh", "--ulimit": "ulimits", "--allow": "entitlements"}
_PAIRS = {"--build-arg": "args", "--build-context": "contexts", "--add-host": "extra-hosts"}
_SINGLE = {"--shm-size": "shm-size"}
_NO_ATTESTATIONS = [f"type={kind},disabled=true" for kind in ("provenance", "sbom")]


class StageExport(Struct, frozen=True):
    """A stage to push as an image; without a target, the last one."""

    ref: str
    target: str | None
    file: Path


class Repetition(Struct, frozen=True):
    """The settings of all stages; build arguments without a value take it from the environment."""

    settings: BuildSettings
    context: Path
    cache_from: tuple[str, ...]
    insecure: bool
    extra: tuple[str, ...]
    environment: Mapping[str, str]


def explain_unbaked(settings: BuildSettings, extra: Sequence[str]) -> str | None:
    """Explain why bake cannot do what a build does, if it cannot."""
    if settings.file and is_remote(settings.file):
        return "its Dockerfile is remote"
    # The result of another target of a bake does not exist when these stages are baked.
    if any((where or "").startswith("target:") for where in settings.build_contexts.values()):
        return "it uses another target's result"
    known = _DROPPED | _LISTS.keys() | _PAIRS.keys() | _SINGLE.keys()
    unknown = [flag for flag in list_flags(extra) if flag not in known]
    return f"bake does not support `{unknown[0]}`" if unknown else None


def needs_new_bake(settings: BuildSettings, extra: Sequence[str]) -> bool:
    """Whether older versions of bake ignore parts of a bake file that has all of the build."""
    return bool(settings.network) or needs_allowance(extra)


def needs_allowance(extra: Sequence[str]) -> bool:
    """Whether the build has entitlements, which older versions of bake cannot grant."""
    return "--allow" in list_flags(extra)


def render_network(network: str, count: int) -> dict[str, Any]:
    """Render a Compose file with the network of so many stages, which old versions of bake read."""
    build = {"context": ".", "network": network.replace("$", "$$")}
    return {"services": {f"stage-{number}": {"build": build} for number in range(count)}}


def render_stages(repetition: Repetition, exports: Iterable[StageExport]) -> dict[str, Any]:
    """Render the bake file that pushes stages as a document, with a target for each."""
    common = _render_common(repetition)
    # The classic image store keeps it anyway.
    push = {"type": "image", "push": "true", "store": "false"}
    push |= {"registry.insecure": "true"} if repetition.insecure else {}
    targets = {}
    for number, each in enumerate(exports):
        own = {
            "dockerfile": str(each.file),
            "tags": [each.ref],
            "output": [render_options(tuple(push.items()))],
            **({"target": each.target} if each.target else {}),
        }
        targets[f"stage-{number}"] = _escape({**common, **own})
    return {"target": targets}


def list_refs(document: Mapping[str, Any]) -> list[str]:
    """List the images that a bake file pushes."""
    return [ref for target in document["target"].values() for ref in target["tags"]]


def render_stage_push(
    settings: BuildSettings,
    metadata: Path,
    targets: Iterable[str],
    extra: Sequence[str] = (),
    files: Iterable[Path] = (),
) -> tuple[str, ...]:
    """Render the arguments after `docker` to push the stages of a bake file from stdin.

    It overrides what other `files` say.
    """
    allowed = find_values(extra, "--allow")
    return (
        *("buildx", "bake", "--progress", "rawjson", "--metadata-file", str(metadata)),
        *(("--builder", settings.builder) if settings.builder else ()),
        *(word for value in allowed for word in ("--allow", value)),
        *(word for file in files for word in ("--file", str(file))),
        *("--file", "-"),
        *targets,
    )


def _render_common(repetition: Repetition) -> dict[str, Any]:
    settings = repetition.settings
    common: dict[str, Any] = {
        "context": str(repetition.context),
        "cache-from": list(repetition.cache_from),
        "cache-to": [INLINE],
        "attest": _NO_ATTESTATIONS,
        "args": dict(settings.build_args),
        "contexts": dict(settings.build_contexts),
        "secret": list(settings.secrets),
        "ssh": list(settings.ssh),
        "platforms": list(settings.platforms),
        "network": settings.network,
        "pull": settings.pull or None,
    }
    for _, flag, value in split_flags(repetition.extra):
        if flag in _LISTS:
            common.setdefault(_LISTS[flag], []).append(value)
        elif flag in _PAIRS:
            # A host's address may follow either.
            either = flag == "--add-host" and "=" not in value
            name, equals, rest = value.partition(":" if either else "=")
            common.setdefault(_PAIRS[flag], {})[name] = rest if equals else None
        elif flag in _SINGLE:
            common[_SINGLE[flag]] = value
    # Docker reads an argument without a value from the environment, but bake does not.
    inherited = {k: repetition.environment.get(k) for k, v in common["args"].items() if v is None}
    common["args"] = {
        name: value
        for name, value in (common["args"] | inherited).items()
        # A second inline cache is refused.
        if value is not None and name != INLINE_ARGUMENT
    }
    return {name: value for name, value in common.items() if value}


def _escape(value: Any) -> Any:  # noqa: ANN401  # any part of a document
    """Escape `${` and `%{`, which begin an expression in a bake file, even in JSON."""
    if isinstance(value, str):
        return value.replace("${", "$${").replace("%{", "%%{")
    if isinstance(value, list):
        return [_escape(each) for each in value]
    if isinstance(value, dict):
        return {_escape(name): _escape(each) for name, each in value.items()}
    return value
