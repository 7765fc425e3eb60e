"""Replays a recorded stream into the live view: `python -m tests.replay STREAM [SECONDS]`.

Every message waits its share of the seconds, so that there is something to see.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from bxcache.buildx.raw_stream import join_documents
from bxcache.buildx.trace import TraceReader
from bxcache.console.live import LiveProgress

STREAMS = Path(__file__).parent / "streams"


def replay(path: Path, seconds: float) -> None:
    """Show a stream on this terminal."""
    lines = list(join_documents(path.read_text().splitlines()))
    reader = TraceReader()
    with LiveProgress(sys.stderr) as live:
        for line in lines:
            for event in reader.feed(line):
                live(event)
            time.sleep(seconds / len(lines))


if __name__ == "__main__":
    given = Path(sys.argv[1])
    replay(
        given if given.exists() else STREAMS / f"{given}.ndjson",
        float(sys.argv[2]) if len(sys.argv) > 2 else 2.0,  # the second argument
    )
