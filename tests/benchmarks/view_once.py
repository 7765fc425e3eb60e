"""Shows a build's stream on the terminal of this process, and measures what that takes.

`python3 -m tests.benchmarks.view_once FILE share SECONDS VIEW` feeds a large build at 50 messages
a second, and writes to the file what share of a processor that took; VIEW is `live` or `none`. With
`peak STREAM VIEW` it feeds all of a stream, as fast as it can, and writes the most megabytes that
the process had.
"""

from __future__ import annotations

import base64
import json
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from bxcache.buildx.stream.events import Event, redact_event
from bxcache.buildx.stream.raw import join_documents
from bxcache.buildx.stream.reader import TraceReader
from bxcache.console.failures import Failures
from bxcache.console.live import LiveProgress
from bxcache.process import RunningProcess
from bxcache.redaction import Redactor

Message = dict[str, Any]

STAGES, STEPS, RUNNING = 20, 4, 8
LAYERS = 12
MESSAGES_A_SECOND = 50
BEGUN = "2026-01-01T00:00:00.123456789Z"


def name_vertex(stage: int, step: int) -> str:
    """Return the digest of a step's vertex."""
    return f"sha256:{stage:032x}{step:032x}"


def describe_vertex(stage: int, step: int, **more: object) -> Message:
    """Return the vertex of a step of a stage."""
    text = (
        f"RUN --mount=type=cache,target=/root/.cache make -j8 part-{stage}-{step} && make install"
    )
    name = f"[part-{stage} {step}/{STEPS}] {text}"
    return {"digest": name_vertex(stage, step), "name": name, "started": BEGUN, **more}


def describe_log(stage: int, data: bytes) -> Message:
    """Return output of the first step of a stage."""
    text = base64.b64encode(data).decode()
    return {"logs": [{"vertex": name_vertex(stage, 1), "stream": 1, "data": text}]}


def begin_build() -> list[Message]:
    """Begin a build: some stages have a step that is executed, and the other stages are reused."""
    running = [{"vertexes": [describe_vertex(stage, 1)]} for stage in range(RUNNING)]
    done = [
        {"vertexes": [describe_vertex(stage, step, completed=BEGUN, cached=True)]}
        for stage in range(RUNNING, STAGES)
        for step in range(1, STEPS + 1)
    ]
    return running + done


def go_on(number: int) -> Message:
    """Return one message of the running build; every other one concerns a layer that is fetched."""
    if number % 2:
        line = f"[{number}/4000] Building CXX object src/CMakeFiles/app.dir/module_{number}.cpp.o\n"
        return describe_log(number // 2 % RUNNING, line.encode())
    moved = {"current": number * 100_000, "total": 900_000_000, "started": BEGUN}
    layer = f"sha256:{number // 2 % LAYERS:064x}"
    return {"statuses": [{"id": layer, "vertex": name_vertex(0, 1), "name": "extract", **moved}]}


@contextmanager
def open_view(name: str) -> Iterator[Callable[[Event], None]]:
    """Open the view for the events of a build, which are masked as a build's are."""
    redact = Redactor(["correct horse battery staple"])
    if name == "none":
        yield lambda _event: None
        return
    with Failures(sys.stderr) as failures, LiveProgress(sys.stderr, failures) as live:
        yield lambda event: live(redact_event(event, redact))


def measure_share(seconds: float, view: str) -> float:
    """Return the share of a processor that a build takes after its beginning, in percent."""
    reader = TraceReader()
    with open_view(view) as tell:

        def feed(message: Message) -> None:
            for event in reader.feed(json.dumps(message)):
                tell(event)

        for message in begin_build():
            feed(message)
        # Loading what the first drawing needs does not count.
        time.sleep(0.5)
        spent, begun = measure_time(), time.monotonic()
        for number in range(round(seconds * MESSAGES_A_SECOND)):
            feed(go_on(number))
            time.sleep(max(0.0, begun + (number + 1) / MESSAGES_A_SECOND - time.monotonic()))
        return 100 * (measure_time() - spent) / (time.monotonic() - begun)


def measure_time() -> float:
    """Return how long a processor has worked for this process, in seconds."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def measure_peak(stream: Path, view: str) -> float:
    """Read and show a stream, and return the most megabytes that this process had."""
    reader = TraceReader()
    with open_view(view) as tell, stream.open(encoding="utf-8", errors="replace") as file:
        process = RunningProcess(cast("Any", SimpleNamespace(stderr=file)))
        for line in join_documents(process.read_lines()):
            for event in reader.feed(line):
                tell(event)
    [line] = [
        line
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("VmHWM:")
    ]
    return int(line.split()[1]) * 1024 / 1e6


def main() -> None:
    """Run from the command line."""
    told, what, given, view = sys.argv[1:]
    if what == "share":
        Path(told).write_text(str(measure_share(float(given), view)))
    else:
        Path(told).write_text(str(measure_peak(Path(given), view)))


if __name__ == "__main__":
    main()
