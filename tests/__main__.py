"""All tests, from a clean clone: `python3 -m tests [quick] [pytest arguments]`.

Makes the project's environment first; the tests themselves fetch the engines they need. Three files
are tested at a time, the longest first and the quick unit tests last, so that all end together.
`-n 0` runs one after the other. `quick` runs only the tests that need neither an engine nor a
browser.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from tests.bootstrap import enter

SPREAD = ("--numprocesses", "3", "--dist", "loadfile", "--no-loadscope-reorder")
QUICK = ("bxcache", "tests/unit")
MEMORY = Path("/dev/shm")
ENOUGH = 6 << 30
"""How many bytes the tests need at most for temporary files, with room to spare."""


def main() -> int:
    """Run the tests and the examples in docstrings, and return pytest's exit status."""
    enter("tests")
    import pytest  # noqa: PLC0415  # only the environment has it

    if has_room(MEMORY):
        # An engine waits for the disk after each step that it stores.
        os.environ.setdefault("TMPDIR", str(MEMORY))
    # Docker and its engines live for seconds: collecting their garbage costs more than it frees.
    os.environ.setdefault("GOGC", "400")
    arguments = sys.argv[1:]
    if arguments[:1] == ["quick"]:
        arguments[:1] = QUICK
    return pytest.main([*SPREAD, *arguments])


def has_room(memory: Path) -> bool:
    """Return whether all temporary files of the tests fit into memory.

    Args:
        memory: where a file system in memory is mounted, if anywhere.
    """
    if not memory.is_mount():
        return False
    system = os.statvfs(memory)
    free = system.f_bavail * system.f_frsize
    available = re.search(r"MemAvailable: +(\d+) kB", Path("/proc/meminfo").read_text())
    enough = available is not None and min(free, int(available[1]) << 10) >= ENOUGH
    return enough and not system.f_flag & os.ST_NOEXEC


if __name__ == "__main__":
    sys.exit(main())
