"""A guess whether the files of a build are those of an earlier one, without reading them.

It is made from git's trees and the sizes and times of changed files. Files that git ignores do not
count, so it is only a guess: equal states usually, but not always, mean equal files.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from threading import Thread
from typing import TYPE_CHECKING

from bxcache.config.discovery import find_root
from bxcache.place.repository import ask_git

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bxcache.place.repository import Ask

_SECONDS = 3.0
_MOST_CHANGED = 500
_STATUS = ("status", "--porcelain", "-z", "--untracked-files=all", "--")


class CheckoutState:
    """Finds the state of some folders of a checkout in the background."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = folders
        self._found = ""
        # A slow git must not keep the process from ending.
        self._thread = Thread(target=self._find, daemon=True)
        self._thread.start()

    def _find(self) -> None:
        self._found = find_state(self._folders)

    def wait(self) -> str:
        """Return the state, or an empty string if it is unknown or takes long to find."""
        self._thread.join(_SECONDS)
        return self._found


def find_state(folders: Sequence[Path], ask: Ask = ask_git) -> str:
    """Find the state of folders in one checkout, as a hash; empty if it is unknown."""
    root = find_root(folders[0].absolute()) if folders else None
    with suppress(OSError, TimeoutError, ValueError):
        if root is not None:
            paths = [str(each.absolute().relative_to(root)) for each in folders]
            return _hash_state(root, paths, ask)
    return ""


def _hash_state(root: Path, paths: Sequence[str], ask: Ask) -> str:
    trees = ask(("rev-parse", *(f"HEAD:{'' if path == '.' else path}" for path in paths)), root)
    status = ask((*_STATUS, *paths), root)
    changed = [entry for entry in status.stdout.split("\0") if entry]
    if trees.status or status.status or len(changed) > _MOST_CHANGED:
        return ""
    state = hashlib.sha256(f"{trees.stdout}{status.stdout}".encode(errors="replace"))
    for entry in changed:
        # An entry is `XY PATH`, or the earlier path of a file that was renamed.
        with suppress(OSError):
            found = (root / entry[3:]).lstat()
            state.update(f"{found.st_size} {found.st_mtime_ns} {found.st_mode}".encode())
    return state.hexdigest()
