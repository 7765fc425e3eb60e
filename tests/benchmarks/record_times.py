"""The cost of recording a build: the size of its record, and the time that it takes."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bxcache.oci.documents import MOST_RECORDS
from tests.benchmarks.figures import Figures, Finding, divide
from tests.benchmarks.recording_once import EARLIER, Times, record_build, tell_build
from tests.bootstrap import ROOT
from tests.quickstart import QuickstartError, say

STEPS = (20, 200)
ROUNDS = 15
MOST_MS, MOST_KB = 50.0, 200.0
SECONDS = b'"seconds":123.4,'
"""The duration of the builds, as their records contain it."""


def measure_records() -> list[Finding]:
    """Measure both for builds of several sizes."""
    say(f"recording builds of {' and '.join(map(str, STEPS))} steps ({ROUNDS} rounds)")
    told: dict[int, list[Times]] = {steps: [] for steps in STEPS}
    # One folder contains all others, and removes what a process that was stopped did not remove.
    with tempfile.TemporaryDirectory(prefix="bxcache-record-") as name:
        folder = Path(name)
        records = {steps: record_build(*tell_build(folder, steps)).to_json() for steps in STEPS}
        for number in range(ROUNDS + 1):
            for steps in STEPS if number % 2 else reversed(STEPS):
                told[steps].append(build_apart(folder, steps, records[steps]))
    # The first of each warms up.
    times = [judge_times(steps, each[1:]) for steps, each in told.items()]
    return [judge_size(records[STEPS[-1]]), *times]


def build_apart(folder: Path, steps: int, record: bytes) -> Times:
    """Measure a build whose scope already has as many records as are kept."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        # The records differ, as those of several builds do.
        lines = [
            record.replace(SECONDS, b'"seconds":%d,' % number) for number in range(MOST_RECORDS)
        ]
        (Path(name) / EARLIER).write_bytes(b"".join(lines))
        command = [sys.executable, "-m", "tests.benchmarks.recording_once", name, str(steps)]
        ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise QuickstartError(f"{shlex.join(command)}\n{ran.stderr[-3000:]}")
    return Times(**json.loads(ran.stdout))


def judge_size(record: bytes) -> Finding:
    """Judge the size of a large build's record."""
    size = len(record) / 1e3
    figures = Figures(f"record: size of {STEPS[-1]} steps", [size], "kB")
    return Finding((figures,), f"under {MOST_KB:.0f} kB", size < MOST_KB)


def judge_times(steps: int, times: Sequence[Times]) -> Finding:
    """Judge the time that recording adds, in all and in parts, against the build's commit."""
    added, commits = [each.added for each in times], [each.commit for each in times]
    figures = (
        Figures(f"record: recording a build of {steps} steps", added, "ms"),
        Figures("    loading what only that needs", [each.load for each in times], "ms"),
        Figures("    making the record", [each.make for each in times], "ms"),
        Figures("    keeping it in the store", [each.keep for each in times], "ms"),
        Figures("    the commit of the same build", commits, "ms"),
        divide("    times that, round by round", added, commits),
    )
    return Finding(figures, f"under {MOST_MS:.0f} ms", figures[0].median < MOST_MS)
