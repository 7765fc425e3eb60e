"""What `bxcache history` takes with a large store, against `store ls` and against starting up."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bxcache.errors import RecordError
from bxcache.store.records import MOST_RECORDS
from tests.figures import BXCACHE, Figures, Finding, alternate, divide, measure, measure_memory
from tests.quickstart import say
from tests.synthetic_store import count_blobs, make_wide_store, name_scope, write_records

SCOPES, STEPS = 2_000, 20
ROUNDS = 15
MEMORY_RUNS = 3
MOST_SECONDS, MOST_MEMORY = 0.4, 80.0
IMAGES = ("service-12", "service-13")
BRANCH, DEFAULT = "branch-007", "branch-000"
CONFIG = """\
[[cache.backends]]
type = "local"
dir = "../store"

[build]
context = "{0}"
platforms = ["linux/amd64"]

[images.{1}]
context = "{1}"
"""


@dataclass(frozen=True)
class Case:
    """A command in the project.

    Attributes:
        name: what it is for people.
        words: what stands behind `bxcache`.
        branch: the branch that is checked out.
        status: the exit status that is expected.
    """

    name: str
    words: tuple[str, ...]
    branch: str = BRANCH
    status: int = 0

    @property
    def environment(self) -> dict[str, str]:
        """The same on a machine of a CI system; git is asked nevertheless."""
        outer = {k: v for k, v in os.environ.items() if not k.startswith("BXCACHE_")}
        place = {"BRANCH": self.branch, "DEFAULT": DEFAULT, "TRUSTED": "true"}
        return {**outer, **{f"BXCACHE_PLACE_{k}": v for k, v in place.items()}}

    def measure(self, project: Path) -> float:
        """How long it takes."""
        command = [*BXCACHE, *self.words]
        return measure(command, project, self.environment, status=self.status)

    def measure_memory(self, project: Path) -> float:
        """The most megabytes that it has."""
        return measure_memory(self.words, project, self.environment, status=self.status)


OTHERS = (
    Case("bxcache --version", ("--version",)),
    Case("bxcache store ls", ("store", "ls")),
)
CASES = (
    Case("the image of this folder", ("history",)),
    Case("an image of the config file", ("history", IMAGES[1])),
    Case("a scope by its name", ("history", name_scope(12, 7))),
    Case("a branch without a build", ("history",), branch="topic"),
    Case("a scope that is not there", ("history", "nothing"), status=RecordError.exit_code),
)


def measure_history(folder: Path) -> list[Finding]:
    """The same store, looked up in several ways."""
    say(f"making a store of {SCOPES:,} scopes with {MOST_RECORDS} records of {STEPS} steps each")
    make_wide_store(folder / "store", SCOPES, count_blobs(SCOPES, STEPS))
    size = write_records(folder / "store", MOST_RECORDS, STEPS)
    project = make_project(folder)
    say(f"looking up what it tells ({ROUNDS} rounds)")
    every = (*OTHERS, *CASES)
    told = alternate([lambda case=case: case.measure(project) for case in every], ROUNDS)  # type: ignore[misc]
    others, own = told[: len(OTHERS)], told[len(OTHERS) :]
    figures = [
        Figures(f"history: {each.name}", taken) for each, taken in zip(OTHERS, others, strict=True)
    ]
    first = Finding(tuple(figures), f"{size / 1e6:.0f} MB of records")
    return [
        first,
        *(judge(case, project, taken, others) for case, taken in zip(CASES, own, strict=True)),
    ]


def make_project(folder: Path) -> Path:
    """A checkout of several images whose store lies beside it."""
    project = folder / "project"
    for image in IMAGES:
        (project / image).mkdir(parents=True)
        (project / image / "Dockerfile").write_text("FROM debian:13-slim AS base\n")
    (project / "bxcache.toml").write_text(CONFIG.format(*IMAGES))
    measure(["git", "init", "--quiet", f"--initial-branch={BRANCH}"], project, dict(os.environ))
    return project


def judge(
    case: Case, project: Path, taken: Sequence[float], others: Sequence[Sequence[float]]
) -> Finding:
    """One command against the others, and its memory."""
    memory = [case.measure_memory(project) for _ in range(MEMORY_RUNS)]
    figures = (
        Figures(f"history: {case.name}", taken),
        *(
            divide(f"    times {other.name}, round by round", taken, values)
            for other, values in zip(OTHERS, others, strict=True)
        ),
        Figures("    most memory", memory, "MB"),
    )
    text = f"under {MOST_SECONDS} s and {MOST_MEMORY:.0f} MB"
    reached = figures[0].median < MOST_SECONDS and max(memory) < MOST_MEMORY
    return Finding(figures, text, reached)
