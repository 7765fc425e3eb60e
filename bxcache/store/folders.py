"""Folders opened without following links, and files in them that are whole or absent.

Every file operation of a store happens here: by a plain name, in an open folder. If somebody
replaces the folder meanwhile, for example with a link, the replacement is never entered.
https://pubs.opengroup.org/onlinepubs/9799919799/functions/openat.html
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from bxcache.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

LARGEST_DOCUMENT = 16 << 20
"""The largest index, manifest or page to read, in bytes."""
TEMPORARY = re.compile(r"\..+\.[0-9]+\.tmp")
"""The name of a file while it is written."""
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CANNOT_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)  # of a folder, in some file systems


class Folder:
    """A folder, opened on first use and closed when garbage-collected.

    File system errors are OSErrors with the full path. Opening a folder or file raises a StoreError
    if a link or something else is in its place, and no operation follows a link. `above` is the
    folder that contains it; None for one that is opened by its path, which may be a link.
    """

    def __init__(self, path: Path, above: Folder | None = None) -> None:
        self.path = path
        self.above = above
        self._handle: int | None = None

    def __del__(self) -> None:
        if self._handle is not None:
            os.close(self._handle)

    def below(self, name: str) -> Folder:
        """A folder inside this one; it need not exist."""
        return Folder(self.path / name, self)

    @property
    def handle(self) -> int:
        """The folder's file descriptor, opened on first use."""
        if self._handle is None:
            self._handle = self._open()
        return self._handle

    def _open(self) -> int:
        if self.above is None:
            return os.open(self.path, _FOLDER)
        above = self.above.handle
        try:
            return os.open(self.path.name, _FOLDER | os.O_NOFOLLOW, dir_fd=above)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                raise _refuse(self.path, self.above.look(self.path.name), "folder") from error
            with self._naming():
                raise

    @property
    def mode(self) -> int:
        """The permissions of the outermost folder, which everything created inside inherits.

        So a group's folder works for the whole group, as with git's `core.sharedRepository`.
        """
        if self.above is not None:
            return self.above.mode
        return stat.S_IMODE(os.fstat(self.handle).st_mode) & ~stat.S_ISVTX

    @property
    def file_mode(self) -> int:
        return 0o600 | (self.mode & 0o066)

    def make(self) -> Folder:
        """Create it if needed, and open it."""
        if self.above is None:
            self.path.mkdir(parents=True, exist_ok=True)
            return self
        with self._naming(), suppress(FileExistsError):
            os.mkdir(self.path.name, dir_fd=self.above.handle)
            if stat.S_IMODE(os.fstat(self.handle).st_mode) != self.mode:
                with suppress(OSError):
                    os.fchmod(self.handle, self.mode)
        self._handle = self.handle
        return self

    def list_files(self) -> dict[str, os.stat_result]:
        """Its content, by name; empty if the folder does not exist."""
        with suppress(FileNotFoundError), os.scandir(self.handle) as entries:
            return {each.name: each.stat(follow_symlinks=False) for each in entries}
        return {}

    def list_names(self) -> list[str]:
        """The names in it; empty if the folder does not exist."""
        with suppress(FileNotFoundError):
            return os.listdir(self.handle)
        return []

    def look(self, name: str) -> os.stat_result | None:
        """The status of a name, without following a link; None if it does not exist."""
        try:
            return os.stat(name, dir_fd=self.handle, follow_symlinks=False)
        except FileNotFoundError:
            return None
        except OSError:
            with self._naming(name):
                raise

    def has_file(self, name: str) -> bool:
        status = self.look(name)
        return status is not None and stat.S_ISREG(status.st_mode)

    def has_size(self, name: str, size: int) -> bool:
        """Whether a name exists and has this size in bytes."""
        status = self.look(name)
        return status is not None and status.st_size == size

    def open_file(self, name: str, flags: int = os.O_RDONLY) -> int:
        """Open a regular file without blocking."""
        try:
            mode = self.file_mode if flags & os.O_CREAT else 0
            handle = os.open(name, flags | _FILE, mode, dir_fd=self.handle)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
                raise _refuse(self.path / name, self.look(name), "regular file") from error
            with self._naming(name):
                raise
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            os.close(handle)
            raise _refuse(self.path / name, status, "regular file")
        return handle

    def read(self, name: str, most: int = LARGEST_DOCUMENT) -> bytes:
        """Read a regular file, or raise a StoreError if it has more than `most` bytes."""
        with open(self.open_file(name), "rb") as stream:
            # Python allocates as much as is requested.
            data = stream.read(min(os.fstat(stream.fileno()).st_size, most) + 1)
        if len(data) > most:
            raise StoreError(f"`{self.path / name}` is larger than {most >> 20} MiB")
        return data

    def write(
        self, name: str, data: bytes, *, mode: int | None = None, durable: bool = True
    ) -> None:
        """Replace a file atomically: a reader sees the whole old content or the whole new one.

        Its mode is `file_mode` by default. If `durable`, that holds after a power cut, too.
        """
        self.write_together({name: data}, mode=mode, durable=durable)

    def write_together(
        self, files: Mapping[str, bytes], *, mode: int | None = None, durable: bool = True
    ) -> None:
        """Write files as `write` does; faster, since all are written before the first sync."""
        temporaries = {name: f".{name}.{os.getpid()}.tmp" for name in files}
        mode = self.file_mode if mode is None else mode
        try:
            for name, data in files.items():
                with self._naming(name):
                    self._put(temporaries[name], data, mode)
            for name, temporary in temporaries.items():
                with self._naming(name):
                    if durable:
                        with open(self.open_file(temporary), "rb") as stream:
                            os.fsync(stream.fileno())
                    self.rename(temporary, name)
        finally:
            for temporary in temporaries.values():
                self._discard(temporary)
        if durable and files:
            self.sync()

    def _discard(self, name: str) -> None:
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self.handle)

    def _put(self, name: str, data: bytes, mode: int) -> None:
        self._discard(name)
        with open(self.create_file(name), "wb") as stream:
            stream.write(data)
            os.fchmod(stream.fileno(), mode)

    def create_file(self, name: str) -> int:
        """Create a file and open it for writing; only this user may read it."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FILE
        return os.open(name, flags, 0o600, dir_fd=self.handle)

    def rename(self, name: str, new: str) -> None:
        os.replace(name, new, src_dir_fd=self.handle, dst_dir_fd=self.handle)

    def touch(self, name: str, when: float | None = None) -> None:
        """Set a file's modification time, in seconds since the epoch. Default: now."""
        times = None if when is None else (when, when)
        os.utime(name, times, dir_fd=self.handle, follow_symlinks=False)

    def remove(self, name: str) -> None:
        """Remove a file or an empty folder, if it exists."""
        try:
            self._discard(name)
        except OSError:
            # The error of an unlink of a folder differs between systems.
            with self._naming(name):
                status = self.look(name)
                if status is None or not stat.S_ISDIR(status.st_mode):
                    raise
                os.rmdir(name, dir_fd=self.handle)

    def empty(self, depth: int) -> None:
        """Remove its content, down to `depth` folders deep, or raise an OSError."""
        for name, status in self.list_files().items():
            if depth and stat.S_ISDIR(status.st_mode):
                self.below(name).empty(depth - 1)
            self.remove(name)

    def remove_all(self, depth: int) -> None:
        """Remove it, if it exists, with its content, as `empty` does."""
        self.empty(depth)
        if self.above is not None:
            self.above.remove(self.path.name)

    def sync(self) -> None:
        """Make its directory entries durable, if the file system supports it."""
        with self._naming():
            try:
                os.fsync(self.handle)
            except OSError as error:
                if error.errno not in _CANNOT_SYNC:
                    raise

    @contextmanager
    def _naming(self, name: str = "") -> Iterator[None]:
        """Set the full path in an OSError."""
        try:
            yield
        except OSError as error:
            error.filename, error.filename2 = str(self.path / name), None
            raise


