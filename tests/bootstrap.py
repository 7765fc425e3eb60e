"""The environment that the tests run in, made when it is missing: `python3 -m tests.bootstrap`.

Needs nothing but Python's standard library. Followed by a module's name and its arguments, it goes
on as `python -m MODULE ARGUMENTS` inside the environment.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / ".venv"
PYTHON = FOLDER / "bin" / "python"
STAMP = FOLDER / "bxcache-stamp"
OLDEST = (3, 11)
# The environment's own pip, in a Python that is not too old.
USABLE = f"import sys, pip; sys.exit(sys.version_info < {OLDEST})"
SHOWN = 300


def enter(module: str) -> None:
    """Return at once inside the environment; outside it, make it and start over there.

    Args:
        module: what `python -m` starts; it gets the arguments of this process.
    """
    # The environment is known by its folder: its Python is a link to the machine's own.
    inside = Path(sys.prefix).resolve() == FOLDER.resolve()
    if inside and STAMP.is_file() and STAMP.read_text() == fingerprint():
        return
    become(module, *sys.argv[1:])


def become(module: str, *arguments: str) -> NoReturn:
    """Replace this process by a module that runs inside the environment."""
    prepare()
    os.chdir(ROOT)
    sys.stdout.flush()
    os.execv(PYTHON, [str(PYTHON), "-m", module, *arguments])


def prepare() -> None:
    """Make the environment, unless it exists and is as `pyproject.toml` declares it.

    Several processes may call this at once: one makes it while the others wait.
    """
    FOLDER.mkdir(exist_ok=True)
    lock = os.open(FOLDER, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (STAMP.is_file() and STAMP.read_text() == fingerprint() and is_usable()):
            make()
    finally:
        os.close(lock)


def fingerprint() -> str:
    """Return a digest that changes whenever the environment has to be made anew."""
    wanted = (ROOT / "pyproject.toml").read_bytes()
    return hashlib.sha256(str(ROOT).encode() + b"\n" + wanted).hexdigest()


def is_usable() -> bool:
    """Whether the environment has a Python that starts, is new enough and has pip."""
    if not PYTHON.exists():
        return False
    command = [str(PYTHON), "-c", USABLE]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def make() -> None:
    """Make the environment, with this package and what its tests need."""
    say("preparing .venv (takes about half a minute)")
    STAMP.unlink(missing_ok=True)
    if not is_usable():
        make_empty()
    offline = "see that the package index is in reach, or set PIP_INDEX_URL to one that is"
    install = ("install", "--quiet", "--disable-pip-version-check", "--editable", ".[dev]")
    run([str(PYTHON), "-m", "pip", *install], "pip cannot install what the tests need", offline)
    STAMP.write_text(fingerprint())


def make_empty() -> None:
    """Make the environment with nothing but pip in it."""
    options = ["--clear"]
    if not has_ensurepip():
        options.append("--without-pip")
    command = [sys.executable, "-m", "venv", *options, str(FOLDER)]
    run(command, "Python cannot make an environment", "install Debian's package python3-venv")
    if "--without-pip" in options:
        wheel = find_pip()
        install = ("install", "--quiet", "--no-index", str(wheel))
        remedy = "install Debian's package python3-venv"
        run([str(PYTHON), f"{wheel}/pip", *install], "pip cannot install itself", remedy)


def has_ensurepip() -> bool:
    """Whether this Python brings pip along, which Debian's does in a package of its own."""
    command = [sys.executable, "-m", "ensurepip", "--version"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def find_pip() -> Path:
    """Fetch pip as one file from Debian's package, which is unpacked and not installed."""
    from tests.engines.errors import EngineError  # noqa: PLC0415  # needs the Python checked for
    from tests.engines.packages import pip_wheel  # noqa: PLC0415  # the same

    say("this Python has no pip; fetching Debian's")
    try:
        return pip_wheel()
    except EngineError as error:
        fail(f"there is no pip: {error.what}", "install Debian's package python3-venv")


def run(command: list[str], what: str, remedy: str) -> None:
    """Run a command of the preparation; its last words are part of the error."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line.strip() for line in (done.stderr or done.stdout).strip().splitlines()]
        told = [line for line in lines if line.startswith("ERROR: ")] or lines[-1:]
        why = f" ({told[-1].removeprefix('ERROR: ')[:SHOWN]})" if told else ""
        fail(f"{what}{why}", remedy)


def check_python() -> None:
    """End with what to do if this Python is too old."""
    if sys.version_info[:2] < OLDEST:
        found, wanted = (".".join(map(str, each)) for each in (sys.version_info[:2], OLDEST))
        fail(f"this is Python {found}", f"start it with Python {wanted} or later")


def say(text: str) -> None:
    """Print to a person what takes so long."""
    print(f"tests: {text}", file=sys.stderr, flush=True)


def fail(what: str, remedy: str) -> NoReturn:
    """Exit with one line that says what happened and what to do."""
    sys.exit(f"error: {what}; {remedy}")


def main() -> None:
    """Prepare the environment, and continue as the named module, if any."""
    if sys.argv[1:]:
        become(*sys.argv[1:])
    prepare()


# This comes first, since the next imports may need a newer Python merely to be parsed.
check_python()

if __name__ == "__main__":
    main()
