"""Docker's metadata file, if the caller wants one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from bxcache.buildx.metadata import limit_metadata
from bxcache.buildx.run import read_metadata
from bxcache.store.folders import Folder

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

    from bxcache.pipeline.prepare import Prepared


def note_metadata(prepared: Prepared) -> Iterator[str]:
    """Note that bxcache writes the caller's metadata file, since docker writes another one."""
    if prepared.metadata_wish is not None:
        yield f"after the build: {prepared.metadata_wish}: what plain buildx writes there"


def leave_metadata(prepared: Prepared, caching: Container[str]) -> str:
    """Write docker's metadata to the caller's file, as plain buildx would have written it.

    A failed build has no metadata, and an earlier file stays unchanged.

    Args:
        prepared: the build.
        caching: the targets for which the caller exports a cache; the name of a single build is
            empty.

    Returns:
        Why it could not be written, or an empty string.
    """
    path, text = prepared.metadata_wish, read_metadata(prepared.metadata_file)
    if path is None or not text:
        return ""
    try:
        if path.is_symlink() or (path.exists() and not path.is_file()):
            return f"the metadata file `{path}` was not written: it is not a regular file"
        limited = limit_metadata(text, os.environ, caching).encode()
        Folder(path.parent).write(path.name, limited, mode=0o644, durable=False)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        return f"the metadata file `{path}` was not written: {why}"
    return ""
