"""A docker whose streams are saved, including those that bxcache does not show."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

_WRAPPER = """\
#!{python} -IS
import subprocess, sys
with subprocess.Popen(["{docker}", *sys.argv[1:]], stderr=subprocess.PIPE) as process:
    with open("{log}", "ab") as log:
        for line in process.stderr:
            log.write(line)
            sys.stderr.buffer.write(line)
            sys.stderr.buffer.flush()
sys.exit(process.returncode)
"""


def listen(environment: Mapping[str, str], folder: Path, log: Path) -> dict[str, str]:
    """Return an environment in which docker's stderr is also written to a file.

    Args:
        environment: the environment.
        folder: a folder for the wrapper that is found before docker.
        log: the file.
    """
    path = environment["PATH"]
    docker = shutil.which("docker", path=path)
    folder.mkdir(parents=True, exist_ok=True)
    wrapper = folder / "docker"
    wrapper.write_text(_WRAPPER.format(python=sys.executable, docker=docker, log=log))
    wrapper.chmod(0o755)
    return {**environment, "PATH": f"{folder}:{path}"}


def read_transfers(log: Path) -> list[int]:
    """Return the bytes of each transfer of a context, from BuildKit's streams in a file."""
    most: dict[tuple[str, str], int] = {}
    for line in log.read_text().splitlines():
        for status in json.loads(line).get("statuses") or () if line.startswith("{") else ():
            if status["id"].startswith("transferring context"):
                key = status["vertex"], status["id"]
                most[key] = max(most.get(key, 0), status.get("current", 0))
    return list(most.values())
