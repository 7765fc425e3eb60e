"""The base images of the race: made and fetched once, and pushed to a registry of every race."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.benchmarks.race import app_python
from tests.engines import EngineError, debian_base, ensure_suite
from tests.engines.archives import Image, add_file
from tests.engines.packages import short_digest
from tests.engines.storage import keep

STABLE = "stable"
"""The tag that Dockerfiles name, and that moves."""


@dataclass(frozen=True)
class Base:
    """A base image: Debian's packages, and perhaps a folder of what a build would fetch.

    Attributes:
        image: makes the image, or returns the one that was kept.
        folder: where the image has the files.
        fetch: returns the folder that keeps these files on this machine.
    """

    image: Callable[[], Image]
    folder: str = ""
    fetch: Callable[[], Path] | None = None


def fetch_wheels() -> Path:
    """Return the folder with the wheels, downloaded on first use."""

    def fill(folder: Path) -> None:
        pip = (sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check")
        which = ("--no-deps", "--only-binary=:all:", "--python-version", "3.11")
        kind = ("--implementation", "py", "--abi", "none", "--platform", "any")
        _run([*pip, *which, *kind, *app_python.WHEELS], folder, "the Python package index")

    return keep(f"race-wheels-{short_digest(app_python.WHEELS)}", fill)


BASES = {
    app_python.BUILD: Base(partial(debian_base, app_python.PACKAGES), "wheels", fetch_wheels),
    app_python.SLIM: Base(partial(debian_base, app_python.PACKAGES)),
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
                layer = self._write_layer(name, base.folder, base.fetch())
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
        _run([str(crane), *words], self.folder, "the registry of the race")

    def _write_layer(self, name: str, folder: str, source: Path) -> Path:
        path = self.folder / f"{name}.tar"
        with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
            for file in sorted(source.iterdir()):
                add_file(tar, f"{folder}/{file.name}", file)
        return path

    def _write_patch(self) -> Path:
        path = self.folder / "patch.tar"
        with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
            add_file(tar, "etc/base-release", b"moved\n")
        return path


def _run(command: list[str], folder: Path, what: str) -> None:
    """Run a command of the preparation; its last words are part of the error."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        words = f"See that {what} is in reach"
        raise EngineError(f"{Path(command[0]).name} failed", words, done.stderr[-3000:])
