"""The definition by which `docker buildx bake` pushes stages as images, several of them at once.

Builds side by side would each send the context. The targets of one bake send it once if they read
the same files of it.
https://docs.docker.com/build/bake/reference/
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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
"""What the run needs in its environment. The build that is repeated was allowed to read what it
names; bake must not ask again."""

OLDEST_BAKE = (0, 17)
"""The first buildx whose bake takes a network and entitlements from a file."""
_DROPPED = LAYERLESS | {"--label", "-D", "--debug"}
_LISTS = {
    "--secret": "secret",
    "--ssh": "ssh",
    "--ulimit": "ulimits",
    "--allow": "entitlements",
}
_PAIRS = {"--build-arg": "args", "--build-context": "contexts", "--add-host": "extra-hosts"}
_SINGLE = {"--shm-size": "shm-size"}
_NO_ATTESTATIONS = [f"type={kind},disabled=true" for kind in ("provenance", "sbom")]


@dataclass(frozen=True, slots=True)
class StageExport:
    """A stage that is to be pushed as an image.

    Attributes:
        ref: the image.
        target: the stage as `--target` has it; None is the last one.
        file: the Dockerfile.
    """

    ref: str
    target: str | None
    file: Path


@dataclass(frozen=True, slots=True)
class Repetition:
    """What all stages have in common.

    Attributes:
        settings: the build whose stages they are.
        context: the build context.
        cache_from: what they are built from, as `--cache-from` has it.
        insecure: whether their registry may be.
        extra: arguments of the caller's own, which bake has words for.
        environment: has the build arguments that are given without a value.
    """

    settings: BuildSettings
    context: Path
    cache_from: tuple[str, ...]
    insecure: bool
    extra: tuple[str, ...]
    environment: Mapping[str, str]


def explain_unbaked(settings: BuildSettings, extra: Sequence[str]) -> str:
    """Why bake cannot do what a build does, or an empty string."""
    if settings.file and is_remote(settings.file):
        return "its Dockerfile is remote"
    # What another target of a bake builds is not there when this one's stages are baked.
    if any((where or "").startswith("target:") for where in settings.build_contexts.values()):
        return "it is made from another target"
    known = _DROPPED | _LISTS.keys() | _PAIRS.keys() | _SINGLE.keys()
    unknown = [flag for flag in list_flags(extra) if flag not in known]
    return f"bake has no word for `{unknown[0]}`" if unknown else ""


def needs_new_bake(settings: BuildSettings, extra: Sequence[str]) -> bool:
    """Whether only newer versions of bake do what the build does; older ones leave it out."""
    return bool(settings.network) or "--allow" in list_flags(extra)


def render_stages(repetition: Repetition, exports: Iterable[StageExport]) -> dict[str, Any]:
    """The bake file that pushes stages, as a document; a target for each of them."""
    common = _render_common(repetition)
    # The classic image store keeps it nevertheless.
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
    """The images that a bake file pushes."""
    return [ref for target in document["target"].values() for ref in target["tags"]]


def write_bake(document: Mapping[str, Any]) -> str:
    """The text of a bake file."""
    return json.dumps(document, indent=1)


def render_bake(
    settings: BuildSettings, metadata: Path, targets: Iterable[str], extra: Sequence[str] = ()
) -> tuple[str, ...]:
    """What follows `docker` to push the stages of a bake file that it reads from stdin."""
    allowed = find_values(extra, "--allow")
    return (
        "buildx",
        "bake",
        "--progress",
        "rawjson",
        "--metadata-file",
        str(metadata),
        *(("--builder", settings.builder) if settings.builder else ()),
        *(word for value in allowed for word in ("--allow", value)),
        "--file",
        "-",
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
            # A host's address may stand behind either.
            either = flag == "--add-host" and "=" not in value
            name, equals, rest = value.partition(":" if either else "=")
            common.setdefault(_PAIRS[flag], {})[name] = rest if equals else None
        elif flag in _SINGLE:
            common[_SINGLE[flag]] = value
    # Without a value docker takes it from the environment, bake does not.
    asked = {
        k: repetition.environment.get(k) if v is None else v for k, v in common["args"].items()
    }
    # It would be a second inline cache.
    asked.pop(INLINE_ARGUMENT, None)
    common["args"] = {name: value for name, value in asked.items() if value is not None}
    return {name: value for name, value in common.items() if value}


def _escape(value: Any) -> Any:  # noqa: ANN401  # any part of a document
    """The same for bake, to which `${` and `%{` begin an expression, in JSON too."""
    if isinstance(value, str):
        return value.replace("${", "$${").replace("%{", "%%{")
    if isinstance(value, list):
        return [_escape(each) for each in value]
    if isinstance(value, dict):
        return {_escape(name): _escape(each) for name, each in value.items()}
    return value
