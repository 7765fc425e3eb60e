"""Whether a path is inside a store, after following links."""

from __future__ import annotations

import os.path
from pathlib import Path

_MARK = Path(".bxcache", "version")
_TAG = "CACHEDIR.TAG"
_TAG_TEXT = b"bxcache store"
_LONGEST_TAG = 1024


def find_store(path: Path) -> Path | None:
    """The store that is at or above a path, recognised by its marks, or None."""
    there = Path(os.path.realpath(path))
    return next((each for each in (there, *there.parents) if _is_marked(each)), None)


def _is_marked(folder: Path) -> bool:
    """Whether a folder has a store's version file, or, if copied without hidden files, its tag."""
    try:
        if os.path.lexists(folder / _MARK):
            return True
        tag = folder / _TAG
        if not tag.is_file():
            return False
        with tag.open("rb") as file:
            return _TAG_TEXT in file.read(_LONGEST_TAG)
    except OSError:
        return False
