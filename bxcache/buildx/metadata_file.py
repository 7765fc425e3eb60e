"""Docker's metadata file as a caller expects it, made from one with full provenance.

`BUILDX_METADATA_PROVENANCE` decides how much provenance the file has:
https://docs.docker.com/reference/cli/docker/buildx/build/#metadata-file
https://github.com/docker/buildx/blob/v0.29.1/build/provenance.go
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from bxcache.buildx.metadata import PROVENANCE, PROVENANCE_VARIABLE
from bxcache.buildx.option_text import FALSE

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

_ALL = "max"
_NONE = FALSE | {"disabled"}
_CACHE = "cache.manifest"
"""The key of the last exported cache's manifest."""
_MOST = ("buildConfig", "metadata")
"""Keys that the default provenance lacks."""


def limit_metadata(text: str, environment: Mapping[str, str], caching: Container[str] = ()) -> str:
    """Return the metadata of a build or a bake as plain buildx would write it.

    Args:
        text: the metadata with full provenance.
        environment: docker's variables, as set by the caller.
        caching: the targets whose cache the caller exports; a build's name is empty.

    Raises:
        ValueError: the text is not metadata.
    """
    wish = environment.get(PROVENANCE_VARIABLE, "")
    document = json.loads(text)
    if not isinstance(document, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004  # the text is wrong, not a type
    # A bake has an object for each target.
    targets = {
        name: _limit(value, wish, caches=name in caching) if isinstance(value, dict) else value
        for name, value in document.items()
    }
    limited = _limit(targets, wish, caches="" in caching)
    return json.dumps(limited, indent=2, ensure_ascii=False)


def _limit(table: dict[str, Any], wish: str, *, caches: bool) -> dict[str, Any]:
    kept = {}
    for name, value in table.items():
        if not name.startswith(PROVENANCE):
            if caches or name != _CACHE:
                kept[name] = value
        elif wish == _ALL:
            kept[name] = value
        elif wish not in _NONE:
            kept[name] = {key: each for key, each in value.items() if key not in _MOST}
    return kept
