"""How costs grow with the number of builds that use one store at once."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

from tests.benchmarks.figures import Needs
from tests.benchmarks.growing.curves import Chapter, Curve
from tests.benchmarks.growing.projects import KINDS, Project
from tests.benchmarks.overhead import STAGES
from tests.benchmarks.repositories import git
from tests.engines import Engine, busybox_context
from tests.quickstart import Place, say

MOST_BUILDS = 24
"""The most builds of each kind in all rounds of a size, if there are several rounds."""
Result = TypeVar("Result")
TEXT = """\
All builds begin at the same moment on one engine, each on a branch of its own. Those of bxcache
share one store; each of plain buildx has a directory of its own, as it would damage a shared one.
The times are until the last build has ended; processor times are the sums of bxcache's own
processes."""


def measure_crowds(sizes: Sequence[int], rounds: int) -> Chapter:
    """Measure these numbers of builds at once."""
    taken: dict[str, dict[int, list[float]]] = {}
    with Engine() as engine, ExitStack() as stack:
        versions = Place(engine).describe()
        name = stack.enter_context(tempfile.TemporaryDirectory(prefix="bxcache-growth-"))
        say(f"preparing {max(sizes)} branches")
        crowd = Crowd(Path(name), engine.environment(), max(sizes))
        for size in sizes:
            # A large crowd is many builds in itself.
            count = max(min(rounds, MOST_BUILDS // size), 1)
            say(f"{size} builds at once ({count} rounds)")
            for number in range(count):
                for cost, seconds in crowd.build(size, f"{size}, {number}").items():
                    taken.setdefault(cost, {}).setdefault(size, []).append(seconds)
    curves = [Curve(name, seconds, own="plain" not in name) for name, seconds in taken.items()]
    return Chapter("concurrent", "Builds at once", "builds at once", TEXT, curves, versions)


class Crowd:
    """Branches of an application that have been built before, with one store for all."""

    def __init__(self, folder: Path, engine: dict[str, str], count: int) -> None:
        """Make the branches, and build each once."""
        self.store, self.changed = folder / "store", 0
        self.projects = [
            Project(folder / str(number), engine, f"branch-{number}") for number in range(count)
        ]
        for project in self.projects:
            project.app.mkdir(parents=True)
            stages = STAGES.replace("notes /notes", "src /notes")
            (project.app / "Dockerfile").write_text(busybox_context(project.app) + stages)
            project.edit("first")
            git(project.app, "init", "--quiet", f"--initial-branch={project.branch}")
            project.commit()
        together([project.build_raw for project in self.projects], workers=4)
        together([self._own(project) for project in self.projects], workers=4)

    def _own(self, project: Project) -> Callable[[], Needs]:
        return lambda: project.build_own(self.store)

    def build(self, size: int, mark: str) -> dict[str, float]:
        """Build some branches at once, by each side, without a change and with one."""
        taken = {}
        some, stale = self.projects[:size], self.projects[: self.changed]
        # Plain buildx built these last.
        together([self._own(each) for each in stale], workers=4)
        own = [self._own(each) for each in some]
        for kind in KINDS:
            self._change(some, kind, f"{mark}, bxcache")
            taken[f"bxcache build, {kind}"], needs = together(own, workers=size)
            taken[f"bxcache's processor time, {kind}"] = sum(each.processor for each in needs)
            self._change(some, kind, f"{mark}, plain")
            raw = [each.build_raw for each in some]
            taken[f"plain buildx, {kind}"], _ = together(raw, workers=size)
        self.changed = size
        return taken

    @staticmethod
    def _change(projects: Sequence[Project], kind: str, mark: str) -> None:
        if kind != KINDS[0]:
            for project in projects:
                project.edit(f"{mark}, {project.branch}")
                project.commit()


def together(actions: Sequence[Callable[[], Result]], workers: int) -> tuple[float, list[Result]]:
    """Run actions at once, and return how long all took, and their results."""
    with ThreadPoolExecutor(workers) as pool:
        begun = time.monotonic()
        results = [*pool.map(lambda action: action(), actions)]
        return time.monotonic() - begun, results
