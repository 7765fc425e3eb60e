"""Writes all generated files anew: `python3 -m tests.regenerate`.

Look at the difference before you commit it. It names each file that changed.
"""

from __future__ import annotations

import sys

from tests.bootstrap import ROOT, enter


def main() -> int:
    """Write what differs, and remove files that nothing generates any more."""
    enter("tests.regenerate")
    from tests.support.generated import GENERATED, list_unknown  # noqa: PLC0415  # needs the environment

    for name, render in GENERATED.items():
        path, text = ROOT / name, render()
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(f"written: {name}")
    for name in list_unknown():
        (ROOT / name).unlink()
        print(f"removed: {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
