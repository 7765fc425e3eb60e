"""The wheel and the sdist, and what people get who install them."""

from __future__ import annotations

import email
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from bxcache.version import __version__
from tests.bootstrap import ROOT
from tests.support.sampling import more

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PYTHONS = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
OTHERS = [each for each in PYTHONS if not sys.version.startswith(f"{each}.")]
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")
# Every module is imported for its examples, and each dependency is used by one of the others.
UNITS = ("archive", "cli", "config_files", "generated", "help", "live", "pictures", "plan", "trace")
LENGTHY = "not cores and not survived and not written"
INSTALLS = re.compile(r"^pip install .*", re.MULTILINE)


def run(*command: str | Path, folder: Path, **known: str) -> str:
    """Run a program to its end and return what it printed; it has to succeed."""
    environment = {**os.environ, **known}
    for name in ("PYTHONPATH", "SOURCE_DATE_EPOCH"):
        environment.pop(name, None)
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def sources() -> set[str]:
    """The files of the repository, with those that are not committed yet."""
    if not (ROOT / ".git").exists():
        pytest.skip("only a clone of the repository knows which files belong to it")
    words = ("git", "ls-files", "--cached", "--others", "--exclude-standard")
    return {name for name in run(*words, folder=ROOT).splitlines() if (ROOT / name).exists()}


