"""Replays recorded streams into the live view: `python -m tests.replay STREAM [SECONDS]`.

Every message waits its share of the seconds, so that there is something to see. Several images are
replayed side by side as `NAME=STREAM NAME=STREAM [SECONDS]`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from itertools import zip_longest
from pathlib import Path

from bxcache.buildx.raw_stream import join_documents
from bxcache.buildx.trace import TraceReader
from bxcache.console.failures import Failures
from bxcache.console.live import LiveProgress

STREAMS = Path(__file__).parent / "streams"


def replay(streams: Mapping[str, Path], seconds: float) -> None:
    """Show streams by their images, a message of each in turn."""
    readers = {name: TraceReader() for name in streams}
    lines = [
        [(name, line) for line in join_documents(path.read_text().splitlines())]
        for name, path in streams.items()
    ]
    mixed = [each for several in zip_longest(*lines) for each in several if each is not None]
    with Failures(sys.stderr) as failures, LiveProgress(sys.stderr, failures) as live:
        for name, line in mixed:
            for event in readers[name].feed(line):
                live(event, name)
            time.sleep(seconds / len(mixed))


def read_stream(word: str) -> tuple[str, Path]:
    """The image and the stream that a word names; one alone has no image."""
    name, _, stream = word.rpartition("=")
    return name, Path(stream) if Path(stream).exists() else STREAMS / f"{stream}.ndjson"


if __name__ == "__main__":
    *words, last = sys.argv[1:]
    timed = last.replace(".", "").isdecimal()
    replay(dict(map(read_stream, words if timed else (*words, last))), float(last) if timed else 2)
