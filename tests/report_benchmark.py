"""What a report of a large build costs: `python3 -m tests.report_benchmark`.

How large each form of it is, how long it takes to make, and how long a browser takes until the page
can be used, where there is a browser.
"""

from __future__ import annotations

import sys

from tests.bootstrap import enter


def main() -> int:
    """Run from the command line."""
    enter("tests.report_benchmark")
    from tests.figures import conclude  # noqa: PLC0415  # needs the environment
    from tests.report_times import measure_report  # noqa: PLC0415  # the same

    return conclude(measure_report())


if __name__ == "__main__":
    sys.exit(main())
