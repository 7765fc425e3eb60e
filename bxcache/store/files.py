"""Files that are whole or not there, also after a power cut, and blobs that are shared."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

LARGEST_DOCUMENT = 16 << 20
"""No index, manifest or page of the journal is larger, in bytes; what is larger is not read."""


def read_bounded(path: Path, most: int = LARGEST_DOCUMENT) -> bytes:
    """The bytes of a regular file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is larger than `most` bytes, or no regular file.
    """
    # A link or a FIFO in a layout that came from elsewhere is not followed and not waited for.
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise ValueError("it is a link") from error
        raise
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("it is no regular file")
        with open(handle, "rb", closefd=False) as stream:
            # Room is made for as much as is asked for.
            data = stream.read(min(status.st_size, most) + 1)
    finally:
        os.close(handle)
    if len(data) > most:
        raise ValueError(f"it is larger than {most >> 20} MiB")
    return data


def write_atomically(path: Path, data: bytes, *, mode: int = 0o644, durable: bool = True) -> None:
    """Write a file so that a reader sees the old content or the new, whole.

    Args:
        path: the file.
        data: its content.
        mode: its permissions.
        durable: keep that promise after a power cut as well.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        with temporary.open("xb") as stream:
            stream.write(data)
            if durable:
                stream.flush()
                os.fsync(stream.fileno())
        temporary.chmod(mode)
        temporary.replace(path)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()
    if durable:
        sync_folder(path.parent)


def write_together(files: Mapping[Path, bytes], mode: int = 0o644) -> None:
    """Write files durably; the disk is waited for once they are all written, which is faster.

    Each is whole or not there; when this returns, all are there.

    Args:
        files: their contents.
        mode: their permissions.
    """
    temporaries = {path: path.with_name(f".{path.name}.{os.getpid()}.tmp") for path in files}
    try:
        for path, data in files.items():
            temporaries[path].unlink(missing_ok=True)
            with temporaries[path].open("xb") as stream:
                stream.write(data)
        for path, temporary in temporaries.items():
            _sync(temporary, os.O_RDONLY)
            temporary.chmod(mode)
            temporary.replace(path)
    finally:
        for temporary in temporaries.values():
            temporary.unlink(missing_ok=True)
    for folder in {path.parent for path in files}:
        sync_folder(folder)


def list_folder(folder: Path) -> dict[str, os.stat_result]:
    """The files of a folder by name; none where there is no folder."""
    try:
        return {each.name: each.stat(follow_symlinks=False) for each in os.scandir(folder)}
    except FileNotFoundError:
        return {}


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    _sync(folder, os.O_RDONLY | os.O_DIRECTORY)


def _sync(path: Path, flags: int) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def has_size(path: str, size: int) -> bool:
    """Whether there is something of so many bytes."""
    try:
        return os.lstat(path).st_size == size
    except FileNotFoundError:
        return False


def link_blob(source: str, target: str, size: int) -> bool:
    """Give a blob a second name; where the file system has no hard links, copy it.

    Args:
        source: the blob's file.
        target: its new name. A file of another size that has it is damaged, and is replaced.
        size: the blob's size in bytes.

    Returns:
        Whether the target is new.

    Raises:
        OSError: it can be neither linked nor copied.
    """
    try:
        os.link(source, target, follow_symlinks=False)
    except FileExistsError:
        if has_size(target, size):
            return False
        remove_blob(target)
        return link_blob(source, target, size)
    except FileNotFoundError:
        raise
    except OSError:
        return _copy_blob(source, target, size)
    return True


def remove_blob(path: str) -> None:
    """Remove a blob, whatever lies in its place; one that is gone is fine."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
    except OSError:
        if not os.path.isdir(path):
            raise
        shutil.rmtree(path)


def _copy_blob(source: str, target: str, size: int) -> bool:
    if has_size(target, size):
        return False
    temporary = f"{target}.{secrets.token_hex(6)}.tmp"
    try:
        with open(source, "rb") as read, open(temporary, "wb") as written:
            shutil.copyfileobj(read, written, 1 << 20)
            written.flush()
            os.fsync(written.fileno())
        os.chmod(temporary, 0o444)
        os.replace(temporary, target)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
    return True
