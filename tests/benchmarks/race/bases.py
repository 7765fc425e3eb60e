"""The base images of the race: made and fetched once, and pushed to a registry of every race."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.benchmarks.race import app_compiled, app_node, app_python
from tests.engines import EngineError, busybox_image, debian_base, ensure_suite
from tests.engines.archives import Image, add_file
from tests.engines.packages import short_digest
from tests.engines.storage import keep

STABLE = "stable"
"""The tag that Dockerfiles name, and that moves."""


@dataclass(frozen=True)
class Base:
    """A base image.

    Attributes:
        image: makes the image, or returns the one that was kept.
        fetch: returns a folder with what builds would fetch, to be laid into the image; it keeps
            these files on this machine.
    """

    image: Callable[[], Image]
    fetch: Callable[[], Path] | None = None


def fetch_wheels() -> Path:
    """Return a folder with Python's wheels, downloaded on first use."""

    def fill(folder: Path) -> None:
        wheels = folder / "wheels"
        wheels.mkdir()
        pip = (sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check")
        which = ("--no-deps", "--only-binary=:all:", "--python-version", "3.11")
        kind = ("--implementation", "py", "--abi", "none", "--platform", "any")
        run([*pip, *which, *kind, *app_python.WHEELS], wheels, "the Python package index")

    return keep(f"race-wheels-{short_digest(app_python.WHEELS)}", fill)


def fetch_tarballs() -> Path:
    """Return a folder with npm and packages for it, downloaded on first use."""

    def fill(folder: Path) -> None:
        npm = shutil.which("npm")
        if npm is None:
            remedy = "Install npm, or leave the application out"
            raise EngineError("There is no npm to fetch packages with", remedy)
        for name in ("tarballs", "npm"):
            (folder / name).mkdir()
        pack = (npm, "pack", "--silent")
        run([*pack, *app_node.TARBALLS], folder / "tarballs", "the npm registry")
        run([*pack, app_node.NPM], folder / "npm", "the npm registry")
        [tarball] = (folder / "npm").iterdir()
        run(["tar", "-xzf", str(tarball)], folder / "npm", "tar")
        tarball.unlink()

    return keep(f"race-npm-{short_digest((*app_node.TARBALLS, app_node.NPM))}", fill)


_PYTHON = partial(debian_base, app_python.PACKAGES)
_NODE = partial(debian_base, app_node.PACKAGES)
BASES = {
    app_python.BUILD: Base(_PYTHON, fetch_wheels),
    app_python.SLIM: Base(_PYTHON),
    app_compiled.BUILD: Base(partial(debian_base, app_compiled.PACKAGES)),
    app_compiled.SMALL: Base(busybox_image),
    app_node.BUILD: Base(_NODE, fetch_tarballs),
    app_node.SLIM: Base(_NODE),
}


@dataclass(frozen=True)
class Shelf:
    """The repositories of base images in a registry.

    Attributes:
        address: the registry's host and port.
        folder: a folder for what is pushed.
    """

    address: str
    folder: Path

    @property
    def prefix(self) -> str:
        """What the names of all base images begin with."""
        return f"{self.address}/bases"

    def publish(self, names: Sequence[str]) -> None:
        """Push base images, in the state before and the one after they have moved."""
        for name in names:
            base = BASES[name]
            target = f"{self.prefix}/{name}"
            self._crane("push", str(base.image().layout), f"{target}:plain")
            if base.fetch:
                layer = self._write_layer(name, base.fetch())
                self._append(f"{target}:plain", f"{target}:0", layer)
            else:
                self._crane("copy", f"{target}:plain", f"{target}:0")
            moved = self._write_patch()
            self._append(f"{target}:0", f"{target}:1", moved)

    def move(self, names: Sequence[str], state: int) -> None:
        """Let the tag in the Dockerfiles mean a state of the base images."""
        for name in names:
            self._crane("copy", f"{self.prefix}/{name}:{state}", f"{self.prefix}/{name}:{STABLE}")

    def _append(self, source: str, target: str, layer: Path) -> None:
        words = ("--base", source, "--new_layer", str(layer), "--new_tag", target)
        self._crane("append", *words)

    def _crane(self, *words: str) -> None:
        crane = ensure_suite("forky").bin / "crane"
        run([str(crane), *words], self.folder, "the registry of the race")

    def _write_layer(self, name: str, source: Path) -> Path:
        path = self.folder / f"{name}.tar"
        with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
            for each in sorted(source.iterdir()):
                tar.add(each, each.name, filter=_forget)
        return path

    def _write_patch(self) -> Path:
        path = self.folder / "patch.tar"
        with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
            add_file(tar, "etc/base-release", b"moved\n")
        return path


def _forget(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Return an entry owned by root and of no date."""
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    return entry


def run(command: list[str], folder: Path, what: str) -> None:
    """Run a command of the preparation; its last words are part of the error."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        words = f"See that {what} is in reach"
        raise EngineError(f"{Path(command[0]).name} failed", words, done.stderr[-3000:])
