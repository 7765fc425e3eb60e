"""Debian packages, unpacked into the kept folder and never installed."""

import hashlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.engines.errors import EngineError
from tests.engines.libraries import bundle_libraries
from tests.engines.mirror import Mirror, host_codename
from tests.engines.storage import keep

DOCKER_PACKAGES = ("docker.io", "docker-cli", "docker-buildx", "containerd")
SUITE_PACKAGES = {
    "forky": (*DOCKER_PACKAGES, "docker-registry", "crane"),
    "trixie": DOCKER_PACKAGES,
}
# runc of a newer suite needs a newer libc than the host may have.
HOST_PACKAGES = ("runc", "tini", "busybox-static", "debootstrap")
PIP_PACKAGES = ("python3-pip-whl",)
BIN_FOLDERS = ("usr/bin", "usr/sbin", "bin", "sbin")


@dataclass(frozen=True)
class Unpacked:
    """Packages of one suite, unpacked below `root`; `versions` names each as NAME_VERSION_ARCH."""

    root: Path
    versions: tuple[str, ...]

    def programs(self) -> dict[str, Path]:
        """Return every program of the packages by name."""
        folders = (self.root / folder for folder in BIN_FOLDERS)
        found = (file for folder in folders if folder.is_dir() for file in folder.iterdir())
        return {file.name: file for file in sorted(found) if file.is_file()}


@dataclass(frozen=True)
class Toolset:
    """The programs of one engine: put `bin` first on PATH and `buildx` into cli-plugins."""

    suite: str
    bin: Path
    buildx: Path
    versions: tuple[str, ...]

    @property
    def fingerprint(self) -> str:
        """A short text that changes whenever one of the packages does."""
        return short_digest(self.versions)

    @property
    def libraries(self) -> Path:
        """The folder of the libraries that the machine lacks, if it lacks any."""
        return self.bin.parent / "lib"

    def program(self, name: str) -> Path:
        """Return the real file of a program."""
        return (self.bin.parent / "programs" / name).resolve(strict=True)


def short_digest(parts: tuple[str, ...]) -> str:
    """Return a short name for these texts."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


@cache
def ensure_suite(suite: str = "forky") -> Toolset:
    """Return the tools of a suite, fetched and unpacked unless that was done before."""
    require_root()
    if suite not in SUITE_PACKAGES:
        raise EngineError(f"No packages are known for suite {suite!r}", f"Use {[*SUITE_PACKAGES]}")
    docker = unpack_packages(suite, SUITE_PACKAGES[suite])
    host = host_tools()
    versions = docker.versions + host.versions
    tools = keep(
        f"tools-{suite}-{short_digest(versions)}", lambda folder: _link_tools(folder, docker, host)
    )
    buildx = docker.root / "usr/libexec/docker/cli-plugins/docker-buildx"
    return Toolset(suite, tools / "bin", buildx, versions)


def host_tools() -> Unpacked:
    """Return the packages that have to fit the host's own libc, from the host's own suite."""
    return unpack_packages(host_codename(), HOST_PACKAGES)


def pip_wheel() -> Path:
    """Return pip as one file, for a Python that has none; it can be run from there."""
    unpacked = unpack_packages(host_codename(), PIP_PACKAGES)
    [wheel] = (unpacked.root / "usr/share/python-wheels").glob("pip-*.whl")
    return wheel


def unpack_packages(suite: str, names: tuple[str, ...]) -> Unpacked:
    """Return these packages of a suite, fetched from the host's mirror on first use."""

    def fill(folder: Path) -> None:
        debs = Mirror.of_host().download(suite, names, folder / "debs")
        for deb in debs:
            extract(deb, folder / "root")
        (folder / "versions").write_text("\n".join(deb.stem for deb in debs))
        shutil.rmtree(folder / "debs")

    kept = keep(f"packages-{suite}-{short_digest(names)}", fill)
    return Unpacked(kept / "root", tuple((kept / "versions").read_text().splitlines()))


def extract(deb: Path, root: Path) -> None:
    """Unpack the files of a package below a folder."""
    root.mkdir(exist_ok=True)
    subprocess.run(["dpkg-deb", "-x", str(deb), str(root)], check=True)


def require_root() -> None:
    """Raise unless this process may start engines."""
    if os.geteuid() != 0:
        raise EngineError(
            "Test engines need root, for mounts and namespaces",
            "Run as root, or set BXCACHE_TEST_DOCKER_HOST to an engine that is running",
        )


def _link_tools(folder: Path, docker: Unpacked, host: Unpacked) -> None:
    for made in ("bin", "programs"):
        (folder / made).mkdir()
    programs = host.programs() | docker.programs()
    # Debian's docker-init is a link to an absolute path, which leads nowhere here.
    programs["docker-init"] = host.programs()["tini-static"]
    for name, file in programs.items():
        (folder / "bin" / name).symlink_to(file)
        (folder / "programs" / name).symlink_to(file)
    bundle_libraries(folder, programs)
