"""A machine as a build sees it: an engine, maybe another builder, and bxcache on top."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from tests.engines import DockerClient


@dataclass(frozen=True)
class Machine:
    """Somewhere to run bxcache.

    Attributes:
        engine: its docker.
        builder: the builder that is its own, or empty for the engine's.
        home: where bxcache keeps its default store.
    """

    engine: DockerClient
    home: Path
    builder: str = ""

    def environment(self, **more: str) -> dict[str, str]:
        """What a process on this machine has in its environment."""
        own = {"BUILDX_BUILDER": self.builder} if self.builder else {}
        return {**self.engine.environment(), "XDG_CACHE_HOME": str(self.home), **own, **more}

    def start(self, *arguments: str, folder: Path, **more: str) -> subprocess.Popen[str]:
        """Start bxcache and let it run."""
        return subprocess.Popen(
            [sys.executable, "-m", "bxcache", *arguments],
            cwd=folder,
            env=self.environment(**more),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, folder: Path, status: int = 0, **more: str) -> Ran:
        """Run bxcache to its end and make sure of its exit status."""
        with self.start(*arguments, folder=folder, **more) as process:
            out, err = process.communicate(timeout=300)
        assert process.returncode == status, f"exit {process.returncode}\n{out}\n{err}"
        return Ran(out, err)

    def build(self, *arguments: str, folder: Path, status: int = 0, **more: str) -> dict[str, Any]:
        """Run `bxcache build --json` and give its document."""
        words = ("build", "--json", "--network", "none", *arguments)
        ran = self.run(*words, folder=folder, status=status, **more)
        document: dict[str, Any] = json.loads(ran.out)
        assert document["exit_status"] == status or status not in (0, 1), ran.err
        return document

    def raw(
        self, *arguments: str, folder: Path, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run plain `docker buildx build`, without bxcache."""
        done = subprocess.run(
            ["/usr/bin/env", "docker", "buildx", "build", "--network", "none", *arguments],
            cwd=folder,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert not check or done.returncode == 0, done.stderr
        return done


@dataclass(frozen=True)
class Ran:
    """What a process printed."""

    out: str
    err: str


def count(document: dict[str, Any]) -> tuple[int, int]:
    """How many steps were reused and executed."""
    return document["counts"]["reused"], document["counts"]["executed"]