def _refuse(path: Path, status: os.stat_result | None, wanted: str) -> StoreError:
    if status is not None and stat.S_ISLNK(status.st_mode):
        return StoreError(
            f"`{path}` is a link; bxcache does not read or write outside of the store",
            hint="replace it with its target, or remove it",
        )
    return StoreError(f"`{path}` is not a {wanted}", hint="bxcache did not create it; remove it")


def link_blob(source: Folder, target: Folder, name: str, size: int) -> bool:
    """Hard-link a blob into another folder; copy it if the file system has no hard links.

    A file with its name but another size is damaged and gets replaced. Returns whether the target
    lacked it.
    """
    here, there = source.handle, target.handle
    try:
        os.link(name, name, src_dir_fd=here, dst_dir_fd=there, follow_symlinks=False)
    except FileExistsError:
        if target.has_size(name, size):
            return False
        target.remove(name)
        return link_blob(source, target, name, size)
    except FileNotFoundError:
        with source._naming(name):  # noqa: SLF001  # of this module
            raise
    except OSError:
        return _copy_blob(source, target, name, size)
    return True


def _copy_blob(source: Folder, target: Folder, name: str, size: int) -> bool:
    if target.has_size(name, size):
        return False
    temporary = f"{name}.{secrets.token_hex(6)}.tmp"
    try:
        with target._naming(name):  # noqa: SLF001  # of this module
            with (
                open(source.open_file(name), "rb") as read,
                open(target.create_file(temporary), "wb") as written,
            ):
                shutil.copyfileobj(read, written, 1 << 20)
                written.flush()
                os.fchmod(written.fileno(), 0o444)
                os.fsync(written.fileno())
            target.rename(temporary, name)
    finally:
        target._discard(temporary)  # noqa: SLF001  # of this module
    return True
