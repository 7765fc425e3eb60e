"""One build's commit and record, in a process of its own: `python3 -m tests.recording_once`.

What a build loads and does once is as cold here as there. Prints the milliseconds as JSON.
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

from bxcache.plan.plan import EXPORT, IMPORT, BuildPlan, CacheUse
from bxcache.result import CacheResult
from bxcache.scope import Scope
from bxcache.settlement import Heard
from bxcache.store.store import Store
from tests.commit_times import SCOPE, Bench, milliseconds
from tests.synthetic_build import make_build, make_run

if TYPE_CHECKING:
    from bxcache.insight.record import Record
    from bxcache.running import Run

OWN = ("bxcache.insight", "bxcache.remembering")
"""What only recording needs."""
ARGUMENTS = ("buildx", "build", "--build-arg", "VERSION=1.2.3", "--build-arg=MODE=release", ".")


@dataclass(frozen=True)
class Times:
    """The milliseconds of one build.

    Attributes:
        commit: saving its cache.
        load: loading what only recording needs.
        make: making the record.
        keep: adding it to those of the store.
    """

    commit: float
    load: float
    make: float
    keep: float

    @property
    def added(self) -> float:
        """What recording adds to a build."""
        return self.load + self.make + self.keep


def prepare(folder: Path) -> Run:
    """A build whose store is in a folder, before docker runs."""
    scope = Scope("image", None, ("linux/amd64",), "main")
    return make_run(folder, Store(folder / "store"), scope)


def record(run: Run, steps: int) -> Record:
    """Make the record of a build of so many steps, the base image being the first."""
    from bxcache.remembering import Story, make_record  # noqa: PLC0415  # as is measured

    return make_record(run, Story(...))
