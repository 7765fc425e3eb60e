"""Shared libraries that unpacked programs need and a small machine may lack."""

import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from tests.engines.errors import EngineError
from tests.engines.mirror import Mirror, host_codename, run_apt

LAUNCHER = """\
#!/bin/sh
LD_LIBRARY_PATH="${{0%/*}}/../lib" exec '{program}' "$@"
"""
NEEDED = re.compile(r"^\s*(\S+) => (\S+)", re.MULTILINE)
SONAME = re.compile(r"(?P<stem>.+)\.so\.(?P<version>[\d.]+)")
_PATH = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
# Libraries need libraries; far fewer rounds than this settle it.
ROUNDS = 5


def needed_libraries(program: Path, folder: Path | None = None) -> dict[str, Path | None]:
    """Return the libraries a program loads, by name, None where the machine has none.

    `folder` is searched first.
    """
    search = {"LD_LIBRARY_PATH": str(folder)} if folder else {}
    listed = subprocess.run(
        ["ldd", str(program)], capture_output=True, text=True, check=False, env={**search, **_PATH}
    )
    if "not found (required by" in listed.stderr + listed.stdout:
        raise EngineError(
            f"{program.name} needs a newer libc than this machine has",
            "Use a newer Debian, or set BXCACHE_TEST_DOCKER_HOST to a running engine",
            listed.stderr,
        )
    found = NEEDED.findall(listed.stdout)
    return {name: None if path == "not" else Path(path) for name, path in found}


def missing_libraries(programs: Iterable[Path], folder: Path | None = None) -> set[str]:
    """Return the names of all libraries that these programs would not find."""
    needs = (needed_libraries(program, folder) for program in programs)
    return {name for need in needs for name, path in need.items() if path is None}


def package_names(soname: str) -> tuple[str, ...]:
    """Return the names a library's package may have, by Debian's rule for naming them."""
    match = SONAME.fullmatch(soname)
    if not match:
        return ()
    stem, version = match["stem"].lower().replace("_", "-"), match["version"]
    name = f"{stem}-{version}" if stem[-1].isdigit() else f"{stem}{version}"
    return (name, f"{name}t64")


def bundle_libraries(tools: Path, programs: dict[str, Path]) -> None:
    """Fetch what is missing into `tools`/lib and launch the programs that need it through it.

    On almost every machine nothing is missing: apt itself needs the same libraries.
    """
    incomplete = {name: file for name, file in programs.items() if missing_libraries([file])}
    if not incomplete:
        return
    libraries = tools / "lib"
    libraries.mkdir()
    _fetch_libraries(libraries, incomplete.values())
    for name, file in incomplete.items():
        link = tools / "bin" / name
        link.unlink()
        link.write_text(LAUNCHER.format(program=file))
        link.chmod(0o755)


def _fetch_libraries(libraries: Path, programs: Iterable[Path]) -> None:
    apt = libraries.parent / "apt"
    settings = Mirror.of_host().prepare_apt(host_codename(), apt)
    for _ in range(ROUNDS):
        for soname in missing_libraries(programs, libraries):
            _fetch_library(settings, soname, libraries)
    shutil.rmtree(apt)
    if missing := missing_libraries(programs, libraries):
        raise EngineError(
            f"Shared libraries are missing: {', '.join(sorted(missing))}",
            "Install the packages that hold them",
        )


def _fetch_library(settings: Path, soname: str, libraries: Path) -> None:
    unpacked = settings.parent / "unpacked"
    for name in package_names(soname):
        try:
            run_apt(settings, "download", name)
        except EngineError:
            continue
        for deb in settings.parent.glob("*.deb"):
            subprocess.run(["dpkg-deb", "-x", str(deb), str(unpacked)], check=True)
            deb.unlink()
        for file in unpacked.rglob("*.so.*"):
            shutil.copy2(file, libraries / file.name, follow_symlinks=True)
        return
