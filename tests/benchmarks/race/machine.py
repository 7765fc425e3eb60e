"""A machine of the race: a fresh engine, and an empty disk beside it, as a CI system gives one."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.benchmarks.figures import BXCACHE
from tests.benchmarks.race.application import Application
from tests.benchmarks.race.commits import MAIN, Commit
from tests.benchmarks.race.memory import Peak
from tests.benchmarks.race.steps import Steps, read_classic, read_streams
from tests.engines import DockerClient
from tests.quickstart import QuickstartError

IMAGE = "race-app"
"""The image that every build leaves in its engine."""
_NETWORK = ("--network", "none")


@dataclass(frozen=True)
class Built:
    """A build that came to its end.

    Attributes:
        status: its exit status.
        steps: how many of its steps were reused and executed.
        document: what bxcache reports of it; empty for others.
        words: the last lines that it printed.
    """

    status: int
    steps: Steps
    document: Mapping[str, Any] = field(default_factory=dict)
    words: str = ""


@dataclass
class Carried:
    """The bytes of files that were brought to a machine, and taken away from it."""

    brought: int = 0
    taken: int = 0


@dataclass(frozen=True)
class Machine:
    """Where one approach builds one commit.

    Attributes:
        engine: the engine, which has nothing.
        folder: the machine's disk, which goes with it.
        outside: what is kept for this approach between its machines.
        checkout: the application's files.
        repository: this approach's own repository of the registry.
        application: what is built.
        commit: its state.
        peak: the watch over the memory of builds.
        carried: the files that are brought and taken.
    """

    engine: DockerClient
    folder: Path
    outside: Path
    checkout: Path
    repository: str
    application: Application
    commit: Commit
    peak: Peak
    carried: Carried = field(default_factory=Carried)

    @property
    def environment(self) -> dict[str, str]:
        """The environment of every command."""
        return {
            **self.engine.environment(),
            "XDG_CACHE_HOME": str(self.folder / "home"),
            "BXCACHE_PLACE_BRANCH": self.commit.branch,
            "BXCACHE_PLACE_DEFAULT": MAIN,
            "BXCACHE_PLACE_TRUSTED": "true",
        }

    def run(self, *command: str, **more: str) -> str:
        """Run a command of the restoring or the saving and return what it prints on stdout."""
        done = self._start(command, more)
        if done.returncode:
            raise QuickstartError(f"{' '.join(command)[:300]}\n{done.stderr[-3000:]}")
        return done.stdout

    def docker(self, *words: str) -> str:
        """Run docker."""
        return self.run("/usr/bin/env", "docker", *words)

    def bxcache(self, *words: str) -> str:
        """Run a command of bxcache that builds nothing."""
        return self.run(*BXCACHE, *words)

    def buildx(self, *builds: Sequence[str]) -> Built:
        """Build with plain buildx, several times one after the other until one fails."""
        streams: list[list[str]] = []
        status = 0
        for words in builds:
            build = ("/usr/bin/env", "docker", "buildx", "build", "--progress", "rawjson")
            done = self._build((*build, *_NETWORK, *words, "."))
            streams.append(done.stderr.splitlines())
            if status := done.returncode:
                break
        return Built(status, read_streams(streams), words="\n".join(streams[-1][-20:]))

    def classic(self, *words: str) -> tuple[Built, str]:
        """Build with the classic builder; return what it printed, too."""
        build = ("/usr/bin/env", "docker", "build", *_NETWORK, *words, ".")
        done = self._build(build, DOCKER_BUILDKIT="0")
        built = Built(done.returncode, read_classic(done.stdout), words=done.stderr[-2000:])
        return built, done.stdout

    def build_own(self, *words: str) -> Built:
        """Build with bxcache."""
        done = self._build((*BXCACHE, "build", "--json", *_NETWORK, *words, "."))
        document = json.loads(done.stdout or "{}")
        counts = document.get("counts") or {"reused": 0, "executed": 0, "failed": 0}
        steps = Steps(counts["reused"], counts["executed"] + counts["failed"])
        return Built(done.returncode, steps, document, done.stderr[-2000:])

    def pack(self, name: str) -> None:
        """Carry a folder of this machine away, as one file."""
        file = self.outside / f"{name}.tar.zst"
        self._pipe(f"tar -C {self.folder} -cf - {name} | zstd -T0 -q -f -o {file}")
        self.note_taken(file)

    def unpack(self, name: str) -> None:
        """Bring a folder to this machine, if there is one."""
        file = self.outside / f"{name}.tar.zst"
        if file.exists():
            self._pipe(f"zstd -T0 -q -dc {file} | tar -C {self.folder} -xf -")
            self.note_brought(file)

    def note_taken(self, file: Path) -> None:
        """Count a file that was carried away."""
        self.carried.taken += file.stat().st_size

    def note_brought(self, file: Path) -> None:
        """Count a file that was brought."""
        self.carried.brought += file.stat().st_size

    def _pipe(self, line: str) -> None:
        self.run("bash", "-o", "pipefail", "-c", line)

    def _build(self, command: tuple[str, ...], **more: str) -> subprocess.CompletedProcess[str]:
        return self._start(command, more, watched=True)

    def _start(
        self, command: tuple[str, ...], more: Mapping[str, str], *, watched: bool = False
    ) -> subprocess.CompletedProcess[str]:
        process = subprocess.Popen(
            command,
            cwd=self.checkout,
            env={**self.environment, **more},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        if watched:
            self.peak.follow("client", process.pid)
        try:
            out, err = process.communicate()
        except BaseException:
            process.terminate()
            process.wait()
            raise
        finally:
            self.peak.leave("client")
        return subprocess.CompletedProcess(command, process.returncode, out, err)
