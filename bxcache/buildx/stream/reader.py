"""Reads `--progress rawjson` into steps with their outcomes. Pure: lines in, values out.

Each line is a SolveStatus: https://github.com/moby/buildkit/blob/v0.25.2/client/graph.go
Other lines are mixed in: warnings, and docker's own error if the build fails.

No message states a step's outcome; it follows from the order of the messages:

- `cached`, started and completed at the same time: not needed, because a later result was found.
  Reused; after a step failed, it only means that the step is not needed any more.
- `cached` and completed: found in a cache and loaded. Reused.
- `cached` with an error: found, but could not be loaded. Open; it is executed if needed.
- completed, not `cached`: executed, unless it was found before; then its layers were fetched.
- completed with an error that the build was canceled: stopped, without an outcome. Of two equal
  steps, such as those of two platforms, BuildKit executes one and reports both.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from bxcache.buildx.stream import events
from bxcache.buildx.stream.events import Outcome
from bxcache.buildx.stream.names import WRITTEN, Transfer, find_transfer, is_local, parse_step_name
from bxcache.buildx.stream.phases import WORK, count_bytes, find_part, find_phase, list_spans
from bxcache.buildx.stream.raw import decode_base64
from bxcache.buildx.stream.times import find_beginning, measure_spans, parse_time
from bxcache.buildx.stream.trace import Trace, list_sources, list_steps, list_transfers
from bxcache.buildx.stream.vertices import Part, Vertex, advance, read_warning
from bxcache.buildx.values import as_list, read_count, read_items, read_text

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from bxcache.buildx.stream.events import Event, Phase

_DECODER = json.JSONDecoder()
# Parallel exports collide on a blob and are retried; the build succeeds.
_NOISE = ("ERROR: (*service).Write failed",)
# A cache export prints this before a retry, after the reason.
_PAUSES = "retrying in "
_LONGEST_SAID, _MOST_SAID = 64_000, 1_000
"""How much of docker's own output is kept: characters of a line, and lines. It is usually a few
lines, of which the first and the last matter."""


class TraceReader:
    """Reads a stream line by line into the state of each vertex, by digest."""

    def __init__(self) -> None:
        self.vertices: dict[str, Vertex] = {}
        self._has_begun = False
        self._failed = math.inf
        self._said: list[str] = []
        self._warnings: dict[str, None] = {}
        self._moved: dict[Transfer, dict[str, int]] = defaultdict(dict)

    def feed(self, line: str) -> Iterator[Event]:
        """Read one line and yield its events."""
        document = parse_status(line)
        return self.read_output(line) if document is None else self.read(document)

    def read(self, document: dict[str, Any]) -> Iterator[Event]:
        """Read one message of BuildKit and yield its events."""
        if not self._has_begun:
            self._has_begun = True
            yield events.RunStarted()
        for key, take in self._KINDS:
            for message in read_items(document, key):
                yield from take(self, message)

    def end(self) -> Iterator[Event]:
        """Yield the end of steps that have none in the stream, once the stream has ended."""
        for vertex in self.vertices.values():
            if vertex.started and vertex.outcome is None:
                vertex.started = False
                yield from _report_change(vertex, None, started=True)

    def finish(
        self,
        own: Collection[str] = (),
        beside: Iterable[TraceReader] = (),
        guessed: Collection[str] = (),
    ) -> Trace:
        """Return the trace of the whole stream.

        Two concurrent builds of one engine execute a shared step once. Both streams report the
        vertex of the first build, and the second's own vertex may never be reported as done. A step
        that was not needed is reported in only one stream.

        Args:
            own: the vertices of a completed build; empty if unknown.
            beside: the readers of concurrent builds.
            guessed: the known vertices of a build that did not complete.
        """
        elsewhere = [vertex for each in beside for vertex in each.vertices.values()]
        vertices = list(self.vertices.values())
        return Trace(
            steps=tuple(list_steps(vertices, own or guessed, elsewhere, ended=bool(own))),
            transfers=tuple(list_transfers(vertices)),
            said=tuple(self._said),
            unloaded=tuple(each.unloaded for each in vertices if each.unloaded),
            sources=tuple(list_sources(vertices)),
            began=find_beginning(start for each in vertices for start in each.spans),
            warnings=tuple(self._warnings),
            spans=tuple(list_spans(vertices)),
            phase_bytes=count_bytes(vertices),
            moved={kind: sum(items.values()) for kind, items in self._moved.items()},
            listed=tuple(each.step for each in vertices if each.step and each.step.is_counted),
        )

    def read_output(self, line: str) -> Iterator[Event]:
        """Read a line of docker's own output, outside BuildKit's messages."""
        text = line[:_LONGEST_SAID].rstrip()
        if not text.startswith(_NOISE) and (text or self._said):
            self._said.append(text)
            if len(self._said) > 2 * _MOST_SAID:
                del self._said[_MOST_SAID // 2 : -_MOST_SAID // 2]
            yield events.Said(text)

    def _vertex(self, message: dict[str, Any], key: str) -> Vertex | None:
        digest = read_text(message, key)
        if digest and digest not in self.vertices:
            self.vertices[digest] = Vertex(digest)
        return self.vertices.get(digest)

    def _read_vertex(self, message: dict[str, Any]) -> Iterator[Event]:
        vertex = self._vertex(message, "digest")
        if vertex is None:
            return
        is_new = not vertex.name
        if is_new:
            vertex.name = read_text(message, "name")
            vertex.step = parse_step_name(vertex.name)
        inputs = as_list(message.get("inputs"))
        if inputs and not vertex.inputs:
            vertex.inputs = tuple(each for each in inputs if isinstance(each, str))
            vertex.reported_as = self._find_reported(vertex)
        if is_new and vertex.step is not None and vertex.step.is_counted:
            yield events.StepListed(vertex.step, vertex.reported_as)
        outcome, started = vertex.outcome, vertex.started
        if not self._is_given_up(message):
            advance(vertex, message)
        if vertex.step is not None and vertex.outcome is Outcome.FAILED:
            self._failed = min(
                self._failed, parse_time(read_text(message, "completed")) or math.inf
            )
        if vertex.step is None or vertex.step.is_base:
            yield from _report_work(vertex, find_phase(vertex), vertex.name, message)
        if vertex.outcome is not outcome or vertex.started is not started:
            yield from _report_change(vertex, outcome, started=started)

    def _is_given_up(self, message: dict[str, Any]) -> bool:
        """Whether a message calls a step found that nothing needs any more, since another failed.

        Nine of 392 failed builds with an empty cache had such messages (BuildKit 0.25).
        """
        ended = read_text(message, "completed")
        is_skipped = message.get("cached") is True and ended == read_text(message, "started")
        return is_skipped and not read_text(message, "error") and parse_time(ended) > self._failed

    def _find_reported(self, vertex: Vertex) -> str:
        """Return the digest that a step's events use: its own, or that of its fetch."""
        inputs = (self.vertices[each] for each in vertex.inputs if each in self.vertices)
        return next((each.reported_as for each in inputs if each.is_part_of(vertex)), vertex.digest)

    def _read_status(self, message: dict[str, Any]) -> Iterator[Event]:
        status = read_text(message, "id")
        written = WRITTEN.fullmatch(status)
        if written is not None and (vertex := self._vertex(message, "vertex")) is not None:
            vertex.written = written["digest"]
        yield from self._read_part(message, status)
        moved = find_transfer(status)
        if moved is not None:
            kind, item = moved
            current, total = read_count(message, "current"), read_count(message, "total")
            # A layer is fetched once for all its users, but sent contexts share one name.
            key = f"{read_text(message, 'vertex')} {item}" if kind is Transfer.SEND else item
            self._moved[kind][key] = max(current, self._moved[kind].get(key, 0))
            done = bool(read_text(message, "completed"))
            sender = self.vertices.get(read_text(message, "vertex"))
            is_context = kind is Transfer.SEND and sender is not None and is_local(sender.name)
            yield events.Transferred(kind, item, current, total, done, is_context)

    def _read_part(self, message: dict[str, Any], status: str) -> Iterator[Event]:
        vertex = self.vertices.get(read_text(message, "vertex"))
        phase = find_part(status)
        if vertex is None or phase is None:
            return
        part = vertex.parts.setdefault(status, Part())
        part.bytes = max(part.bytes, read_count(message, "current"))
        started, completed = read_text(message, "started"), read_text(message, "completed")
        if started and completed:
            part.spans[started] = completed
        if phase in WORK:
            yield from _report_work(part, phase, status, message)

    def _read_log(self, message: dict[str, Any]) -> Iterator[Event]:
        vertex = self._vertex(message, "vertex")
        if vertex is None:
            return
        step, stream = vertex.step, 2 if message.get("stream") == 2 else 1  # noqa: PLR2004  # stderr
        for data in decode_base64(message.get("data")):
            text, reader = vertex.print(data, stream)
            if step is not None:
                for line in reader.split(text):
                    yield events.StepLogged(step, line, vertex.reported_as)
                if "\r" in text and (shown := reader.find_shown()):
                    yield events.StepShown(step, shown, vertex.reported_as)
            else:
                kept = [line for line in text.splitlines() if line and not line.startswith(_PAUSES)]
                vertex.log = (kept or [vertex.log])[-1].removeprefix("error: ")

    def _read_warning(self, message: dict[str, Any]) -> Iterator[Event]:
        if text := read_warning(message):
            self._warnings[text] = None
            yield events.Warned(text)

    _KINDS = (
        ("vertexes", _read_vertex),
        ("statuses", _read_status),
        ("logs", _read_log),
        ("warnings", _read_warning),
    )


