"""The benchmarks: `python3 -m tests.benchmarks NAME [arguments]`; without a name, it lists them.

Run them on request, on a machine that does nothing else; `--help` after a name shows its options.
"""

from __future__ import annotations

import importlib
import sys

from tests.bootstrap import enter

NAMES = (
    *("overhead", "store", "fleet", "inline", "history", "report", "view", "growth", "context"),
)


def main() -> int:
    """Run the named benchmark, or list all."""
    enter("tests.benchmarks")
    name, *arguments = sys.argv[1:] or [""]
    if name in NAMES:
        status: int = importlib.import_module(f"tests.benchmarks.{name}").main(arguments)
        return status
    if name not in ("", "-h", "--help"):
        print(f"error: no benchmark `{name}`; choose one of {', '.join(NAMES)}", file=sys.stderr)
        return 2
    for each in NAMES:
        about = importlib.import_module(f"tests.benchmarks.{each}").__doc__ or ""
        print(f"{each:<10}{about.partition(':')[0]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
