"""The cost of a store for a build: the snapshot before docker runs, and the commit after it."""

from __future__ import annotations

import gc
import os
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bxcache.store.journal import Work
from bxcache.store.staging import draw_name
from bxcache.store.store import Store
from tests.benchmarks.figures import Figures, Finding
from tests.benchmarks.synthetic_store import Link, finish_store, put_layer, put_scope
from tests.quickstart import say
from tests.support.layouts import write_index

COUNTS = (10, 50, 200, 1000)
ROUNDS = 21
MOST_MS, MOST_US_PER_BLOB = 5.0, 20.0
SCOPE = "image.linux-amd64"


@dataclass
class Bench:
    """A store with one scope, and the milliseconds that were measured on it."""

    folder: Path
    count: int
    links: list[Link] = field(default_factory=list)
    snapshots: list[float] = field(default_factory=list)
    commits: list[float] = field(default_factory=list)
    by_hand: dict[str, list[float]] = field(default_factory=lambda: {"snapshot": [], "commit": []})

    @property
    def new(self) -> int:
        """The number of layers that each build replaces."""
        return max(self.count // 10, 1)

    @property
    def most(self) -> float:
        """The milliseconds that a snapshot or a commit may take."""
        return MOST_MS + MOST_US_PER_BLOB * self.count / 1e3

    def fill(self, draw: random.Random) -> None:
        """Make the store; its scope has a manifest and a config besides the layers."""
        store = self.folder / "store"
        self.links = [
            (put_layer(store, draw_layer(draw)), number - 1) for number in range(self.count - 2)
        ]
        finish_store(store, {SCOPE: self.links})

    def build(self, draw: random.Random) -> None:
        """Do to the store what a build does, with new layers on top."""
        store = Store(self.folder / "store")
        begun = time.perf_counter()
        with store.snapshot(draw_name(), [SCOPE]) as staging:
            self.snapshots.append(milliseconds(begun))
            digest, work = self._export(staging.path, draw)
            begun = time.perf_counter()
            saved = store.commit(staging, SCOPE, digest, work)
            self.commits.append(milliseconds(begun))
        assert saved.layers == len(self.links)
        assert store.collect().blobs == self.new + 2

    def _export(self, layout: Path, draw: random.Random) -> tuple[str, Work]:
        kept = self.links[: len(self.links) - self.new]
        top = [
            (put_layer(layout, draw_layer(draw)), len(kept) + number - 1)
            for number in range(self.new)
        ]
        self.links = [*kept, *top]
        manifest, config = put_scope(layout, self.links)
        write_index(layout, {SCOPE: manifest})
        # BuildKit writes each blob to the disk before it reports it.
        for blob in (manifest, config, *(blob for blob, _ in top)):
            write_out(layout / "blobs" / "sha256" / blob["digest"][7:])
        return str(manifest["digest"]), Work(self.count, {blob["digest"]: 1.5 for blob, _ in top})

    def link_by_hand(self, draw: random.Random) -> None:
        """Make the same links and wait for the disk in the same way, and do nothing else."""
        blobs = self.folder / "store" / "blobs" / "sha256"
        names = [blob["digest"][7:] for blob, _ in self.links]
        with tempfile.TemporaryDirectory(dir=self.folder) as name:
            target = Path(name) / "blobs"
            begun = time.perf_counter()
            target.mkdir()
            link_all(blobs, target, names)
            self.by_hand["snapshot"].append(milliseconds(begun))
            new = [f"{draw.getrandbits(256):064x}" for _ in range(self.new)]
            for each in new:
                (target / each).write_bytes(draw_layer(draw))
                write_out(target / each)
            begun = time.perf_counter()
            link_all(target, blobs, [*names, *new])
            write_out(blobs)
            (Path(name) / "index").write_text("index")
            write_out(Path(name) / "index")
            write_out(Path(name))
            self.by_hand["commit"].append(milliseconds(begun))
            for each in new:
                (blobs / each).unlink()


def draw_layer(draw: random.Random) -> bytes:
    """Return the content of a small layer."""
    return draw.randbytes(draw.randrange(500, 8000))


def milliseconds(begun: float) -> float:
    """Return the milliseconds since a moment."""
    return (time.perf_counter() - begun) * 1e3


def link_all(source: Path, target: Path, names: Sequence[str]) -> None:
    """Give files a second name in another folder, where it is free."""
    for name in names:
        try:
            os.link(f"{source}/{name}", f"{target}/{name}")
        except FileExistsError:
            continue


def write_out(path: Path) -> None:
    """Wait until a file or a folder is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def open_benches(draw: random.Random) -> Iterator[list[Bench]]:
    """Make stores of all sizes, and remove them at the end."""
    with tempfile.TemporaryDirectory(prefix="bxcache-commit-") as name:
        benches = [Bench(Path(name) / str(count), count) for count in COUNTS]
        for bench in benches:
            bench.folder.mkdir()
            bench.fill(draw)
        yield benches


def measure_commits() -> list[Finding]:
    """Measure snapshots and commits for scopes of several sizes."""
    say(f"snapshots and commits of {', '.join(map(str, COUNTS))} blobs ({ROUNDS} rounds)")
    draw = random.Random(1)
    with open_benches(draw) as benches:
        # The command line disables it too.
        gc.disable()
        try:
            for number in range(ROUNDS + 1):
                for bench in benches if number % 2 else reversed(benches):
                    bench.build(draw)
                    bench.link_by_hand(draw)
        finally:
            gc.enable()
    snapshots = [bench.snapshots for bench in benches]
    commits = [bench.commits for bench in benches]
    return [judge("snapshot", benches, snapshots), judge("commit", benches, commits)]


def judge(name: str, benches: Sequence[Bench], taken: Sequence[Sequence[float]]) -> Finding:
    """Judge the rounds after the first one, which warms up."""
    figures: list[Figures] = []
    reached = True
    for bench, values in zip(benches, taken, strict=True):
        figures.append(Figures(f"commit: {name} of {bench.count} blobs", values[1:], "ms"))
        figures.append(Figures("    the links by hand", bench.by_hand[name][1:], "ms"))
        reached = reached and figures[-2].median <= bench.most
    limits = ", ".join(f"{bench.most:.1f}" for bench in benches)
    text = f"at most {MOST_MS:.0f} ms and {MOST_US_PER_BLOB:.0f} us a blob: {limits} ms"
    return Finding(tuple(figures), text, reached)
