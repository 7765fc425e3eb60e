"""How costs grow with the number of builds that use one store at once."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from tests.benchmarks.growing.curves import Chapter, Curve
from tests.benchmarks.growing.projects import KINDS, Project
from tests.benchmarks.overhead import STAGES
from tests.engines import Engine, busybox_context
from tests.quickstart import Place, say

SIDES = ("bxcache build", "plain buildx")
TEXT = """\
All builds begin at the same moment on one engine, each on a branch of its own. Those of bxcache
share one store; each of plain buildx has a directory of its own, as it would damage a shared one.
The times are until the last build has ended, and the same for each build."""


def measure_crowds(sizes: Sequence[int], rounds: int) -> Chapter:
    """Measure these numbers of builds at once."""
    taken: dict[tuple[str, str], dict[int, list[float]]] = {
        (side, kind): {} for kind in KINDS for side in SIDES
    }
    with Engine() as engine, ExitStack() as stack:
        versions = Place(engine).describe()
        name = stack.enter_context(tempfile.TemporaryDirectory(prefix="bxcache-growth-"))
        say(f"preparing {max(sizes)} branches")
        crowd = Crowd(Path(name), engine.environment(), max(sizes))
        for size in sizes:
            # A large crowd is many builds in itself.
            count = max(rounds // size, 1)
            say(f"{size} builds at once ({count} rounds)")
            for number in range(count):
                for key, seconds in crowd.build(size, f"{size}, {number}").items():
                    taken[key].setdefault(size, []).append(seconds)
    curves = [
        Curve(f"{side}, {kind}", seconds, own=side == SIDES[0])
        for (side, kind), seconds in taken.items()
    ]
    for curve in curves[:]:
        each = {size: [one / size for one in values] for size, values in curve.values.items()}
        curves.append(Curve(f"the same for each: {curve.name}", each, own=False))
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
            project.git("init", "--quiet", f"--initial-branch={project.branch}")
            project.commit()
        together([project.build_raw for project in self.projects], workers=4)
        together([self._own(project) for project in self.projects], workers=4)

    def _own(self, project: Project) -> Callable[[], object]:
        return lambda: project.build_own(self.store)

    def build(self, size: int, mark: str) -> dict[tuple[str, str], float]:
        """Build some branches at once, by each side, without a change and with one."""
        taken = {}
        some, stale = self.projects[:size], self.projects[: self.changed]
        # Plain buildx built these last.
        together([self._own(each) for each in stale], workers=4)
        sides: list[list[Callable[[], object]]]
        sides = [[self._own(each) for each in some], [each.build_raw for each in some]]
        for kind in KINDS:
            for side, actions in zip(SIDES, sides, strict=True):
                if kind != KINDS[0]:
                    for project in some:
                        project.edit(f"{mark}, {side}, {project.branch}")
                        project.commit()
                taken[side, kind] = together(actions, workers=size)
        self.changed = size
        return taken


def together(actions: Sequence[Callable[[], object]], workers: int) -> float:
    """Run actions at once, and return how long all took."""
    with ThreadPoolExecutor(workers) as pool:
        begun = time.monotonic()
        for future in [pool.submit(action) for action in actions]:
            future.result()
        return time.monotonic() - begun
