"""Tools of the benchmarks, which measure commands, compare them and print the findings."""

from __future__ import annotations

import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tests.quickstart import QuickstartError

BXCACHE = (sys.executable, "-m", "bxcache")
# What the process alone needed, written when it ends: its peak, as the kernel saw it, and its time.
WITH_NEEDS = """\
import atexit, os, time
def tell():
    with open("/proc/self/status") as status, open(os.environ["BENCHMARK_NEEDS"], "w") as needs:
        print(*[line for line in status if line.startswith("VmHWM:")], file=needs)
        print("processor:", time.process_time(), file=needs)
atexit.register(tell)
from bxcache.cli.main import main
main()
"""


@dataclass(frozen=True)
class Figures:
    """One quantity, measured several times, in seconds or in `unit`."""

    name: str
    values: Sequence[float]
    unit: str = "s"

    @property
    def median(self) -> float:
        """The median of the values."""
        return statistics.median(self.values)

    def render(self) -> str:
        """Return a row of the table."""
        figure = f"{self.name:<52} {self.median:>8.3f} {self.unit:<2}"
        spread = f"{min(self.values):.3f} to {max(self.values):.3f}"
        return f"{figure}  {spread:<20} {len(self.values)}"


@dataclass(frozen=True)
class Finding:
    """The result for one target; `reached` is None where there is no target."""

    figures: tuple[Figures, ...]
    text: str
    reached: bool | None = None

    def render(self) -> str:
        """Return the figures, and the conclusion below them."""
        words = {True: "ok", False: "MISSED", None: "no target"}
        rows = [each.render() for each in self.figures]
        return "\n".join([*rows, f"  {words[self.reached]}: {self.text}", ""])


def conclude(findings: Iterable[Finding]) -> int:
    """Print the table, and return the exit status: 1 if a target was missed."""
    findings = list(findings)
    print(f"\n{'':<52} {'median':>8}     {'least to most':<20} runs")
    print("\n".join(finding.render() for finding in findings))
    targets = [finding.reached for finding in findings if finding.reached is not None]
    missed = targets.count(False)
    print(f"{missed} of {len(targets)} targets missed" if missed else "all targets reached")
    return 1 if missed else 0


def measure(
    command: Sequence[str],
    folder: Path,
    environment: dict[str, str],
    stdin: IO[bytes] | int = subprocess.DEVNULL,
    *,
    status: int = 0,
) -> float:
    """Run a command to its end, check its status, and return how long it took."""
    with tempfile.TemporaryFile("w+") as told:
        begun = time.monotonic()
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            stdin=stdin,
            stdout=subprocess.DEVNULL,
            stderr=told,
            check=False,
        )
        seconds = time.monotonic() - begun
        if done.returncode != status:
            told.seek(0)
            raise QuickstartError(f"{shlex.join(command)}\n{told.read()[-3000:]}")
    return seconds


def measure_pipe(
    first: Sequence[str], second: Sequence[str], folder: Path, environment: dict[str, str]
) -> float:
    """Run `first | second` to its end, and return how long it took."""
    begun = time.monotonic()
    with subprocess.Popen(first, cwd=folder, env=environment, stdout=subprocess.PIPE) as source:
        assert source.stdout is not None
        measure(second, folder, environment, stdin=source.stdout)
    if source.returncode:
        raise QuickstartError(f"{shlex.join(first)} ended with status {source.returncode}")
    return time.monotonic() - begun


@dataclass(frozen=True)
class Needs:
    """What a command needed.

    Attributes:
        seconds: the time until its end.
        processor: the processor seconds of bxcache's own process, without those that it starts.
        megabytes: the most memory of that process.
    """

    seconds: float
    processor: float
    megabytes: float


def measure_needs(
    words: Sequence[str], folder: Path, environment: dict[str, str], *, status: int = 0
) -> Needs:
    """Run bxcache with some words, and return what it needed."""
    with tempfile.NamedTemporaryFile("r", prefix="bxcache-needs-") as needs:
        command = [sys.executable, "-c", WITH_NEEDS, *words]
        named = {**environment, "BENCHMARK_NEEDS": needs.name}
        seconds = measure(command, folder, named, status=status)
        told = dict(line.split()[:2] for line in needs if line.strip())
    return Needs(seconds, float(told["processor:"]), int(told["VmHWM:"]) * 1024 / 1e6)


def measure_memory(
    words: Sequence[str], folder: Path, environment: dict[str, str], *, status: int = 0
) -> float:
    """Return the most megabytes of bxcache's own process, without the processes that it starts."""
    return measure_needs(words, folder, environment, status=status).megabytes


def alternate(actions: Sequence[Callable[[], float]], rounds: int) -> list[list[float]]:
    """Return the values of each action; all run in turn, every other time in reverse.

    An extra turn before the first one only warms up.
    """
    told: list[list[float]] = [[] for _ in actions]
    for number in range(rounds + 1):
        numbered = list(enumerate(actions))
        for at, action in numbered if number % 2 else reversed(numbered):
            value = action()
            if number:
                told[at].append(value)
    return told


def divide(name: str, own: Sequence[float], other: Sequence[float]) -> Figures:
    """Divide the values of one side by the other's, round by round."""
    return Figures(name, [a / b for a, b in zip(own, other, strict=True)], "x")