def _report_work(
    work: Vertex | Part, phase: Phase, item: str, message: dict[str, Any]
) -> Iterator[Event]:
    """Yield the beginning or the end of work that is no step."""
    started, completed = read_text(message, "started"), read_text(message, "completed")
    is_running = bool(started) and not completed
    if is_running and not work.is_running:
        yield events.Worked(phase, item)
    elif completed and work.is_running:
        yield events.Worked(phase, item, measure_spans({started: completed}))
    work.is_running = is_running


def _report_change(vertex: Vertex, outcome: Outcome | None, *, started: bool) -> Iterator[Event]:
    step = vertex.step
    if step is None or not step.is_counted:
        return
    if vertex.started and not started and vertex.outcome is None:
        yield events.StepStarted(step, vertex.reported_as)
    if vertex.outcome is not None and vertex.outcome is not outcome:
        for rest in vertex.end_lines():
            yield events.StepLogged(step, rest, vertex.reported_as)
        seconds = measure_spans(vertex.spans)
        yield events.StepFinished(step, vertex.outcome, seconds, vertex.error, vertex.reported_as)
    elif started and not vertex.started and vertex.outcome is None:
        yield events.StepStopped(step, measure_spans(vertex.spans), vertex.reported_as)


def parse_status(line: str) -> dict[str, Any] | None:
    """Parse a line as BuildKit's message; return None for any other line."""
    if not line.startswith("{"):
        return None
    try:
        # It begins with a brace, so it is an object or invalid.
        document, end = _DECODER.raw_decode(line)
    except (ValueError, RecursionError):
        return None
    return document if not line[end:].strip(" \t\r\n") else None
