"""The cost of a store for one build, in a process of its own: its time, bytes and memory."""

from __future__ import annotations

import gc
import json
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from bxcache.store.journal import Work
from bxcache.store.staging import draw_name
from bxcache.store.store import Store
from tests.benchmarks.growing.curves import Curve
from tests.benchmarks.synthetic_store import Blob, Link, put_scope
from tests.support.layouts import write_index


@dataclass
class Costs:
    """What the store costs a build.

    Attributes:
        seconds: the time of the snapshot, of the commit and of the collection.
        moved: the megabytes that they read and wrote.
        memory: the most megabytes of the process.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    moved: float = 0.0
    memory: float = 0.0

    @contextmanager
    def count(self, name: str) -> Iterator[None]:
        """Count the time and the bytes of the block."""
        before, begun = read_moved(), time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - begun
        self.moved += (read_moved() - before) / 1e6


def build_apart(store: Path, scope: str, fresh: Path, layers: Sequence[Blob]) -> Costs:
    """Do to a store what a build does, in a new process; the layers replace the topmost ones.

    Args:
        store: the store.
        scope: the scope that is built.
        fresh: the layout that has the new layers; their files are linked, and so cost nothing.
        layers: the new layers.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_build, store, scope, fresh, layers).result()


def _build(path: Path, scope: str, fresh: Path, layers: Sequence[Blob]) -> Costs:
    # The command line disables it too.
    gc.disable()
    store, costs = Store(path), Costs()
    links = [*read_links(path, scope)[: -len(layers)]]
    links += [(layer, len(links) + at - 1) for at, layer in enumerate(layers)]
    snapshot = store.snapshot(draw_name(), [scope])
    with costs.count("snapshot"):
        staging = snapshot.__enter__()
    try:
        for layer in layers:
            name = f"blobs/sha256/{layer['digest'][7:]}"
            os.link(fresh / name, staging.path / name)
        manifest, _ = put_scope(staging.path, links)
        write_index(staging.path, {scope: manifest})
        # BuildKit has written everything to the disk before it ends.
        os.sync()
        with costs.count("commit"):
            store.commit(staging, scope, manifest["digest"], Work(len(links)))
    finally:
        snapshot.__exit__(None, None, None)
    with costs.count("collection"):
        collected = store.collect()
    # The replaced layers, and the manifest and the config.
    assert collected.blobs == len(layers) + 2
    costs.memory = read_peak()
    return costs


def read_links(store: Path, scope: str) -> list[Link]:
    """Read the layers of a scope from its manifest, as one chain."""
    digest = Store(store).read_scopes()[scope].digest
    manifest: dict[str, Any] = json.loads((store / "blobs/sha256" / digest[7:]).read_bytes())
    return [(layer, at - 1) for at, layer in enumerate(manifest["layers"])]


def read_moved() -> int:
    """Return the bytes that this process has read and written, from the disk or not."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(("rchar", "wchar")))


def read_peak() -> float:
    """Return the most megabytes that this process has used."""
    lines = Path("/proc/self/status").read_text().splitlines()
    [line] = [each for each in lines if each.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024 / 1e6


def make_curves(measured: dict[int, list[Costs]]) -> Iterator[Curve]:
    """Make curves of what builds cost by size."""
    for name in ("snapshot", "commit", "collection"):
        seconds = {size: [each.seconds[name] for each in all_] for size, all_ in measured.items()}
        yield Curve(f"{name} of a build", seconds)
    moved = {size: [each.moved for each in all_] for size, all_ in measured.items()}
    yield Curve("what these read and write", moved, "MB")
    memory = {size: [each.memory for each in all_] for size, all_ in measured.items()}
    yield Curve("most memory of these", memory, "MB")
