"""A running build's own layout, beside the blobs that it shares with the store."""

from __future__ import annotations

import os
import secrets
import shutil
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bxcache.errors import StoreError
from bxcache.store.layout import OCI_LAYOUT, CacheManifest, Descriptor, blob_path, read_manifest

if TYPE_CHECKING:
    from pathlib import Path

    from filelock import BaseFileLock


@dataclass(frozen=True, slots=True)
class Staging:
    """A staging layout, alive while its owner holds its lock.

    Attributes:
        path: the layout; buildx imports from it and exports to it.
        donor: the manifest that was linked in, or None when there is nothing to import.
        damage: why a donor that exists was not linked in, or an empty string.
    """

    path: Path
    donor: Descriptor | None
    damage: str
    lock: BaseFileLock

    def remove(self) -> None:
        """Remove the layout and give up its lock."""
        shutil.rmtree(self.path, ignore_errors=True)
        remove_lock(self.lock)


def draw_name() -> str:
    """A name for a staging layout that no other build has."""
    return secrets.token_hex(6)


def claim_lock(folder: Path, name: str) -> BaseFileLock | None:
    """The lock of a staging layout, or None while a living process holds it."""
    from filelock import FileLock, Timeout  # noqa: PLC0415  # 30 ms that only a build pays

    lock = FileLock(folder / f"{name}.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        return None
    return lock


def remove_lock(lock: BaseFileLock) -> None:
    """Remove a lock that this process holds, then let go of it."""
    with suppress(OSError):
        os.unlink(lock.lock_file)  # noqa: PTH108  # `lock_file` is a text
    lock.release()


def sweep_staging(folder: Path) -> int:
    """Remove what builds that no longer live have left, and tell how many there were.

    The caller holds the store's lock, so nobody is about to claim a name.
    """
    names = {entry.name.removesuffix(".lock") for entry in folder.iterdir()}
    removed = 0
    for name in sorted(names):
        lock = claim_lock(folder, name)
        if lock is not None:
            shutil.rmtree(folder / name, ignore_errors=True)
            remove_lock(lock)
            removed += 1
    return removed


def create_staging(store: Path, folder: Path, name: str, entry: Descriptor | None) -> Staging:
    """Make a staging layout with the live set of a scope's entry linked in.

    A scope with a blob missing or of the wrong size is not linked in: BuildKit would fail the
    build for it, where without a donor it only misses.

    Raises:
        StoreError: the layout cannot be written.
    """
    path = folder / name
    lock = claim_lock(folder, name)
    if lock is None:
        raise StoreError(f"the staging layout `{path}` belongs to another build")
    try:
        (path / "blobs" / "sha256").mkdir(parents=True)
        (path / "oci-layout").write_text(OCI_LAYOUT, encoding="utf-8")
        damage = _link_donor(store, path, entry) if entry else ""
    except BaseException:
        shutil.rmtree(path, ignore_errors=True)
        remove_lock(lock)
        raise
    return Staging(path, None if damage else entry, damage, lock)


def _link_donor(store: Path, path: Path, entry: Descriptor) -> str:
    try:
        manifest = read_manifest(store, entry)
    except StoreError as error:
        return error.message
    damage = find_damage(store, manifest)
    if not damage:
        for digest in (entry.digest, *manifest.blobs):
            link_blob(blob_path(store, digest), blob_path(path, digest))
    return damage


def find_damage(layout: Path, manifest: CacheManifest) -> str:
    """The first blob that is not there as the manifest says, in words, or an empty string."""
    for blob in manifest.blobs.values():
        path = blob_path(layout, blob.digest)
        try:
            size = path.stat().st_size
        except OSError as error:
            return f"`{path}`: {error.strerror}"
        if size != blob.size:
            return f"`{path}` has {size} bytes instead of {blob.size}"
    return ""


def link_blob(source: Path, target: Path) -> bool:
    """Give a blob a second name; where the file system has no hard links, copy it.

    Returns:
        Whether the target is new.
    """
    if target.exists():
        return False
    try:
        target.hardlink_to(source)
    except FileExistsError:
        return False
    except FileNotFoundError:
        raise
    except OSError:
        _copy_blob(source, target)
    return True


def _copy_blob(source: Path, target: Path) -> None:
    temporary = target.with_name(f".{target.name}.{draw_name()}.tmp")
    try:
        shutil.copyfile(source, temporary)
        temporary.chmod(0o444)
        temporary.replace(target)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()
