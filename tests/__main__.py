"""All tests, from a clean clone: `python3 -m tests [quick] [pytest arguments]`.

Makes the project's environment first; the tests themselves fetch the engines they need. Three files
are tested at a time, the longest first and the quick unit tests last, so that all end together.
`-n 0` runs one after the other. `quick` runs only the tests that need neither an engine nor a
browser.
"""

from __future__ import annotations

import sys

from tests.bootstrap import enter

SPREAD = ("--numprocesses", "3", "--dist", "loadfile", "--no-loadscope-reorder")
QUICK = ("bxcache", "tests/unit")


def main() -> int:
    """Run the tests and the examples in docstrings, and return pytest's exit status."""
    enter("tests")
    import pytest  # noqa: PLC0415  # only the environment has it

    arguments = sys.argv[1:]
    if arguments[:1] == ["quick"]:
        arguments[:1] = QUICK
    return pytest.main([*SPREAD, *arguments])


if __name__ == "__main__":
    sys.exit(main())
