"""Measures what bxcache costs and what it saves: `python3 -m tests.benchmarks overhead`.

Run this on request, on a machine that does nothing else. Everything that is compared is measured
in the same run, alternately.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.benchmarks.figures import BXCACHE, Figures, Finding, conclude, measure, measure_memory
from tests.engines import Engine, busybox_context
from tests.quickstart import (
    SUITES,
    QuickstartError,
    Trial,
    guard,
    open_trial,
    say,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

PAIRS = 11
HELPS = 15
MEMORY_RUNS = 3
LEAST_SPEEDUP = 3.0
MOST_OVERHEAD = 0.4
MOST_HELP = 0.15
MOST_MEMORY = 80.0
STAGES = """\
FROM base AS notes
COPY notes /notes
RUN mkdir /made && sort /notes > /made/notes
FROM base
COPY --from=notes /made /made
RUN test -s /made/notes
"""


@contextmanager
def small_project() -> Iterator[Path]:
    """Make an application that builds in a second, so that the time around the build shows."""
    with tempfile.TemporaryDirectory(prefix="bxcache-benchmark-") as name:
        folder = Path(name) / "app"
        folder.mkdir()
        (folder / "Dockerfile").write_text(busybox_context(folder) + STAGES)
        (folder / "notes").write_text("notes\n")
        yield folder


def read_command(words: Sequence[str], folder: Path, environment: dict[str, str]) -> list[str]:
    """Return the docker command of a build, as `--dry-run` prints it, with a cache of its own."""
    ran = subprocess.run(
        [*BXCACHE, *words, "--dry-run"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line for line in ran.stdout.splitlines() if not line.startswith("#")]
    command = shlex.split(" ".join(line.removesuffix("\\") for line in lines))
    return ["/usr/bin/env", *(own_places(word, folder.parent) for word in command)]


def own_places(word: str, folder: Path) -> str:
    """Return a word with the store's staging and the metadata file in other folders."""
    fields = word.split(",")
    if fields[0] == "type=local":
        return ",".join(
            f"{field.partition('=')[0]}={folder}/raw" if field[:4] in ("src=", "dest") else field
            for field in fields
        )
    return f"{folder}/metadata.json" if word.endswith("metadata.json") else word


def compare_commands(pairs: int) -> list[Finding]:
    """(b) and (d): Compare bxcache with raw docker, everything cached, one after the other."""
    say(f"comparing with raw docker ({pairs} pairs)")
    with Engine() as engine, small_project() as folder:
        environment = {**engine.environment(), "XDG_CACHE_HOME": str(folder.parent / "home")}
        store = folder.parent / "store"
        backend = f"type=local,dir={store}"
        words = ("build", "--network", "none", "--backend", backend, "--progress", "rawjson", ".")
        bxcache = [*BXCACHE, *words]
        measure(bxcache, folder, environment)
        # Raw docker has the same cache, in a folder of its own that is not a store.
        shutil.copytree(store, folder.parent / "raw")
        raw = read_command(words, folder, environment)
        both = [[measure(each, folder, environment) for each in (raw, bxcache)]]
        both += [
            [measure(each, folder, environment) for each in (raw, bxcache)] for _ in range(pairs)
        ]
        memory = [measure_memory(words, folder, environment) for _ in range(MEMORY_RUNS)]
    # The first of each warms up.
    return [judge_time(both[1:]), judge_memory(memory)]


def judge_time(pairs: list[list[float]]) -> Finding:
    """Judge the pairs."""
    raw, own = ([pair[number] for pair in pairs] for number in (0, 1))
    more = Figures("    more, pair by pair", [mine - its for its, mine in pairs])
    figures = (
        Figures("(b) bxcache build, everything cached", own),
        Figures("    the same docker buildx build without bxcache", raw),
        more,
    )
    return Finding(figures, f"at most {MOST_OVERHEAD} s more", more.median <= MOST_OVERHEAD)


def judge_memory(megabytes: list[float]) -> Finding:
    """Judge bxcache's memory."""
    figures = Figures("(d) most memory of bxcache itself", megabytes, "MB")
    return Finding((figures,), f"under {MOST_MEMORY:.0f} MB", max(megabytes) < MOST_MEMORY)


def compare_machines(rounds: int, suite: str) -> Finding:
    """(a): Compare the first build on one machine with the next one on a brand-new machine."""
    pairs = []
    with open_trial(suite) as whole:
        for number in range(rounds):
            say(f"first and cached build of the quickstart, round {number + 1} of {rounds}")
            trial = Trial(whole.folder / str(number), whole.suite, whole.base)
            trial.folder.mkdir()
            pairs.append((build_on_new_machine(trial), build_on_new_machine(trial, cached=True)))
    first, second = ([pair[number] for pair in pairs] for number in (0, 1))
    times = Figures("    times as fast, round by round", [a / b for a, b in pairs], "x")
    figures = (
        Figures("(a) first build, machine A", first),
        Figures("    cached build, brand-new machine B", second),
        times,
    )
    words = f"at least {LEAST_SPEEDUP:.0f} times as fast"
    return Finding(figures, words, times.median >= LEAST_SPEEDUP)


def build_on_new_machine(trial: Trial, *, cached: bool = False) -> float:
    """Return how long the quickstart's build takes on a new machine."""
    with trial.machine() as place:
        built = trial.build(place, quiet=True)
    if cached and built.document["counts"]["executed"]:
        raise QuickstartError("steps were executed on the second machine")
    return built.seconds


def time_help() -> Finding:
    """(c): Measure how long a person waits for the help."""
    say("timing the help")
    script = str(Path(sys.executable).with_name("bxcache"))
    runs = [measure([script, "--help"], Path.cwd(), dict(os.environ)) for _ in range(HELPS + 1)]
    figures = Figures("(c) bxcache --help", runs[1:])
    return Finding((figures,), f"under {MOST_HELP} s", figures.median < MOST_HELP)


def run(rounds: int, pairs: int, suite: str) -> int:
    """Measure everything and print the table."""
    findings = [*compare_commands(pairs), time_help()]
    if rounds:
        findings.insert(0, compare_machines(rounds, suite))
    return conclude(findings)


def main(arguments: Sequence[str]) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser("python3 -m tests.benchmarks overhead", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="of (a); 0 leaves it out")
    parser.add_argument("--pairs", type=int, default=PAIRS, help="of (b) and (d)")
    parser.add_argument("--suite", choices=SUITES, default="forky", help="of (a)")
    options = parser.parse_args(arguments)
    return guard("the benchmark", lambda: run(options.rounds, options.pairs, options.suite))
