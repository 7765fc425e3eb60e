"""Docker's metadata file, if the caller wants one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from bxcache.buildx.metadata_file import limit_metadata
from bxcache.buildx.run import read_metadata
from bxcache.store.folders import Folder

if TYPE_CHECKING:
    from collections.abc import Container

    from bxcache.pipeline.prepare import Prepared


def note_metadata(prepared: Prepared) -> tuple[str, ...]:
    """Note that bxcache writes the caller's metadata file, since docker writes another one."""
    path = prepared.metadata_wish
    return (f"after the build: {path}: what plain buildx writes there",) if path else ()


def leave_metadata(prepared: Prepared, caching: Container[str]) -> str | None:
    """Write docker's metadata to the caller's file, as plain buildx would; return why that failed.

    A failed build has no metadata, and an earlier file stays unchanged. The caller exports a cache
    for the targets named in `caching`; the name of a single build is empty.
    """
    path, text = prepared.metadata_wish, read_metadata(prepared.metadata_file)
    if path is None or not text:
        return None
    try:
        if path.is_symlink() or (path.exists() and not path.is_file()):
            return f"the metadata file `{path}` was not written: it is not a regular file"
        limited = limit_metadata(text, os.environ, caching).encode()
        Folder(path.parent).write(path.name, limited, mode=0o644, durable=False)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        return f"the metadata file `{path}` was not written: {why}"
    return None
