"""Measures what a registry costs, with bxcache and without: `python3 -m tests.benchmarks fleet`.

Run this on request, on a machine that does nothing else. Every build uses a fresh engine, as on a
CI runner, and everything that is compared is measured in turn in the same run. The registry is
behind a proxy that takes some milliseconds for each request, as a network does.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.figures import BXCACHE, Figures, Finding, alternate, conclude, divide, measure
from tests.engines import DockerClient, Engine, FaultyProxy, Registry, busybox_context
from tests.engines.builders import container_builder
from tests.engines.faults import Delay
from tests.quickstart import guard, say

ROUNDS = 5
PROBES = 15
LATENCY = 0.02
STAGES, STEPS = 6, 8
WORK = 20
"""The seconds of the step that a changed line has executed: a small compilation."""
MOST_UNCHANGED = 0.9
MOST_CHANGED = 1.05
MOST_PROBING = 0.05
KINDS = ("docker", "docker-container")


def write_project(folder: Path) -> None:
    """Write an application of several stages, whose last one needs something of each."""
    (folder / "src").mkdir(parents=True)
    (folder / "src" / "main").write_text("0\n")
    lines = [busybox_context(folder)]
    for stage in range(STAGES):
        lines.append(f"FROM base AS part{stage}")
        lines += [f"RUN head -c 300000 /dev/urandom > /part{stage}.{step}" for step in range(STEPS)]
    lines.append("FROM base AS build")
    lines += [f"COPY --from=part{n} /part{n}.0 /parts/" for n in range(STAGES)]
    lines += ["COPY src /src", f"RUN sleep {WORK}; cat /src/main > /out"]
    lines += ["FROM base", "COPY --from=build /out /out", ""]
    (folder / "Dockerfile").write_text("\n".join(lines))


@dataclass(frozen=True)
class Bench:
    """The setting of all builds: a project, and a repository for each side."""

    folder: Path
    address: str
    kind: str

    def ref(self, side: str) -> str:
        """Return a side's own repository, which has only one scope."""
        return f"{self.address}/{self.kind}-{side}"

    def commands(self, side: str) -> list[str]:
        """Return the build command of a side."""
        if side == "bxcache":
            backend = f"type=registry,ref={self.ref(side)}"
            return [*BXCACHE, "build", "--network", "none", "--backend", backend, "."]
        ref = f"{self.ref(side)}:main"
        return [
            *("/usr/bin/env", "docker", "buildx", "build", "--network", "none"),
            *("--cache-from", f"type=registry,ref={ref}"),
            *("--cache-to", f"type=registry,ref={ref},mode=max,image-manifest=true"),
            ".",
        ]

    def build(self, side: str) -> float:
        """Return how long a side's build takes on a fresh engine, without the engine's start."""
        with self.machine() as environment:
            return measure(self.commands(side), self.folder, environment)

    @contextmanager
    def machine(self) -> Iterator[dict[str, str]]:
        """Start a fresh engine, and yield the environment of its builds."""
        with Engine() as engine:
            if self.kind == "docker":
                yield self.environment(engine)
                return
            with container_builder(engine, network="host") as name:
                yield {**self.environment(engine), "BUILDX_BUILDER": name}

    def environment(self, engine: DockerClient) -> dict[str, str]:
        """Return the environment of a build."""
        home = str(self.folder.parent / "home")
        return {**engine.environment(), "XDG_CACHE_HOME": home, "BXCACHE_PLACE_BRANCH": "main"}


def compare_builds(bench: Bench, rounds: int) -> list[Finding]:
    """Compare builds without a change, then builds with one changed line."""
    for side in ("raw", "bxcache"):
        bench.build(side)
    unchanged = alternate([lambda: bench.build("raw"), lambda: bench.build("bxcache")], rounds)
    numbers = itertools.count(1)
    changed: list[list[float]] = [[], []]
    for _ in range(rounds):
        # Both sides build the same commit.
        (bench.folder / "src" / "main").write_text(f"{next(numbers)}\n")
        for at, side in enumerate(("raw", "bxcache")):
            changed[at].append(bench.build(side))
    return [
        judge(f"{bench.kind}: unchanged", unchanged, MOST_UNCHANGED),
        judge(f"{bench.kind}: one line changed", changed, MOST_CHANGED),
    ]


def judge(name: str, told: list[list[float]], most: float) -> Finding:
    """Judge the builds of both sides."""
    raw, own = told
    ratio = divide(f"    times raw buildx ({name})", own, raw)
    figures = (Figures(f"{name}, bxcache", own), Figures("    raw buildx", raw), ratio)
    return Finding(figures, f"at most {most} times raw buildx", ratio.median <= most)


def compare_probes(address: str, rounds: int) -> Finding:
    """Compare looking up one ref at a time with looking up three at once."""
    from bxcache.registry.repository import probe_refs  # noqa: PLC0415  # needs the environment

    refs = [f"{address}/docker-bxcache:image.linux-amd64.{name}" for name in ("a", "b", "main")]

    def look(*wanted: str) -> float:
        begun = time.monotonic()
        probe_refs(dict.fromkeys(wanted, False), os.environ)
        return time.monotonic() - begun

    single: list[Callable[[], float]] = [lambda ref=ref: look(ref) for ref in refs]  # type: ignore[misc]
    told = alternate([*single, lambda: look(*refs)], rounds)
    slowest = [max(values) for values in zip(*told[:3], strict=True)]
    more = [a - b for a, b in zip(told[3], slowest, strict=True)]
    figures = (
        Figures("probing three candidates at once", told[3]),
        Figures("    the slowest of them alone", slowest),
        Figures("    more", more),
    )
    reached = statistics.median(more) <= MOST_PROBING
    return Finding(figures, f"at most {MOST_PROBING} s more", reached)


def run(rounds: int, kinds: list[str], latency: float) -> int:
    """Measure everything and print the table."""
    findings: list[Finding] = []
    with (
        Registry() as registry,
        FaultyProxy(registry.address) as proxy,
        tempfile.TemporaryDirectory(prefix="bxcache-benchmark-") as name,
    ):
        proxy.fail(fault=Delay(latency))
        folder = Path(name) / "app"
        write_project(folder)
        for kind in kinds:
            say(f"building on fresh machines with {kind} ({rounds} rounds of each)")
            findings += compare_builds(Bench(folder, proxy.address, kind), rounds)
        findings.append(compare_probes(proxy.address, PROBES))
    return conclude(findings)


def main(arguments: Sequence[str]) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser("python3 -m tests.benchmarks fleet", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of each comparison")
    parser.add_argument("--kind", choices=KINDS, action="append", help="only this builder")
    parser.add_argument(
        "--latency", type=float, default=LATENCY, help="seconds that each request takes"
    )
    options = parser.parse_args(arguments)
    kinds = options.kind or list(KINDS)
    return guard("the benchmark", lambda: run(options.rounds, kinds, options.latency))
