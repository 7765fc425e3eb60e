"""How costs grow with the number of a build's steps."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.benchmarks.growing.curves import Chapter, Limit
from tests.benchmarks.growing.projects import Project, Taken
from tests.engines import Engine, busybox_context
from tests.quickstart import Place, say

WIDE = 10
"""The most steps of a stage, and the most stages that one gathers: BuildKit needs a minute to
export a single stage of a hundred steps."""
RUNS = 10
"""Every tenth step is a RUN; the others are COPY."""
LARGE = 1000
LIMIT = Limit(0.001, "at most 1 ms for each step")
TEXT = f"""\
The application has 10, 100 and 1,000 steps in stages of {WIDE}, whose results are gathered in
stages of {WIDE} too. The engine has all results already, and both sides have a local cache of all
stages. Plain buildx exports in each build; bxcache exports if something is new. Most of a build
is BuildKit's work, so bxcache itself is judged by the processor time of its own process."""


def measure_steps(sizes: Sequence[int], rounds: int) -> Chapter:
    """Measure builds with these numbers of steps."""
    taken = Taken()
    with Engine() as engine, tempfile.TemporaryDirectory(prefix="bxcache-growth-") as name:
        versions = Place(engine).describe()
        for size in sizes:
            # A build of many steps takes a minute.
            count = rounds if size < LARGE else min(rounds, 2)
            say(f"building {size:,} steps ({count} rounds)")
            project = Project(Path(name) / str(size), engine.environment())
            write_steps(project.app, size)
            project.start()
            taken.build(project, size, count)
    return Chapter("steps", "Steps of a build", "steps", TEXT, taken.list_curves(LIMIT), versions)


def write_steps(folder: Path, steps: int) -> None:
    """Write an application with exactly this many steps, at least 10."""
    (folder / "files").mkdir(parents=True)
    base = busybox_context(folder)
    for number in range(steps):
        (folder / "files" / str(number)).write_text(f"{number}\n")
    (folder / "Dockerfile").write_text("\n".join([base, *list_lines(steps), ""]))


def list_lines(steps: int) -> Iterator[str]:
    """Yield the Dockerfile's lines after those of the base, which has two steps.

    >>> lines = [*list_lines(1000)]
    >>> sum(not line.startswith("FROM") for line in lines)
    998
    """
    # The last stage copies the source.
    left, parts = choose_parts(steps - 3)
    for number in range(parts):
        yield f"FROM base AS part-{number}"
        yield from map(write_step, range(left * number // parts, left * (number + 1) // parts))
    stages = [f"part-{number}" for number in range(parts)]
    for level in range(steps):
        groups = [stages[at : at + WIDE] for at in range(0, len(stages), WIDE)]
        stages = [f"level-{level}-{number}" for number in range(len(groups))]
        for name, group in zip(stages, groups, strict=True):
            yield f"FROM base AS {name}" if len(groups) > 1 else "FROM base"
            yield from (f"COPY --from={each} /made /made/" for each in group)
        if len(groups) == 1:
            break
    yield "COPY src /src"


def choose_parts(steps: int) -> tuple[int, int]:
    """Return how many steps are in stages that are gathered, and the number of these stages."""
    for parts in range(1, steps):
        left = steps - count_gathering(parts)
        if left <= parts * WIDE:
            return left, parts
    raise ValueError(f"{steps} steps are too few")


def count_gathering(parts: int) -> int:
    """Count the steps that gather stages.

    >>> [count_gathering(parts) for parts in (1, 10, 11, 90)]
    [1, 10, 13, 99]
    """
    groups = -(-parts // WIDE)
    return parts if groups == 1 else parts + count_gathering(groups)


def write_step(number: int) -> str:
    """Return an instruction."""
    if number % RUNS == RUNS - 1:
        return f"RUN mkdir -p /made && echo {number} > /made/{number}"
    return f"COPY files/{number} /made/{number}"
