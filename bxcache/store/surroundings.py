"""Whether a path lies in a store, wherever its links lead."""

from __future__ import annotations

import os.path
from pathlib import Path

_MARK = Path(".bxcache", "version")
_TAG = "CACHEDIR.TAG"
_TAG_TEXT = b"bxcache store"
_LONGEST_TAG = 1024


def find_store(path: Path) -> Path | None:
    """The store that a path is or lies in, by what marks one, or None."""
    there = Path(os.path.realpath(path))
    return next((each for each in (there, *there.parents) if _is_marked(each)), None)


def _is_marked(folder: Path) -> bool:
    """A copy that came without its hidden files has the tag of a cache folder still."""
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
