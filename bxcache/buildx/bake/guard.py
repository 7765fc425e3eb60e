"""A bake definition without the keys that its files may not set in an untrusted build.

As with the entitlements of plain bake, files ask and callers allow. The keys are those of
`docker buildx bake --print`: https://docs.docker.com/build/bake/reference/
"""

from __future__ import annotations

import os.path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from bxcache.buildx.bake.entitlements import HERE, READ, list_paths, read_fields
from bxcache.config.paths import is_remote
from bxcache.config.trust import ARGUMENT, CONTEXT, HARMLESS, NETWORK, PATH, asks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bxcache.buildx.bake.entitlements import Allowed
    from bxcache.config.trust import Checkout, Rule

_HARMLESS = (
    *("annotations", "attest", "call", "description", "dockerfile-inline", "labels", "no-cache"),
    *("no-cache-filter", "platforms", "pull", "shm-size", "target", "ulimits"),
)
KEYS: dict[str, Rule] = {
    **dict.fromkeys(_HARMLESS, HARMLESS),
    "context": CONTEXT,
    "contexts": CONTEXT,
    "dockerfile": PATH,
    "args": ARGUMENT,
    # https://github.com/moby/buildkit/blob/v0.25.2/solver/llbsolver/ops/exec.go (`CacheMap`)
    "extra-hosts": asks("BuildKit keeps the addresses out of the cache key"),
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
_FILES = frozenset({"local", "tar", "oci", "docker"})
"""The outputs that write only files if they have a destination."""


class Limits(Struct, frozen=True):
    """The limits of a definition: the files of its checkout, and the caller's grants."""

    checkout: Checkout
    allowed: Allowed


def guard_target(printed: Mapping[str, Any], limits: Limits) -> tuple[dict[str, Any], list[str]]:
    """Return the part of a target, as printed by bake, that counts, and the keys of the rest."""
    kept: dict[str, Any] = {}
    refused: list[str] = []
    for key, value in sorted(printed.items()):
        # `context` is sorted before `dockerfile`, which depends on it.
        entries = _list_entries(key, value)
        asking = [name for name, entry in entries if _asks(key, name, entry, kept, limits)]
        refused += dict.fromkeys(
            f"{key}.{name}" if isinstance(value, dict) else key for name in asking
        )
        left = {name: entry for name, entry in entries if name not in asking}
        if left and isinstance(value, list):
            kept[key] = [*left.values()]
        elif left:
            kept[key] = left if isinstance(value, dict) else value
    return kept, refused


def _list_entries(key: str, value: object) -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        return [*value.items()]
    if isinstance(value, list):
        return [(str(number), each) for number, each in enumerate(value)]
    return [(key, value)]


def _asks(key: str, name: str, value: Any, kept: Mapping[str, Any], limits: Limits) -> bool:  # noqa: ANN401  # any JSON
    if key == "dockerfile":
        value = _find_dockerfile(str(value), str(kept.get("context") or "."), limits.checkout)
    elif key in ("context", "contexts"):
        value = str(value).removeprefix(HERE)
    if key == "contexts" and "=" in name:
        # As a flag, it would set another name.
        return True
    why = KEYS.get(key, asks("bxcache does not know it")).judge(name, value, limits.checkout)
    return bool(why) and not _is_allowed(key, value, limits)


def _find_dockerfile(file: str, context: str, checkout: Checkout) -> str | None:
    """Return a Dockerfile's path from the working directory; None in a remote context."""
    if file.startswith(HERE):
        return file.removeprefix(HERE)
    if is_remote(file) or file.startswith("/"):
        return file
    if is_remote(context) and not checkout.has_folder(context):
        return None
    return os.path.join(context, file)  # noqa: PTH118  # text, as docker joins it


def _is_allowed(key: str, value: Any, limits: Limits) -> bool:  # noqa: ANN401  # any JSON
    allowed = limits.allowed
    if key == "network":
        return value == "host" and "network.host" in allowed.words
    if key == "entitlements":
        return value in allowed.words
    if key in ("context", "contexts", "dockerfile"):
        return not is_remote(str(value)) and allowed.reaches(READ, str(value))
    paths = [] if _does_more(key, value) else [*list_paths(key, value)]
    if key == "ssh" and not paths:
        return key in allowed.words
    return bool(paths) and all(allowed.reaches(way, path) for way, path in paths)


def _does_more(key: str, option: object) -> bool:
    """Whether an option reads a variable or makes an image, which no path in `--allow` grants."""
    fields = read_fields(option)
    if key == "secret":
        return "env" in fields or fields.get("type") == "env"
    return key == "output" and fields.get("type", "local") not in _FILES
