"""How costs grow with the size of a cache."""

from __future__ import annotations

import itertools
import random
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.benchmarks.growing.curves import Chapter
from tests.benchmarks.growing.one_build import Costs, build_apart, make_curves
from tests.benchmarks.growing.projects import Project, Taken
from tests.benchmarks.synthetic_store import finish_store, put_layer
from tests.engines import Engine, busybox_context
from tests.quickstart import Place, QuickstartError, say

LAYERS, NEW = 50, 5
SCOPE = "image.linux-amd64"
REAL_LAYERS = 5
TEXT = f"""\
Snapshot, commit and collection are what one build asks of a store with one scope of {LAYERS}
layers, {NEW} of them new: nothing of a layer is read or copied, so that the size does not matter.
The builds have {REAL_LAYERS} layers of random bytes and a small one that changes; the engine has
them already."""


def measure_sizes(sizes: Sequence[int], built: Sequence[int], rounds: int) -> Chapter:
    """Measure stores of these sizes in bytes, and builds that make some of them."""
    costs = {size // 10**6: [*build_stored(size, rounds)] for size in sizes}
    taken = Taken()
    with Engine() as engine, tempfile.TemporaryDirectory(prefix="bxcache-growth-") as name:
        versions = Place(engine).describe()
        for size in built:
            say(f"building an image of {size // 10**6:,} MB ({rounds} rounds)")
            project = Project(Path(name) / str(size), engine.environment())
            write_project(project.app, size)
            project.start()
            taken.build(project, size // 10**6, rounds)
            shutil.rmtree(project.folder)
    curves = [*make_curves(costs), *taken.list_curves()]
    return Chapter("size", "Size of a cache", "MB", TEXT, curves, versions)


def build_stored(size: int, rounds: int) -> Iterator[Costs]:
    """Yield what builds cost with a store of this many bytes."""
    say(f"making a store of {size // 10**6:,} MB ({rounds} rounds)")
    draw = random.Random(size)
    with tempfile.TemporaryDirectory(prefix="bxcache-growth-") as name:
        free = shutil.disk_usage(name).free
        if free < 1.5 * size:
            raise QuickstartError(f"{1.5 * size / 1e9:.0f} GB are needed in `{name}`")
        store = Path(name) / "store"
        layers = [put_layer(store, draw.randbytes(size // LAYERS)) for _ in range(LAYERS)]
        finish_store(store, {SCOPE: list(zip(layers, itertools.count(-1), strict=False))})
        for number in range(rounds + 1):
            fresh = Path(name) / "fresh"
            new = [put_layer(fresh, draw.randbytes(size // LAYERS)) for _ in range(NEW)]
            costs = build_apart(store, SCOPE, fresh, new)
            shutil.rmtree(fresh)
            # The first one warms up.
            if number:
                yield costs


def write_project(folder: Path, size: int) -> None:
    """Write an application whose cache has about this many bytes."""
    folder.mkdir(parents=True)
    made = [
        f"RUN head -c {size // REAL_LAYERS} /dev/urandom > /made-{number}"
        for number in range(REAL_LAYERS)
    ]
    lines = [busybox_context(folder), "FROM base", *made, "COPY src /src", ""]
    (folder / "Dockerfile").write_text("\n".join(lines))
