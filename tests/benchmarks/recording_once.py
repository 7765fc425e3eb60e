"""The commit and the record of one build, in a process of its own that starts cold.

`python3 -m tests.benchmarks.recording_once DIR STEPS` prints the milliseconds as JSON. The file
`earlier` in that folder has the records of earlier builds.
"""

from __future__ import annotations

import gc
import json
import random
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bxcache.backends.base import EXPORT, IMPORT, CacheUse, Save
from bxcache.backends.cache_result import CacheResult
from bxcache.buildx.run import RunResult
from bxcache.pipeline.plan import BuildPlan
from bxcache.pipeline.save import Caches
from bxcache.pipeline.target import Target
from bxcache.place.scope import Owner, Scope
from bxcache.store.store import Store
from tests.benchmarks.commit_times import Bench, milliseconds
from tests.support.layouts import digest_of
from tests.support.synthetic_build import make_build, make_prepared, make_silent_runner

if TYPE_CHECKING:
    from bxcache.insight.record import Record
    from bxcache.pipeline.prepare import Prepared

EARLIER = "earlier"
SCOPE = Scope("image", None, ("linux/amd64",), Owner.of_branch("main"))
ARGUMENTS = ("buildx", "build", "--build-arg", "VERSION=1.2.3", "--build-arg=MODE=release", ".")
ONLY_RECORDING = ("bxcache.insight", "bxcache.pipeline.record")


@dataclass(frozen=True)
class Times:
    """The milliseconds of one build.

    Attributes:
        commit: saving its cache.
        load: loading what only recording needs.
        make: making the record.
        keep: adding the record to the store's.
    """

    commit: float
    load: float
    make: float
    keep: float

    @property
    def added(self) -> float:
        """The time that recording adds to a build."""
        return self.load + self.make + self.keep


def tell_build(folder: Path, steps: int) -> tuple[Prepared, RunResult]:
    """Make a build with this many steps and a store in a folder; nothing of it is recorded yet."""
    return make_prepared(folder, Store(folder / "store"), SCOPE), RunResult(
        0, *make_build(steps), 123.4
    )


def record_build(prepared: Prepared, ran: RunResult) -> Record:
    """Make the record of a build, as a build does."""
    from bxcache.pipeline.record import make_record  # noqa: PLC0415  # loading it is measured

    place = str(prepared.folder)
    (backend,) = prepared.backends
    read, written = (
        CacheUse(flag, backend, place, SCOPE.name, (), "") for flag in (IMPORT, EXPORT)
    )
    cache = CacheResult(
        "local", place, SCOPE.name, digest_of(b"cache"), 1_234_567, imported=True, exported=True
    )
    plan = BuildPlan(SCOPE, (read,), (Save(written),))
    target = Target(prepared, plan, make_silent_runner(prepared), ARGUMENTS)
    return make_record(target, ran, Caches((cache,)), "v0.29.1")


def build_once(folder: Path, steps: int) -> Times:
    """Save a build's cache and record it; the store knows the scope from earlier builds."""
    draw = random.Random(steps)
    # Besides the layers, it has a manifest and a config.
    bench = Bench(folder, steps + 2)
    bench.fill(draw)
    prepared, ran = tell_build(folder, steps)
    for line in (folder / EARLIER).read_bytes().splitlines(keepends=True):
        Store(folder / "store").add_record(SCOPE.name, line)
    bench.build(draw)
    assert not [name for name in sys.modules if name.startswith(ONLY_RECORDING)]
    begun = time.perf_counter()

    load, begun = milliseconds(begun), time.perf_counter()
    record = record_build(prepared, ran)
    make, begun = milliseconds(begun), time.perf_counter()
    Store(folder / "store").add_record(SCOPE.name, record.to_json())
    keep = milliseconds(begun)
    return Times(bench.commits[0], load, make, keep)


def main() -> None:
    """Run from the command line."""
    # The command line disables it too.
    gc.disable()
    print(json.dumps(asdict(build_once(Path(sys.argv[1]), int(sys.argv[2])))))


if __name__ == "__main__":
    main()
