"""docker's metadata file as a caller wants it, made from one that has all the provenance.

What the file has of provenance is `BUILDX_METADATA_PROVENANCE`'s to say:
https://docs.docker.com/reference/cli/docker/buildx/build/#metadata-file
https://github.com/docker/buildx/blob/v0.29.1/build/provenance.go
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from bxcache.buildx.metadata import PROVENANCE, PROVENANCE_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

_ALL = "max"
_NONE = frozenset(("disabled", "0", "f", "F", "false", "False", "FALSE"))
"""What turns it off; the last ones are what is false to Go: https://pkg.go.dev/strconv#ParseBool"""
_CACHE = "cache.manifest"
"""The manifest of the cache that was exported last."""
_MOST = ("buildConfig", "metadata")
"""What the usual provenance does not have."""


def limit_metadata(text: str, environment: Mapping[str, str], caching: Container[str] = ()) -> str:
    """The metadata of a build or a bake as plain buildx would have written it.

    Args:
        text: the metadata with all provenance.
        environment: docker's variables, as the caller has set them.
        caching: the targets for which the caller has a cache exported; the name of a build is
            empty.

    Raises:
        ValueError: the text is no metadata.
    """
    wish = environment.get(PROVENANCE_VARIABLE, "")
    document = json.loads(text)
    if not isinstance(document, dict):
        raise ValueError("it is no table")  # noqa: TRY004  # it is the text that is wrong
    # A bake has a table for each target.
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
