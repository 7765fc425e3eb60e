"""Measures an inline cache of all stages: `python3 -m tests.benchmarks inline`.

Run this on request, on a machine that does nothing else. bxcache's one command is compared with
the commands that people type by hand: they build each stage from the images of all, with an inline
cache in it, and push it, one after the other. Every commit is built on fresh engines of the classic
image store, which can keep no other cache, and both sides build the same commits in turn. The
registry is behind a proxy that takes some milliseconds for each request, as a network does.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.figures import BXCACHE, Figures, Finding, conclude, divide
from tests.engines import Engine, FaultyProxy, Registry, busybox_context
from tests.engines.faults import Delay
from tests.quickstart import QuickstartError, guard, say
from tests.support.listening import listen, read_transfers

ROUNDS = 5
LATENCY = 0.02
STAGES = ("base", "deps", "build")
"""The named stages, in the order of the Dockerfile; the last one has no name."""
SIDES = ("bxcache", "by hand")
KINDS = ("first build", "nothing changed", "source changed", "dependencies changed")
"""The commits of a round, in this order."""
CHANGED = {KINDS[2]: "src/main", KINDS[3]: "deps.txt"}
MOST = 1.0
"""bxcache takes no longer."""
CONTEXT = 20_000_000
INSTALL, COMPILE = 3, 2
"""How long the dependencies take to install and the source to compile, in seconds."""
DOCKERFILE = f"""\
FROM base AS deps
COPY deps.txt /deps.txt
RUN --network=none sleep {INSTALL}; mkdir /deps; head -c 8000000 /dev/urandom > /deps/blob
RUN --network=none cp /deps.txt /deps/list
FROM base AS build
COPY --from=deps /deps /deps
COPY src /src
RUN --network=none sleep {COMPILE}; mkdir /out; cat /src/main /deps/list > /out/app
FROM base
COPY --from=build /out /app
COPY assets /assets
RUN --network=none echo done > /done
"""


def write_project(folder: Path) -> None:
    """Write an application of four stages, with a context of some megabytes."""
    for name in ("src", "assets"):
        (folder / name).mkdir(parents=True)
    (folder / "assets" / "pictures").write_bytes(os.urandom(CONTEXT))
    (folder / "src" / "main").write_text("0\n")
    (folder / "deps.txt").write_text("0\n")
    base = busybox_context(folder).replace("RUN [", "RUN --network=none [")
    (folder / "Dockerfile").write_text(base + DOCKERFILE)


@dataclass(frozen=True)
class Build:
    """A side's build of a commit: its seconds, executed steps, and bytes of context sent."""

    seconds: float
    executed: int
    sent: int


@dataclass(frozen=True)
class Bench:
    """A project, and a repository for each side of a round."""

    folder: Path
    address: str
    round: int

    def build(self, side: str) -> Build:
        """Build the commit on a fresh engine for a side; the engine's start does not count."""
        log = self.folder.parent / "log"
        log.write_bytes(b"")
        with Engine(containerd_store=False) as engine:
            environment = {
                **listen(engine.environment(), self.folder.parent / "bin", log),
                "XDG_CACHE_HOME": str(self.folder.parent / "home"),
                "BXCACHE_PLACE_BRANCH": "main",
            }
            begun = time.monotonic()
            for command in self._list_commands(side):
                self._run(command, environment)
            seconds = time.monotonic() - begun
        return Build(seconds, count_executed(log), sum(read_transfers(log)))

    def _list_commands(self, side: str) -> Iterator[list[str]]:
        ref = f"{self.address}/{side.replace(' ', '-')}-{self.round}"
        if side == "bxcache":
            words = ("--tag", f"{ref}:main", "--push", ".")
            yield [*BXCACHE, "build", "--backend", f"type=inline,ref={ref},stages=all", *words]
            return
        names = (*STAGES, "main")
        sources = [word for name in names for word in ("--cache-from", f"{ref}:{name}")]
        inline = ("--build-arg", "BUILDKIT_INLINE_CACHE=1", "--push")
        for name in names:
            target = ("--target", name) if name in STAGES else ()
            words = ("--progress", "rawjson", *target, *sources, *inline, "--tag", f"{ref}:{name}")
            yield ["/usr/bin/env", "docker", "buildx", "build", *words, "."]

    def _run(self, command: list[str], environment: Mapping[str, str]) -> None:
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise QuickstartError(f"{shlex.join(command)}\n{done.stderr[-3000:]}")


def count_executed(log: Path) -> int:
    """Count the executed steps of all builds whose streams are in a file, each once.

    A step counts even if a later build on the same engine finds it.
    """
    begun: set[str] = set()
    for line in log.read_text().splitlines():
        for vertex in json.loads(line).get("vertexes") or () if line.startswith("{") else ():
            is_step = "] RUN " in vertex["name"] or "] COPY " in vertex["name"]
            if is_step and vertex.get("started") and not vertex.get("cached"):
                begun.add(vertex["digest"])
    return len(begun)


def run(rounds: int, latency: float) -> int:
    """Measure everything and print the table."""
    told: dict[tuple[str, str], list[Build]] = {(k, s): [] for k in KINDS for s in SIDES}
    with (
        Registry() as registry,
        FaultyProxy(registry.address) as proxy,
        tempfile.TemporaryDirectory(prefix="bxcache-benchmark-") as name,
    ):
        proxy.fail(fault=Delay(latency))
        folder = Path(name) / "app"
        write_project(folder)
        for number in range(rounds):
            say(f"round {number + 1} of {rounds}: {len(KINDS)} commits on fresh engines")
            bench = Bench(folder, proxy.address, number)
            for kind in KINDS:
                if kind in CHANGED:
                    (folder / CHANGED[kind]).write_text(f"{number + 1}\n")
                for side in SIDES if number % 2 else reversed(SIDES):
                    told[kind, side].append(bench.build(side))
    return conclude([judge(kind, *(told[kind, side] for side in SIDES)) for kind in KINDS])


def judge(kind: str, own: list[Build], hand: list[Build]) -> Finding:
    """Judge the builds of both sides for one kind of commit."""
    seconds = [[each.seconds for each in side] for side in (own, hand)]
    ratio = divide("    times the commands by hand", *seconds)
    figures = [Figures(f"{kind}, bxcache", seconds[0]), Figures("    by hand", seconds[1]), ratio]
    for side, builds in zip(SIDES, (own, hand), strict=True):
        figures.append(
            Figures(f"    steps executed, {side}", [each.executed for each in builds], "")
        )
        sent = [each.sent / 1e6 for each in builds]
        figures.append(Figures(f"    context sent, {side}", sent, "MB"))
    text = f"at most {MOST} times the commands by hand"
    return Finding(tuple(figures), text, ratio.median <= MOST)


def main(arguments: Sequence[str]) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser("python3 -m tests.benchmarks inline", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of all commits")
    parser.add_argument(
        "--latency", type=float, default=LATENCY, help="seconds that each request takes"
    )
    options = parser.parse_args(arguments)
    return guard("the benchmark", lambda: run(options.rounds, options.latency))
