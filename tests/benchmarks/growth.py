"""Measures how bxcache's own cost grows: `python3 -m tests.benchmarks growth [PART…]`.

steps       builds of 10, 100 and 1,000 steps, against plain buildx with the same cache
size        caches of 10 MB, 1 GB and 10 GB: time, memory, and what is read and written
concurrent  1, 8 and 64 builds at once with one store, against plain buildx
blobs       stores of 10 to 100,000 blobs: `ls`, `du`, `prune`, and the work of one build

Nothing may grow worse than linearly. Run this on request, on a machine that does nothing else; all
of it needs 20 GB of disk and about half an hour. `--write` writes docs/benchmarks/growth.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial

from tests.benchmarks.figures import conclude
from tests.benchmarks.growing.blobs import measure_blobs
from tests.benchmarks.growing.crowds import measure_crowds
from tests.benchmarks.growing.curves import Chapter
from tests.benchmarks.growing.page import write_page
from tests.benchmarks.growing.sizes import measure_sizes
from tests.benchmarks.growing.steps import measure_steps
from tests.bootstrap import ROOT
from tests.quickstart import guard

PAGE = ROOT / "docs" / "benchmarks" / "growth.md"
MB, GB = 10**6, 10**9
FULL: dict[str, Callable[[], Chapter]] = {
    "steps": partial(measure_steps, (10, 100, 1000), 3),
    "size": partial(measure_sizes, (10 * MB, GB, 10 * GB), (10 * MB, GB), 5),
    "concurrent": partial(measure_crowds, (1, 8, 64), 5),
    "blobs": partial(measure_blobs, (10, 100, 1000, 10_000, 100_000), 7),
}
QUICK: dict[str, Callable[[], Chapter]] = {
    "steps": partial(measure_steps, (10, 30), 1),
    "size": partial(measure_sizes, (MB, 10 * MB, 100 * MB), (MB, 10 * MB), 1),
    "concurrent": partial(measure_crowds, (1, 4), 1),
    "blobs": partial(measure_blobs, (10, 100, 1000), 1),
}


def run(parts: Sequence[str], *, quick: bool, write: bool) -> int:
    """Measure some parts, print the findings and write the page."""
    known = QUICK if quick else FULL
    chapters = [known[part]() for part in parts or known]
    if write:
        write_page(PAGE, chapters)
    return conclude(finding for chapter in chapters for finding in chapter.judge())


def main(arguments: Sequence[str]) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        "python3 -m tests.benchmarks growth",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    # With `choices`, none at all would be refused: https://github.com/python/cpython/issues/53834
    parser.add_argument("parts", nargs="*", metavar="PART", help="; ".join(FULL))
    parser.add_argument("--quick", action="store_true", help="small sizes, in two minutes")
    parser.add_argument("--write", action="store_true", help="write the page of the documentation")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.parts) - FULL.keys())
    if unknown:
        parser.error(f"there is no part `{unknown[0]}`, only {', '.join(FULL)}")
    return guard(
        "the benchmark",
        lambda: run(options.parts, quick=options.quick, write=options.write),
    )
