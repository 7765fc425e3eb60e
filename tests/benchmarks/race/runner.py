"""Runs histories: each approach has its turn at each commit, on a machine of its own."""

from __future__ import annotations

import itertools
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.benchmarks.race.application import START, Application, spell
from tests.benchmarks.race.approaches import TAGGED, Approach
from tests.benchmarks.race.bases import Shelf
from tests.benchmarks.race.commits import MAIN, Commit
from tests.benchmarks.race.entrants import BASELINE
from tests.benchmarks.race.kept import measure_folder, measure_pushed, measure_tagged
from tests.benchmarks.race.machine import IMAGE, Built, Machine
from tests.benchmarks.race.memory import Peak
from tests.benchmarks.race.results import Run
from tests.benchmarks.repositories import git
from tests.engines import Engine, FaultyProxy, Registry
from tests.engines.faults import Delay
from tests.quickstart import QuickstartError

LATENCY = 0.02


@dataclass(frozen=True)
class Track:
    """Where all histories run: the registries, and a folder for everything else.

    Attributes:
        folder: the folder.
        registry: the registry of caches.
        proxy: the way to it, on which bytes are counted and requests take their time.
        shelf: the base images, in a registry of their own.
    """

    folder: Path
    registry: Registry
    proxy: FaultyProxy
    shelf: Shelf


@contextmanager
def open_track(latency: float = LATENCY) -> Iterator[Track]:
    """Start the registries; everything is gone at the end."""
    with ExitStack() as stack:
        name = stack.enter_context(tempfile.TemporaryDirectory(prefix="bxcache-race-"))
        bases, registry = stack.enter_context(Registry()), stack.enter_context(Registry())
        proxy = stack.enter_context(FaultyProxy(registry.address))
        proxy.fail(fault=Delay(latency))
        yield Track(Path(name), registry, proxy, Shelf(bases.address, Path(name)))


@dataclass(frozen=True)
class History:
    """One application's history in one round."""

    track: Track
    application: Application
    round: int
    commits: Sequence[Commit]
    approaches: Sequence[Approach]

    @property
    def folder(self) -> Path:
        """The folder of this history."""
        return self.track.folder / f"{spell(self.application.name)}-{self.round}"

    def run(self) -> Iterator[Run]:
        """Yield one build after the other."""
        make_repository(self.checkout)
        self.track.shelf.publish(self.application.bases)
        for number, commit in enumerate(self.commits):
            self.track.shelf.move(self.application.bases, commit.base)
            check_out(self.checkout, self.application.write(commit), commit, self.track.shelf)
            for approach in order_turns(self.approaches, number + self.round):
                yield self.take_turn(approach, number)

    @property
    def checkout(self) -> Path:
        """The application's repository, with the files of one commit at a time."""
        return self.folder / "app"

    def take_turn(self, approach: Approach, number: int) -> Run:
        """Let an approach build a commit on a fresh machine."""
        track, peak = self.track, Peak()
        name = f"{self.folder.name}-{spell(approach.name)}"
        outside = self.folder / name
        outside.mkdir(exist_ok=True)
        load = os.getloadavg()[0]
        before = track.proxy.received, track.proxy.sent
        with (
            Engine(containerd_store=approach.containerd) as engine,
            tempfile.TemporaryDirectory(dir=self.folder) as disk,
            peak.watching(),
        ):
            peak.follow("engine", engine.process)
            machine = Machine(
                engine=engine,
                folder=Path(disk),
                outside=outside,
                checkout=self.checkout,
                repository=f"{track.proxy.address}/{name}",
                application=self.application,
                commit=self.commits[number],
                peak=peak,
            )
            built, (restore, build, save) = drive(approach, machine)
            moved = track.proxy.received - before[0], track.proxy.sent - before[1]
            live = measure_live(machine) if approach.name == BASELINE and not built.status else None
        kept = measure_folder(outside)
        return Run(
            application=self.application.name,
            round=self.round,
            commit=number,
            kind=machine.commit.kind,
            approach=approach.name,
            restore=restore,
            build=build,
            save=save,
            brought=machine.carried.brought + moved[0],
            taken=machine.carried.taken + moved[1],
            kept=kept + measure_tagged(track.registry, name),
            pushed=kept + measure_pushed(track.registry, name),
            live=live,
            **asdict(built.steps),
            client=peak.most.get("client", 0),
            engine=peak.most.get("engine", 0),
            status=built.status,
            load=load,
            phases=add_phases(built),
        )


def drive(approach: Approach, machine: Machine) -> tuple[Built, tuple[float, ...]]:
    """Restore, build and save; return the build and the seconds of the three."""
    moments = [time.monotonic()]
    approach.restore(machine)
    moments.append(time.monotonic())
    built = approach.build(machine)
    moments.append(time.monotonic())
    if not built.status:
        approach.save(machine)
    moments.append(time.monotonic())
    check(approach, machine, built)
    return built, tuple(round(b - a, 3) for a, b in itertools.pairwise(moments))


def check(approach: Approach, machine: Machine, built: Built) -> None:
    """Raise unless the build ended as it has to, with the image in the engine."""
    if bool(built.status) != machine.commit.fails:
        what = f"{approach.name}: {machine.commit.kind} ended with status {built.status}"
        raise QuickstartError(f"{what}\n{built.words}")
    if not built.status:
        machine.docker("image", "inspect", IMAGE)


def measure_live(machine: Machine) -> int:
    """Return the bytes of a fresh export of what the engine has just built."""
    fresh = machine.folder / "fresh"
    machine.buildx(("--cache-to", f"type=local,dest={fresh},mode=max", *TAGGED))
    return measure_folder(fresh)


def add_phases(built: Built) -> dict[str, float]:
    """Return the seconds of each phase that bxcache reports."""
    seconds = Counter[str]()
    for phase in built.document.get("phases", ()):
        seconds[phase["name"]] += phase["seconds"]
    return {name: round(value, 3) for name, value in seconds.items()}


def make_repository(folder: Path) -> None:
    """Make an empty repository on the default branch."""
    folder.mkdir(parents=True)
    git(folder, "init", "--quiet", f"--initial-branch={MAIN}")


def check_out(folder: Path, files: Mapping[str, str], commit: Commit, shelf: Shelf) -> None:
    """Lay out the files of a commit, and commit them on its branch."""
    git(folder, "symbolic-ref", "HEAD", f"refs/heads/{MAIN}")
    if commit.branch != MAIN:
        git(folder, "checkout", "--quiet", "-B", commit.branch)
    for path, text in files.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text.replace("{bases}", shelf.prefix) if path == "Dockerfile" else text)
    (folder / ".dockerignore").write_text(".git\n")
    (folder / START).chmod(0o755 if commit.executable else 0o644)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "--message", commit.kind)


def order_turns(approaches: Sequence[Approach], number: int) -> list[Approach]:
    """Return the approaches in another order each time: a later beginning, every other time back.

    >>> [order_turns("abc", number) for number in range(3)]
    [['a', 'b', 'c'], ['a', 'c', 'b'], ['c', 'a', 'b']]
    """
    at = number % len(approaches)
    turned = [*approaches[at:], *approaches[:at]]
    return turned[::-1] if number % 2 else turned
