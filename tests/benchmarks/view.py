"""Measures reading BuildKit's stream and showing it: `python3 -m tests.benchmarks view`.

It measures how many lines a second are read and written as plain lines, what share of a processor
the live view takes, and how much memory a large log takes. Run it on request, on a machine that
does nothing else; `--rounds 1 --seconds 2` is quick.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from bxcache.buildx.stream.events import redact_event
from bxcache.buildx.stream.raw import join_documents
from bxcache.buildx.stream.reader import TraceReader
from bxcache.console.progress import PlainProgress
from bxcache.redaction import Redactor
from tests.benchmarks.figures import Figures, Finding, alternate, conclude
from tests.benchmarks.view_once import begin_build, describe_log, describe_vertex, go_on
from tests.bootstrap import ROOT
from tests.quickstart import QuickstartError, say
from tests.support.terminal import Terminal

ROUNDS, SECONDS = 5, 5.0
LEAST_LINES = 100.0
"""In thousands a second."""
MOST_SHARE = 10.0
MOST_MB, MOST_TIMES = 30.0, 5.0
SIZES = ((80, 24), (200, 50))
VIEWS = ("live", "none")
STREAMS = Path(__file__).parents[1] / "streams"
LINES = 40_000
"""How many lines are read and written at once, about."""
LOG, LONG_LINE = 200_000_000, 100_000_000
CHUNK = 32_000
"""How much of a log BuildKit has in a message, about."""


def measure_views(rounds: int, seconds: float) -> list[Finding]:
    """Measure everything."""
    say(f"reading and writing lines ({rounds} rounds)")
    findings = [measure_speed(rounds)]
    with tempfile.TemporaryDirectory(prefix="bxcache-view-") as name:
        folder = Path(name)
        for size in SIZES:
            columns, rows = size
            say(f"looking at a live view of {columns} times {rows} ({rounds} rounds)")
            findings.append(measure_share(folder, size, rounds, seconds))
        say(f"showing large logs ({rounds} rounds)")
        findings += measure_memory(folder, rounds)
    return findings


def measure_speed(rounds: int) -> Finding:
    """Measure how many lines a second are read, masked, and written to a file as plain lines."""
    kinds = {
        "lines of recorded streams": read_streams(),
        "    status lines": list_status_lines(),
        "    log lines, one in a message": list_log_lines(1),
        "    log lines, a hundred in a message": list_log_lines(100),
    }
    counts = [LINES if "log" in name else sum(map(len, each)) for name, each in kinds.items()]
    actions = [partial(time_lines, each, n) for each, n in zip(kinds.values(), counts, strict=True)]
    told = alternate(actions, rounds)
    figures = tuple(Figures(name, each, "k/s") for name, each in zip(kinds, told, strict=True))
    least = min(figures[0].median, figures[1].median)
    text = f"at least {LEAST_LINES:.0f} thousand status lines a second"
    return Finding(figures, text, least >= LEAST_LINES)


def time_lines(streams: Sequence[Sequence[str]], count: int) -> float:
    """Return how many thousands of lines are read and written in a second of a processor."""
    redact = Redactor(["correct horse battery staple"])
    with tempfile.TemporaryFile("w") as file:
        show = PlainProgress(file)
        # Other work of the machine during that time does not count.
        begun = time.process_time()
        for lines in streams:
            reader = TraceReader()
            for line in join_documents(lines):
                for event in reader.feed(line):
                    show(redact_event(event, redact))
        return count / (time.process_time() - begun) / 1e3


def read_streams() -> list[list[str]]:
    """Return the recorded streams that have a document on each line, repeated many times."""
    texts = [path.read_text() for path in sorted(STREAMS.glob("*.ndjson"))]
    streams = [text.splitlines() for text in texts if "\n{\n" not in f"\n{text}"]
    return streams * (LINES // sum(map(len, streams)))


def list_status_lines() -> list[list[str]]:
    """Return lines that report how much of a layer has arrived."""
    begun = [json.dumps(each) for each in begin_build()]
    return [[*begun, *(json.dumps(go_on(2 * number)) for number in range(LINES))]]


def list_log_lines(most: int) -> list[list[str]]:
    """Return messages of this many lines each, which a step prints."""
    lines = [f"[{at}/{LINES}] Compiling src/module_{at}.c\n".encode() for at in range(LINES)]
    chunks = [b"".join(lines[at : at + most]) for at in range(0, LINES, most)]
    begun = [json.dumps(each) for each in begin_build()]
    return [[*begun, *(json.dumps(describe_log(0, chunk)) for chunk in chunks)]]


def measure_share(folder: Path, size: tuple[int, int], rounds: int, seconds: float) -> Finding:
    """Measure the live view's share of a processor on a terminal of some columns and rows."""
    actions = [partial(run_once, folder, size, "share", str(seconds), view) for view in VIEWS]
    live, none = alternate(actions, rounds)
    columns, rows = size
    shares = [max(0.0, a - b) for a, b in zip(live, none, strict=True)]
    figures = (
        Figures(f"live view, {columns}x{rows}: share of a processor", shares, "%"),
        Figures("    with what reading takes", live, "%"),
        Figures("    reading alone", none, "%"),
    )
    return Finding(figures, f"under {MOST_SHARE:.0f} %", figures[0].median < MOST_SHARE)


