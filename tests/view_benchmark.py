"""What it costs to read BuildKit's stream and to show it: `python3 -m tests.view_benchmark`.

How many lines a second are read and written as plain lines, what share of a processor the live view
takes, and how much memory a large log takes. Made to be run on request, on a machine that does
nothing else.
"""

from __future__ import annotations

import argparse
import sys

from tests.bootstrap import enter

ROUNDS, SECONDS = 5, 5.0


def main() -> int:
    """Run from the command line."""
    enter("tests.view_benchmark")
    parser = argparse.ArgumentParser("python3 -m tests.view_benchmark", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of everything")
    parser.add_argument(
        "--seconds", type=float, default=SECONDS, help="how long a live view is looked at"
    )
    options = parser.parse_args()
    from tests.figures import conclude  # noqa: PLC0415  # needs the environment
    from tests.view_times import measure_views  # noqa: PLC0415  # the same

    return conclude(measure_views(options.rounds, options.seconds))


if __name__ == "__main__":
    sys.exit(main())
