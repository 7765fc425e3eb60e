"""The files of a build context and what BuildKit sees of each, read from the disk.

The state of a file is a short text: equal texts mean that BuildKit sees no difference.

- `f644 HASH`: a regular file, with its mode in octal and a hash of its content; extended attributes
  add a second hash.
- `l TARGET`: a symbolic link.
- `d755`: a folder below the context's own, with its mode.
- `o644 DEVICE`: a device or a pipe. Docker does not send sockets.
- `?`: it could not be read, or changed meanwhile.

Owners and times do not count: docker sends none of the former, and BuildKit hashes none of the
latter (https://github.com/moby/buildkit/blob/v0.25.2/cache/contenthash/tarsum.go).
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from bxcache.buildx.context.wanted import Wanted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bxcache.buildx.context.ignore import IgnoreRules
    from bxcache.buildx.context.known_hashes import KnownHashes

UNKNOWN = "?"
FOLDER = "d"
LINK = "l "
HASH_LENGTH = 16
_CHUNK = 1 << 20
_OPENED = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_MOST_LINKS = 1000
_PERMISSIONS = 0o7777


class ContextReader:
    """Reads the files of one context.

    Args:
        folder: the context's path.
        rules: which files docker does not send.
        known: the hashes of files that have not changed since they were read.
        goes_on: whether to read on; asked before each file.
    """

    def __init__(
        self,
        folder: str,
        rules: IgnoreRules,
        known: KnownHashes,
        goes_on: Callable[[], bool] = lambda: True,
    ) -> None:
        self._folder, self._rules, self._known, self._goes_on = folder, rules, known, goes_on
        self._found: dict[str, str] = {}
        self._links: list[tuple[str, Wanted]] = []

    def read(self, wanted: Wanted) -> dict[str, str] | None:
        """Return the state of each wanted file by its path; None if it had to stop."""
        self._walk("", wanted, 0)
        followed = 0
        while self._links and followed < _MOST_LINKS:
            target, below = self._links.pop()
            parts = tuple(target.split("/"))
            self._walk("", Wanted([(*parts, *rest) for rest in below.rests]), 0)
            followed += 1
        return dict(sorted(self._found.items())) if self._goes_on() else None

    def _walk(self, above: str, wanted: Wanted, matched: int) -> bool:
        """Read a folder below the context; return whether docker sends anything of it."""
        is_any = False
        for entry in self._list_entries(above):
            path = f"{above}/{entry.name}" if above else entry.name
            below = wanted.enter(entry.name)
            if below is None or not self._goes_on():
                continue
            bits = self._rules.match(path, matched)
            is_out = self._rules.is_excluding(bits)
            if entry.is_dir(follow_symlinks=False):
                # Something in an excluded folder may be sent all the same.
                has_content = (not is_out or self._rules.has_exceptions) and self._walk(
                    path, below, bits
                )
                is_sent = has_content or not is_out
                if below.is_complete and is_sent:
                    self._found[path] = self._describe(entry, path)
                is_any |= is_sent
            elif not is_out:
                is_any |= self._note(entry, path, below, is_inside=wanted.is_complete)
        return is_any

    def _note(self, entry: os.DirEntry[str], path: str, below: Wanted, *, is_inside: bool) -> bool:
        """Note the state of a file; return whether docker sends it."""
        if not below.is_complete and not entry.is_symlink():
            return False
        state = self._describe(entry, path)
        if not state:
            return False
        self._found[path] = state
        if state.startswith(LINK) and not is_inside:
            # A link that a path names stands for its target.
            target = find_target(path, state)
            self._links += [(target, below)] if target else []
        return True

    def _list_entries(self, above: str) -> Iterator[os.DirEntry[str]]:
        # Docker reports a folder that it cannot read.
        with suppress(OSError), os.scandir(f"{self._folder}/{above}") as entries:
            yield from entries

    def _describe(self, entry: os.DirEntry[str], path: str) -> str:
        try:
            found = entry.stat(follow_symlinks=False)
            if stat.S_ISREG(found.st_mode):
                return f"f{found.st_mode & _PERMISSIONS:o} {self._hash(entry, path, found)}"
            if stat.S_ISLNK(found.st_mode):
                return f"{LINK}{Path(entry.path).readlink()}"
            if stat.S_ISDIR(found.st_mode):
                return f"{FOLDER}{found.st_mode & _PERMISSIONS:o}"
        except OSError:
            return UNKNOWN
        if stat.S_ISSOCK(found.st_mode):
            return ""
        return f"o{found.st_mode & _PERMISSIONS:o} {found.st_rdev}"

    def _hash(self, entry: os.DirEntry[str], path: str, found: os.stat_result) -> str:
        known = self._known.find(path, found)
        if known is None:
            known = hash_file(entry.path, found)
            if known != UNKNOWN:
                self._known.note(path, found, known)
        return known


def find_target(path: str, state: str) -> str | None:
    """Find the path that a symbolic link stands for; None outside of the context."""
    target = state.removeprefix(LINK)
    start = "" if target.startswith("/") else posixpath.dirname(path)
    inside = posixpath.normpath(posixpath.join(start, target.lstrip("/")))
    return None if inside == "." or inside.startswith("..") else inside


def hash_file(path: str, before: os.stat_result) -> str:
    """Hash the content and the extended attributes of a file; `?` if it changed meanwhile."""
    handle = os.open(path, _OPENED)
    try:
        content, left = hashlib.sha256(), before.st_size
        while left > 0 and (data := os.read(handle, min(_CHUNK, left))):
            content.update(data)
            left -= len(data)
        marks = _list_attributes(handle)
        after = os.fstat(handle)
    finally:
        os.close(handle)
    if (after.st_size, after.st_mtime_ns, after.st_ino) != (
        before.st_size,
        before.st_mtime_ns,
        before.st_ino,
    ):
        return UNKNOWN
    found = content.hexdigest()[:HASH_LENGTH]
    return f"{found} {hashlib.sha256(marks).hexdigest()[:HASH_LENGTH]}" if marks else found


def _list_attributes(handle: int) -> bytes:
    """Return the extended attributes that count, as `v1TarHeaderSelect` of BuildKit has them."""
    try:
        listed = os.listxattr(handle)
        # Nearly no file has any.
        if not listed:
            return b""
        return b"".join(
            name.encode(errors="surrogateescape") + b"=" + os.getxattr(handle, name) + b"\0"
            for name in sorted(filter(_counts, listed))
        )
    except (OSError, AttributeError):
        return b""


def _counts(name: str) -> bool:
    return name == "security.capability" or not name.startswith(
        ("security.", "system.", "com.apple.")
    )