def run_once(folder: Path, size: tuple[int, int], what: str, given: str, view: str) -> float:
    """Show a build on a terminal in a process of its own, and return its measurement."""
    told = folder / "told"
    # If these are set, rich prefers them to the terminal's size.
    known = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES")}
    environment = {**known, "TERM": "xterm-256color"}
    command = (sys.executable, "-m", "tests.benchmarks.view_once", str(told), what, given, view)
    terminal = Terminal(*size)
    if terminal.run(command, folder=ROOT, environment=environment):
        raise QuickstartError("\n".join(terminal.all_lines))
    return float(told.read_text())


def measure_memory(folder: Path, rounds: int) -> list[Finding]:
    """Measure how much memory large logs take."""
    line = b"[12/40] Building CXX object src/CMakeFiles/app.dir/module.cpp.o\n"
    lines, dots = line * (CHUNK // len(line)), b"." * CHUNK
    streams: dict[str, Callable[[], Iterator[bytes]]] = {
        "no log": lambda: iter(()),
        "a log of 200 MB": lambda: (lines for _ in range(LOG // len(lines))),
        "a line of 100 MB": lambda: (dots for _ in range(LONG_LINE // CHUNK)),
        "a line of 100 MB in one message": lambda: iter([b"." * LONG_LINE]),
    }
    files = [
        write_stream(folder / f"stream-{at}", each) for at, each in enumerate(streams.values())
    ]
    actions = [partial(run_once, folder, SIZES[0], "peak", str(file), "live") for file in files]
    none, *told = alternate(actions, rounds)
    more = [[a - b for a, b in zip(each, none, strict=True)] for each in told]
    figures = [
        Figures(f"memory: {name}, more than without", each, "MB")
        for name, each in zip([*streams][1:], more, strict=True)
    ]
    bounded = max(figures[0].median, figures[1].median) < MOST_MB
    times = Figures("    times the line", [each / (LONG_LINE / 1e6) for each in more[-1]], "x")
    return [
        Finding(
            (Figures("memory: no log", none, "MB"), *figures[:2]),
            f"both under {MOST_MB:.0f} MB, however large the log is",
            bounded,
        ),
        Finding((figures[2], times), f"at most {MOST_TIMES} times", times.median <= MOST_TIMES),
    ]


def write_stream(file: Path, chunks: Callable[[], Iterator[bytes]]) -> Path:
    """Write a build, one step of which prints something, to a file."""
    with file.open("w") as stream:
        for message in begin_build():
            print(json.dumps(message), file=stream)
        for chunk in chunks():
            print(json.dumps(describe_log(0, chunk)), file=stream)
        done = describe_vertex(0, 1, completed="2026-01-01T00:00:09Z")
        print(json.dumps({"vertexes": [done]}), file=stream)
    return file


def main(arguments: Sequence[str]) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser("python3 -m tests.benchmarks view", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of everything")
    parser.add_argument(
        "--seconds", type=float, default=SECONDS, help="how long a live view is looked at"
    )
    options = parser.parse_args(arguments)
    return conclude(measure_views(options.rounds, options.seconds))
