"""Images written by hand: an OCI layout, and the archive of it that `docker load` takes."""

import gzip
import hashlib
import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

EPOCH = "1970-01-01T00:00:00Z"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
OCI = "application/vnd.oci.image"
LAYOUT = "layout"
ARCHIVE = "image.tar"


@dataclass(frozen=True)
class Image:
    """An image on disk, which has the same bytes for every engine that loads it."""

    name: str
    digest: str
    layout: Path
    archive: Path


@dataclass(frozen=True)
class Blob:
    """A file of a layout and its descriptor's fields."""

    digest: str
    size: int
    media_type: str

    def descriptor(self) -> dict[str, object]:
        """Return the blob's descriptor, by which other documents refer to it."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size}


def read_image(folder: Path) -> Image:
    """Return the image that was written into a folder."""
    index = json.loads((folder / LAYOUT / "index.json").read_text())
    [entry] = index["manifests"]
    name = entry["annotations"]["io.containerd.image.name"]
    return Image(name, entry["digest"], folder / LAYOUT, folder / ARCHIVE)


def write_image(
    folder: Path,
    name: str,
    fill: Callable[[tarfile.TarFile], None],
    *,
    settings: dict[str, object],
    bulky: bool = False,
) -> None:
    """Write a one-layer image into a folder; `fill` writes the layer's files.

    A bulky image is not compressed, and only its archive is kept.
    """
    layout = folder / LAYOUT
    (layout / "blobs" / "sha256").mkdir(parents=True)
    diff_id = _write_tar(folder / "layer", fill)
    if not bulky:
        _compress(folder / "layer")
    kind = "tar" if bulky else "tar+gzip"
    layer = _move_blob(layout, folder / "layer", f"{OCI}.layer.v1.{kind}")
    config = _put_blob(layout, _config(diff_id, settings), f"{OCI}.config.v1+json")
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{OCI}.manifest.v1+json",
        "config": config.descriptor(),
        "layers": [layer.descriptor()],
    }
    top = _put_blob(layout, manifest, f"{OCI}.manifest.v1+json")
    _write_indexes(layout, name, top, config, layer)
    with tarfile.open(folder / ARCHIVE, "w") as archive:
        archive.add(layout, arcname="")
    if bulky:
        shutil.rmtree(layout / "blobs")


def file_entry(name: str, mode: int = 0o644, size: int = 0) -> tarfile.TarInfo:
    """Return a reproducible tar header of a plain file."""
    entry = tarfile.TarInfo(name)
    entry.mode, entry.size = mode, size
    return entry


def add_file(tar: tarfile.TarFile, name: str, content: Path | bytes, mode: int = 0o644) -> None:
    """Add a file, owned by root and of no date."""
    data = content if isinstance(content, bytes) else content.read_bytes()
    tar.addfile(file_entry(name, mode, len(data)), io.BytesIO(data))


def add_folder(tar: tarfile.TarFile, name: str, mode: int = 0o755) -> None:
    """Add an empty folder."""
    entry = file_entry(name, mode)
    entry.type = tarfile.DIRTYPE
    tar.addfile(entry)


def add_link(tar: tarfile.TarFile, name: str, target: str) -> None:
    """Add a symbolic link."""
    entry = file_entry(name, 0o777)
    entry.type, entry.linkname = tarfile.SYMTYPE, target
    tar.addfile(entry)


def _config(diff_id: str, settings: dict[str, object]) -> dict[str, object]:
    return {
        "created": EPOCH,
        "architecture": ARCHITECTURES.get(os.uname().machine, os.uname().machine),
        "os": "linux",
        "config": settings,
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        "history": [{"created": EPOCH, "created_by": "tests.engines"}],
    }


def _write_indexes(layout: Path, name: str, top: Blob, config: Blob, layer: Blob) -> None:
    names = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": "latest"}
    index = {
        "schemaVersion": 2,
        "mediaType": f"{OCI}.index.v1+json",
        "manifests": [top.descriptor() | {"annotations": names}],
    }
    paths = [f"blobs/sha256/{blob.digest.removeprefix('sha256:')}" for blob in (config, layer)]
    # Engines without the containerd store read this file instead of the index.
    classic = [
        {"Config": paths[0], "RepoTags": [name.removeprefix("docker.io/library/")]}
        | {"Layers": [paths[1]]}
    ]
    (layout / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (layout / "index.json").write_text(json.dumps(index))
    (layout / "manifest.json").write_text(json.dumps(classic))


def _write_tar(path: Path, fill: Callable[[tarfile.TarFile], None]) -> str:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        fill(tar)
    return _digest(path)


def _compress(path: Path) -> None:
    plain = path.rename(path.with_suffix(".plain"))
    with (
        plain.open("rb") as source,
        path.open("wb") as raw,
        gzip.GzipFile("", "wb", compresslevel=5, fileobj=raw, mtime=0) as target,
    ):
        shutil.copyfileobj(source, target, 1 << 20)
    plain.unlink()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def _put_blob(layout: Path, content: dict[str, object], media_type: str) -> Blob:
    aside = layout / "aside"
    aside.write_text(json.dumps(content, sort_keys=True))
    return _move_blob(layout, aside, media_type)


def _move_blob(layout: Path, file: Path, media_type: str) -> Blob:
    digest, size = _digest(file), file.stat().st_size
    file.rename(layout / "blobs" / "sha256" / digest.removeprefix("sha256:"))
    return Blob(digest, size, media_type)
