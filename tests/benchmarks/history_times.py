"""The time of `bxcache history` with a large store, against `store ls` and against startup."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bxcache.errors import RecordError
from bxcache.oci.documents import MOST_RECORDS
from tests.benchmarks.figures import (
    BXCACHE,
    Figures,
    Finding,
    alternate,
    divide,
    measure,
    measure_memory,
)
from tests.benchmarks.synthetic_store import count_blobs, make_wide_store, name_scope, write_records
from tests.quickstart import QuickstartError, say

SCOPES, STEPS = 2_000, 20
ROUNDS = 15
MEMORY_RUNS = 3
MOST_SECONDS, MOST_MEMORY = 0.4, 80.0
FOLDER, IMAGE = "service-12", "service-13"
BRANCH, DEFAULT = "branch-007", "branch-000"
HERE, THERE = name_scope(12, 7), name_scope(13, 7)
CONFIG = f"""\
[[cache.backends]]
type = "local"
dir = "../store"

[build]
context = "{FOLDER}"
platforms = ["linux/amd64"]

[images.{IMAGE}]
context = "{IMAGE}"
"""


@dataclass(frozen=True)
class Case:
    """A command in the project.

    Attributes:
        name: its name, for people.
        words: the words after `bxcache`.
        shown: a part of its output.
        branch: the branch being built.
        status: its exit status.
    """

    name: str
    words: tuple[str, ...]
    shown: str
    branch: str = BRANCH
    status: int = 0

    @property
    def command(self) -> list[str]:
        """The whole command."""
        return [*BXCACHE, *self.words]

    @property
    def environment(self) -> dict[str, str]:
        """The environment, which is the same wherever this runs; git is still called."""
        outer = {k: v for k, v in os.environ.items() if not k.startswith("BXCACHE_")}
        place = {"BRANCH": self.branch, "DEFAULT": DEFAULT, "TRUSTED": "true"}
        return {**outer, **{f"BXCACHE_PLACE_{k}": v for k, v in place.items()}}

    def check(self, project: Path) -> None:
        """Check that the command does what is to be measured."""
        ran = subprocess.run(
            self.command,
            cwd=project,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if self.shown not in ran.stdout:
            raise QuickstartError(f"{self.name}: no `{self.shown}` in\n{ran.stdout[:3000]}")

    def measure(self, project: Path) -> float:
        """Return how long the command takes."""
        return measure(self.command, project, self.environment, status=self.status)

    def measure_memory(self, project: Path) -> float:
        """Return the most megabytes of the command."""
        return measure_memory(self.words, project, self.environment, status=self.status)


OTHERS = (
    Case("bxcache store ls", ("store", "ls"), HERE),
    Case("bxcache --version", ("--version",), "bxcache"),
)
CASES = (
    Case("the image of the folder", ("history",), f"{HERE}: built"),
    Case("an image of the config file", ("history", IMAGE), f"{THERE}: built"),
    Case("a scope by its name", ("history", THERE), f"{THERE}: built"),
    Case("a branch without a build", ("history",), f"{name_scope(12, 0)}: built", "topic"),
    Case(
        "a scope that is not there",
        ("history", "nothing"),
        "the scopes are `service-",
        status=RecordError.exit_status,
    ),
)


def measure_history() -> list[Finding]:
    """Measure several commands with the same store."""
    say(f"making a store of {SCOPES:,} scopes with {MOST_RECORDS} records of {STEPS} steps each")
    with tempfile.TemporaryDirectory(prefix="bxcache-history-") as name:
        store = Path(name) / "store"
        made = make_wide_store(store, SCOPES, count_blobs(SCOPES, STEPS))
        size = write_records(store, MOST_RECORDS, STEPS)
        project = make_project(Path(name) / "project")
        say(f"looking at it ({ROUNDS} rounds)")
        every = (*OTHERS, *CASES)
        for case in every:
            case.check(project)
        told = alternate([partial(case.measure, project) for case in every], ROUNDS)
        others, own = told[: len(OTHERS)], told[len(OTHERS) :]
        findings = [
            judge(case, project, each, others) for case, each in zip(CASES, own, strict=True)
        ]
    figures = (
        Figures(f"history: {case.name}", each) for case, each in zip(OTHERS, others, strict=True)
    )
    text = f"{made.blobs:,} blobs, {size / 1e6:.0f} MB of records"
    return [Finding(tuple(figures), text), *findings]


def make_project(folder: Path) -> Path:
    """Make a checkout with two images, beside the store."""
    for image in (FOLDER, IMAGE):
        (folder / image).mkdir(parents=True)
        (folder / image / "Dockerfile").write_text("FROM debian:13-slim AS base\n")
    (folder / "bxcache.toml").write_text(CONFIG)
    measure(["git", "init", "--quiet", f"--initial-branch={BRANCH}"], folder, dict(os.environ))
    return folder


def judge(
    case: Case, project: Path, seconds: Sequence[float], others: Sequence[Sequence[float]]
) -> Finding:
    """Judge one command against the others, and its memory."""
    memory = [case.measure_memory(project) for _ in range(MEMORY_RUNS)]
    times = [
        divide(f"    times {other.name}", seconds, each)
        for other, each in zip(OTHERS, others, strict=True)
    ]
    figures = (
        Figures(f"history: {case.name}", seconds),
        *times,
        Figures("    most memory", memory, "MB"),
    )
    text = f"under {MOST_SECONDS} s and {MOST_MEMORY:.0f} MB"
    reached = figures[0].median < MOST_SECONDS and max(memory) < MOST_MEMORY
    return Finding(figures, text, reached)
