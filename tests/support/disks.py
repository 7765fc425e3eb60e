"""Small disks for tests, removed at the end. Only root can mount them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

Kind = Literal["ext4", "tmpfs"]
_SECONDS = 60


class DiskError(Exception):
    """A disk cannot be mounted here."""


@contextmanager
def small_disk(kind: Kind, folder: Path, size: int) -> Iterator[Path]:
    """Mount an empty file system of this many bytes below a folder."""
    target, image = folder / f"{kind}-disk", folder / f"{kind}.img"
    target.mkdir()
    try:
        if kind == "ext4":
            with image.open("xb") as stream:
                stream.truncate(size)
            # No blocks are reserved for root, so root also finds the disk full.
            _run("mkfs.ext4", "-q", "-F", "-m", "0", "-b", "4096", str(image))
            _run("mount", "-o", "loop", str(image), str(target))
        else:
            _run("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(target))
        try:
            yield target
        finally:
            _run("umount", str(target))
    finally:
        image.unlink(missing_ok=True)
        target.rmdir()


def _run(*command: str) -> None:
    program = shutil.which(command[0], path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    if program is None or os.geteuid() != 0:
        raise DiskError(f"only root can mount a disk, with `{command[0]}`")
    done = subprocess.run(
        [program, *command[1:]], capture_output=True, text=True, check=False, timeout=_SECONDS
    )
    if done.returncode:
        raise DiskError(f"`{' '.join(command)}`: {done.stderr.strip()}")


@contextmanager
def filled(disk: Path, left: int) -> Iterator[None]:
    """Fill a disk until at most this many bytes are left."""
    filler = disk / "lost+found" / "filler"
    filler.parent.mkdir(exist_ok=True)
    try:
        # A file system may reserve space for itself before it is needed.
        with filler.open("xb", buffering=0) as stream, suppress(OSError):
            while (excess := _count_free(disk) - left) > 0:
                stream.write(bytes(min(excess, 1 << 20)))
                os.fsync(stream.fileno())
        yield
    finally:
        filler.unlink(missing_ok=True)


def _count_free(disk: Path) -> int:
    status = os.statvfs(disk)
    return status.f_bavail * status.f_frsize
