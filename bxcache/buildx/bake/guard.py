"""A bake definition without the keys that its files may not set in an untrusted build.

As with the entitlements of plain bake, files ask and callers allow. The keys are those of
`docker buildx bake --print`: https://docs.docker.com/build/bake/reference/
"""

from __future__ import annotations

import os.path
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bxcache.buildx.bake.entitlements import READ, list_granted
from bxcache.config.paths import is_remote
from bxcache.config.trust import ARGUMENT, CONTEXT, HARMLESS, NETWORK, PATH, asks

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bxcache.buildx.bake.entitlements import Allowed
    from bxcache.config.trust import Checkout, Rule

KEYS: dict[str, Rule] = {
    "context": CONTEXT,
    "contexts": CONTEXT,
    "dockerfile": PATH,
    "dockerfile-inline": HARMLESS,
    "args": ARGUMENT,
    "labels": HARMLESS,
    "annotations": HARMLESS,
    "attest": HARMLESS,
    "target": HARMLESS,
    "platforms": HARMLESS,
    "pull": HARMLESS,
    "no-cache": HARMLESS,
    "no-cache-filter": HARMLESS,
    "shm-size": HARMLESS,
    "ulimits": HARMLESS,
    # https://github.com/moby/buildkit/blob/v0.25.2/solver/llbsolver/ops/exec.go (`CacheMap`)
    "extra-hosts": asks("BuildKit keeps the addresses out of the cache key"),
    "call": HARMLESS,
    "description": HARMLESS,
    "network": NETWORK,
    "tags": asks("it can name another build's image"),
    "secret": asks("it reads variables and files of the runner"),
    "ssh": asks("it uses keys of the runner"),
    "output": asks("it writes files or images"),
    "cache-from": asks("it reads with the runner's logins"),
    "cache-to": asks("it writes a cache that others may read"),
    "entitlements": asks("it uses the entitlements of the runner's builder"),
}
"""The rule of each key of a target."""
_UNKNOWN = asks("bxcache does not know it")
_HOST = "network.host"
_HERE = "cwd://"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a definition may say.

    Attributes:
        checkout: the checkout with its files.
        allowed: what the caller allows it.
    """

    checkout: Checkout
    allowed: Allowed


def guard_target(printed: Mapping[str, Any], limits: Limits) -> tuple[dict[str, Any], list[str]]:
    """Return the part of a target that counts, and the keys of the rest.

    Args:
        printed: the target in the output of `--print`.
        limits: what it may say.
    """
    kept: dict[str, Any] = {}
    refused: list[str] = []
    for key, value in sorted(printed.items()):
        # `context` is sorted before `dockerfile`, which depends on it.
        entries = [*_list_entries(key, value)]
        asking = [name for name, entry in entries if _asks(key, name, entry, kept, limits)]
        refused += dict.fromkeys(
            f"{key}.{name}" if isinstance(value, dict) else key for name in asking
        )
        left = {name: entry for name, entry in entries if name not in asking}
        if left:
            kept[key] = _shape(value, left)
    return kept, refused


def _shape(value: object, left: dict[str, Any]) -> object:
    """Return the remaining entries in the shape of the original value."""
    if isinstance(value, list):
        return [*left.values()]
    return left if isinstance(value, dict) else value


def _list_entries(key: str, value: object) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        yield from value.items()
    elif isinstance(value, list):
        yield from ((str(number), each) for number, each in enumerate(value))
    else:
        yield key, value


def _asks(key: str, name: str, value: Any, kept: Mapping[str, Any], limits: Limits) -> bool:  # noqa: ANN401  # any JSON
    if key == "dockerfile":
        value = _find_dockerfile(str(value), str(kept.get("context") or "."), limits.checkout)
    elif key in ("context", "contexts"):
        value = str(value).removeprefix(_HERE)
    if key == "contexts" and "=" in name:
        # As a flag, it would set another name.
        return True
    why = KEYS.get(key, _UNKNOWN).judge(name, value, limits.checkout)
    return bool(why) and not _is_allowed(key, value, limits)


def _find_dockerfile(file: str, context: str, checkout: Checkout) -> str | None:
    """Return a Dockerfile's path from the working directory; None in a remote context."""
    if file.startswith(_HERE):
        return file.removeprefix(_HERE)
    if is_remote(file) or file.startswith("/"):
        return file
    if is_remote(context) and not checkout.has_folder(context):
        return None
    return os.path.join(context, file)  # noqa: PTH118  # text, as docker joins it


def _is_allowed(key: str, value: Any, limits: Limits) -> bool:  # noqa: ANN401  # any JSON
    allowed, directory = limits.allowed, limits.checkout.directory
    if key == "network":
        return value == _HOST.partition(".")[2] and _HOST in allowed.words
    if key == "entitlements":
        return value in allowed.words
    if key in ("context", "contexts", "dockerfile"):
        return not is_remote(str(value)) and allowed.reaches(READ, str(value), directory)
    paths = [*list_granted(key, value)]
    if key == "ssh" and not paths:
        return key in allowed.words
    return bool(paths) and all(allowed.reaches(way, path, directory) for way, path in paths)
