"""How costs grow with the number of blobs in a store."""

from __future__ import annotations

import itertools
import os
import random
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from tests.benchmarks.figures import BXCACHE, alternate, measure
from tests.benchmarks.growing.curves import Chapter, Curve
from tests.benchmarks.growing.one_build import Costs, build_apart, make_curves
from tests.benchmarks.synthetic_store import finish_store, put_layer
from tests.quickstart import say

EACH = 50
"""The blobs of a scope."""
NEW = 5
COMMANDS = ("ls", "du", "prune")
FIND = ("find", "store", "-type", "f", "-printf", r"%s\n")
TEXT = f"""\
A store has from ten to 100,000 blobs, {EACH} for each scope. `bxcache store ls`, `du` and `prune`
are whole commands, and `find` looks at the same files. Snapshot, commit and collection are what
one build asks of the store, with {NEW} new layers in one scope; the commit waits for the disk."""


def measure_blobs(sizes: Sequence[int], rounds: int) -> Chapter:
    """Measure stores with these numbers of blobs."""
    taken: dict[str, dict[int, list[float]]] = {name: {} for name in (*COMMANDS, "find")}
    costs: dict[int, list[Costs]] = {}
    for size in sizes:
        say(f"making and looking at a store of {size:,} blobs ({rounds} rounds)")
        with tempfile.TemporaryDirectory(prefix="bxcache-growth-") as name:
            folder = Path(name)
            make_store(folder / "store", size)
            commands = [[*BXCACHE, "store", each, "--from", "store"] for each in COMMANDS]
            actions = [
                partial(measure, each, folder, dict(os.environ)) for each in [*commands, [*FIND]]
            ]
            for each, seconds in zip(taken, alternate(actions, rounds), strict=True):
                taken[each][size] = seconds
            costs[size] = [build(folder, number) for number in range(rounds + 1)][1:]
    curves = [Curve(f"bxcache store {each}", taken[each]) for each in COMMANDS]
    curves += [Curve("find -type f", taken["find"], own=False), *make_curves(costs)]
    return Chapter("blobs", "Blobs of a store", "blobs", TEXT, curves)


def make_store(path: Path, blobs: int) -> None:
    """Make a store whose scopes have so many layers that there are this many blobs."""
    draw = random.Random(blobs)
    scopes = {}
    for number, left in enumerate(range(blobs, 0, -EACH)):
        # Each scope has a manifest and a config as well.
        layers = [put_layer(path, draw.randbytes(500)) for _ in range(min(left, EACH) - 2)]
        scopes[name_scope(number)] = list(zip(layers, itertools.count(-1), strict=False))
    finish_store(path, scopes)


def name_scope(number: int) -> str:
    """Return the name of a scope."""
    return f"image-{number}.linux-amd64"


def build(folder: Path, number: int) -> Costs:
    """Do to the first scope what a build does."""
    draw = random.Random(f"build {number}")
    fresh = folder / f"fresh-{number}"
    layers = [put_layer(fresh, draw.randbytes(500)) for _ in range(NEW)]
    return build_apart(folder / "store", name_scope(0), fresh, layers)
