"""Replays recorded streams into the live view: `python -m tests.support.replay STREAM [SECONDS]`.

The messages are spread over the seconds, so that progress is visible. Several images are replayed
side by side as `NAME=STREAM NAME=STREAM [SECONDS]`. If `REPLAY_UNTIL` names a file, the replay
pauses halfway until that file exists.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from itertools import zip_longest
from pathlib import Path

from bxcache.buildx.stream.events import Streamed
from bxcache.buildx.stream.raw import join_documents
from bxcache.buildx.stream.reader import TraceReader
from bxcache.console.failures import Failures
from bxcache.console.live import LiveProgress

_PAUSE = 0.1
STREAMS = Path(__file__).parents[1] / "streams"


def replay(streams: Mapping[str, Path], seconds: float, until: Path | None = None) -> None:
    """Show the streams of images, taking one message of each in turn."""
    readers = {name: TraceReader() for name in streams}
    lines = [
        [(name, line) for line in join_documents(path.read_text().splitlines())]
        for name, path in streams.items()
    ]
    mixed = [each for several in zip_longest(*lines) for each in several if each is not None]
    with Failures(sys.stderr) as failures, LiveProgress(sys.stderr, failures) as live:
        for at, (name, line) in enumerate(mixed):
            while until and at == len(mixed) // 2 and not until.exists():
                # Any event redraws the view at once, while it is seldom redrawn without one.
                live(Streamed(""), name)
                time.sleep(_PAUSE)
            for event in readers[name].feed(line):
                live(event, name)
            time.sleep(seconds / len(mixed))


def read_stream(word: str) -> tuple[str, Path]:
    """Return the image and the stream that an argument names; a single stream has no image."""
    name, _, stream = word.rpartition("=")
    return name, Path(stream) if Path(stream).exists() else STREAMS / f"{stream}.ndjson"


if __name__ == "__main__":
    *words, last = sys.argv[1:]
    timed = last.replace(".", "").isdecimal()
    streams = dict(map(read_stream, words if timed else (*words, last)))
    named = os.environ.get("REPLAY_UNTIL")
    replay(streams, float(last) if timed else 2, Path(named) if named else None)
