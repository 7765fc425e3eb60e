"""Projects that are built on one engine by bxcache and by plain buildx, in turn."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.benchmarks.figures import Needs, measure, measure_needs
from tests.benchmarks.growing.curves import Curve, Limit
from tests.benchmarks.repositories import git

KINDS = ("unchanged", "changed")
SOURCE = "src"
"""The file that changes."""


@dataclass(frozen=True)
class Project:
    """A git repository in `app` of a folder, with a cache for each side beside it."""

    folder: Path
    engine: Mapping[str, str]
    branch: str = "main"

    @property
    def app(self) -> Path:
        """The build context."""
        return self.folder / "app"

    @property
    def environment(self) -> dict[str, str]:
        """The environment of both sides."""
        place = {"BXCACHE_PLACE_BRANCH": self.branch, "BXCACHE_PLACE_DEFAULT": "main"}
        return {**self.engine, "XDG_CACHE_HOME": str(self.folder / "home"), **place}

    def start(self) -> None:
        """Make the first commit of what is in the folder, and build it with both sides."""
        self.edit("first")
        git(self.app, "init", "--quiet", f"--initial-branch={self.branch}")
        self.commit()
        self.build_raw()
        self.build_own()

    def edit(self, text: str) -> None:
        """Change one line."""
        (self.app / SOURCE).write_text(f"{text}\n")

    def commit(self) -> None:
        """Commit everything."""
        git(self.app, "add", "--all")
        git(self.app, "commit", "--quiet", "--message=x")

    def build_own(self, store: Path | None = None) -> Needs:
        """Build with bxcache, and a store of its own or another one."""
        backend = f"type=local,dir={store or self.folder / 'store'}"
        words = ("build", "--backend", backend, "--progress", "quiet", *OUTPUT)
        return measure_needs(words, self.app, self.environment)

    def build_raw(self) -> float:
        """Build with plain buildx, and a cache of its own."""
        place = self.folder / "raw"
        source = ["--cache-from", f"type=local,src={place}"] if place.exists() else []
        cache = f"type=local,dest={place},mode=max,image-manifest=true"
        command = ["/usr/bin/env", "docker", "buildx", "build", *source, "--cache-to", cache]
        return measure([*command, *OUTPUT], self.app, self.environment)


OUTPUT = shlex.split("--network none --output type=cacheonly .")


@dataclass
class Taken:
    """What the builds of both sides took, by kind and size."""

    own: dict[str, dict[int, list[Needs]]] = field(default_factory=lambda: {k: {} for k in KINDS})
    raw: dict[str, dict[int, list[float]]] = field(default_factory=lambda: {k: {} for k in KINDS})

    def build(self, project: Project, size: int, rounds: int) -> None:
        """Build a project without a change and with one, in turn."""
        for number in range(rounds):
            if number:
                # Plain buildx built last.
                project.build_own()
            for kind in KINDS:
                if kind != KINDS[0]:
                    project.edit(f"{number}, own")
                    project.commit()
                own = project.build_own()
                if kind != KINDS[0]:
                    # Both sides execute the step: the engine has not seen this line.
                    project.edit(f"{number}, raw")
                    project.commit()
                self.own[kind].setdefault(size, []).append(own)
                self.raw[kind].setdefault(size, []).append(project.build_raw())

    def list_curves(self, limit: Limit | None = None) -> list[Curve]:
        """Return the curves; BuildKit's part of a build is not bxcache's own."""
        curves = []
        for kind in KINDS:
            own, raw = self.own[kind], self.raw[kind]
            seconds = {size: [each.seconds for each in taken] for size, taken in own.items()}
            processor = {size: [each.processor for each in taken] for size, taken in own.items()}
            curves += [
                Curve(f"bxcache build, {kind}", seconds, own=False),
                Curve(f"plain buildx, {kind}", raw, own=False),
                Curve(f"bxcache's processor time, {kind}", processor, limit=limit),
            ]
        memory = {
            size: [each.megabytes for each in taken] for size, taken in self.own[KINDS[-1]].items()
        }
        return [*curves, Curve(f"bxcache's most memory, {KINDS[-1]}", memory, "MB")]
