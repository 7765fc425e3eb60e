"""Measures reading the files of a build context: `python3 -m tests.benchmarks context`.

Hashing them for the first time is compared with `sha256sum` on the same files, in turn; then all of
them are checked again, which reads none. Run this on request, on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.figures import Figures, Finding, alternate, conclude, divide, measure
from tests.quickstart import guard, say

ROUNDS = 5
FILES, FOLDERS = 100_000, 1_000
BYTES = 3_000
MOST_AGAIN = 2.0
MOST_MEMORY = 150.0
_ONCE = """\
import resource, sys, time
from pathlib import Path
from bxcache.buildx.context.files import ContextReader
from bxcache.buildx.context.ignore import IgnoreRules
from bxcache.buildx.context.known_hashes import KnownHashes
from bxcache.buildx.context.wanted import Wanted
known = KnownHashes(Path(sys.argv[2]))
found = ContextReader(sys.argv[1], IgnoreRules("**/*.log\\n.git"), known).read(Wanted([()]))
known.keep()
if len(found) != int(sys.argv[3]):
    sys.exit(f"{len(found)} files were found")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6)
"""


def write_context(folder: Path) -> None:
    """Write a context of many files."""
    content = os.urandom(BYTES)
    for number in range(FOLDERS):
        inside = folder / f"{number % 30}" / f"{number}"
        inside.mkdir(parents=True)
        for each in range(FILES // FOLDERS):
            (inside / f"{each}.py").write_bytes(content + str(number * FOLDERS + each).encode())


def run(rounds: int) -> int:
    """Measure, and print the findings."""
    with tempfile.TemporaryDirectory(prefix="bxcache-context-") as name:
        folder, known = Path(name) / "context", Path(name) / "known"
        say(f"writing {FILES:,} files")
        write_context(folder)
        count = FILES + FOLDERS + len(list(folder.iterdir()))
        # A file that was just written is not remembered.
        time.sleep(3)
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        own = (sys.executable, "-c", _ONCE, str(folder), str(known), str(count))
        listing = f"find {shlex.quote(str(folder))} -type f -print0"
        hashing = ("sh", "-c", f"{listing} | xargs -0 sha256sum")

        def hash_first() -> float:
            known.unlink(missing_ok=True)
            return measure(own, folder, environment)

        first, other = alternate(
            [hash_first, lambda: measure(hashing, folder, environment)], rounds
        )
        again = [measure(own, folder, environment) for _ in range(rounds)]
        memory = [float(_read(own, environment)) for _ in range(rounds)]
    return conclude(_judge(first, other, again, memory))


def _judge(
    first: Sequence[float], other: Sequence[float], again: Sequence[float], memory: Sequence[float]
) -> list[Finding]:
    ratio = divide("hashing, against sha256sum", first, other)
    seen = Figures("checking again", again)
    most = Figures("memory", memory, "MB")
    return [
        Finding(
            (Figures("hashing for the first time", first), Figures("sha256sum", other), ratio),
            "hashing takes at most as long as sha256sum",
            ratio.median <= 1,
        ),
        Finding((seen,), f"checking takes less than {MOST_AGAIN:.0f} s", seen.median < MOST_AGAIN),
        Finding((most,), f"it needs less than {MOST_MEMORY:.0f} MB", most.median < MOST_MEMORY),
    ]


def _read(command: Sequence[str], environment: dict[str, str]) -> str:

    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout


def main(arguments: Sequence[str]) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser("python3 -m tests.benchmarks context", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args(arguments)
    return guard("the benchmark", lambda: run(options.rounds))