@pytest.fixture(scope="module")
def checkout(sources: set[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository's files."""
    return copy_files(sources, tmp_path_factory.mktemp("checkout"))


def copy_files(names: set[str], folder: Path) -> Path:
    for name in sorted(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def packages(checkout: Path) -> Path:
    """The folder of a wheel and an sdist."""
    return build_packages(checkout)


def build_packages(checkout: Path) -> Path:
    run(sys.executable, "-m", "hatchling", "build", folder=checkout)
    return checkout / "dist"


@pytest.fixture(scope="module")
def wheel(packages: Path) -> Path:
    """The wheel."""
    return packages / f"bxcache-{__version__}-py3-none-any.whl"


@pytest.fixture(scope="module")
def unpacked(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is in the sdist."""
    folder = tmp_path_factory.mktemp("sdist")
    with tarfile.open(packages / f"bxcache-{__version__}.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    return folder / f"bxcache-{__version__}"


def make_environment(folder: Path, python: str | Path = sys.executable) -> Path:
    """Make an empty environment and return its Python."""
    run(python, "-m", "venv", "--without-pip", folder, folder=folder.parent)
    return folder / "bin" / "python"


def install(python: Path, *words: str | Path) -> None:
    run(*PIP, "--python", python, "install", "--quiet", *words, folder=python.parent)


def check_program(python: Path) -> None:
    """The programs start, and the Python API can be imported, far from the sources."""
    here = python.parent
    assert run(here / "bxcache", "--version", folder=here) == f"bxcache {__version__}\n"
    assert "Commands:" in run(here / "bxcache", "--help", folder=here)
    assert "SchemaVersion" in run(
        here / "docker-bxcache", "docker-cli-plugin-metadata", folder=here
    )
    run(python, "-c", "import bxcache; bxcache.build", folder=here)


def check_units(python: Path, unpacked: Path, *others: str, **known: str) -> None:
    """The quick tests pass; they and their bxcache are those of the sdist."""
    paths = [f"tests/unit/test_{name}.py" for name in (*UNITS, *others)]
    words = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", LENGTHY, "bxcache", *paths)
    assert " passed" in run(python, *words, folder=unpacked, **known)


def test_two_builds_have_the_same_bytes(sources: set[str], packages: Path, tmp_path: Path) -> None:
    """Another copy, of other times and permissions, in another order, makes the same packages."""
    again = copy_files(sources, tmp_path / "again")
    for number, path in enumerate(sorted(again.rglob("*"), reverse=True)):
        os.utime(path, (number, number))
        path.chmod(path.stat().st_mode | 0o022)
    made = build_packages(again)
    assert len(list(made.iterdir())) == 2
    for path in made.iterdir():
        assert path.read_bytes() == (packages / path.name).read_bytes(), path.name


def test_the_sdist_has_every_file_of_the_repository(sources: set[str], unpacked: Path) -> None:
    """The sdist has all that a clone has, so the tests run there too."""
    found = {str(path.relative_to(unpacked)) for path in unpacked.rglob("*") if path.is_file()}
    assert found == sources | {"PKG-INFO"}


def test_the_wheel_has_every_file_of_the_package(sources: set[str], wheel: Path) -> None:
    """The wheel has the whole package, its licence, and nothing else."""
    names = set(zipfile.ZipFile(wheel).namelist())
    about = {name for name in names if name.startswith(f"bxcache-{__version__}.dist-info/")}
    assert names - about == {name for name in sources if name.startswith("bxcache/")}
    assert any(name.endswith("/licenses/LICENSE") for name in about)


def test_no_link_of_the_description_is_relative(unpacked: Path) -> None:
    """The README shows its pictures and links on a package index's page too."""
    about = email.message_from_string((unpacked / "PKG-INFO").read_text())
    links = re.findall(r"\]\(([^)]*)\)", str(about.get_payload()))
    assert len(links) > 20
    assert [link for link in links if not link.startswith(("https://", "#"))] == []
    assert any(link.endswith("/main/docs/pictures/live.svg") for link in links)


def test_the_lowest_versions_of_the_dependencies_suffice(
    wheel: Path, unpacked: Path, tmp_path: Path
) -> None:
    """Each dependency works in the lowest version that is declared."""
    lowest = tmp_path / "lowest.txt"
    lowest.write_text("\n".join(PROJECT["dependencies"]).replace(">=", "=="))
    python = make_environment(tmp_path / "lowest")
    install(python, "--constraint", lowest, wheel)
    check_program(python)
    # What only the tests need is taken from this environment, behind what is installed there.
    paths = {"base": str(tmp_path / "lowest"), "platbase": str(tmp_path / "lowest")}
    own = Path(sysconfig.get_path("purelib", vars=paths))
    (own / "tests.pth").write_text(sysconfig.get_path("purelib"))
    known = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    check_units(python, unpacked, "registry_connection", **known)


@pytest.mark.parametrize("version", [*OTHERS[-2:], *more(*OTHERS[:-2])])
def test_another_python_works(version: str, wheel: Path, unpacked: Path, tmp_path: Path) -> None:
    """Each Python that is declared and that this machine has works with the newest versions."""
    python = make_environment(tmp_path / version, find_python(version))
    install(python, wheel, "hypothesis", "pytest", "pyyaml")
    check_program(python)
    check_units(python, unpacked)


def find_python(version: str) -> Path:
    """Return a Python of this version, from where systems and pyenv keep them."""
    kept = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser() / "versions"
    name = f"python{version}"
    found = [*kept.glob(f"{version}.*/bin/{name}"), *Path("/usr/bin").glob(name)]
    if not found:
        pytest.skip(f"this machine has no Python {version}")
    return found[-1]


def test_the_printed_wheel_is_the_one_that_is_built(wheel: Path) -> None:
    """The documentation names the wheel of this version, in the folder that it proposes."""
    named = re.findall(r"\./(\S+\.whl)", (ROOT / "docs" / "start.md").read_text())
    assert set(named) == {f"wheels/{wheel.name}"}


def test_the_printed_installation_works(checkout: Path, tmp_path: Path) -> None:
    """The line that the pages tell to type installs bxcache from a checkout."""
    pages = [(ROOT / name).read_text() for name in ("README.md", "docs/start.md")]
    [line] = {line for page in pages for line in INSTALLS.findall(page)}
    python = make_environment(tmp_path / "new")
    pip = python.with_name("pip")
    pip.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m pip --python "{python}" "$@"\n')
    pip.chmod(0o755)
    path = f"{python.parent}:{os.environ['PATH']}"
    run("/bin/sh", "-c", line, folder=checkout, PATH=path)
    check_program(python)
