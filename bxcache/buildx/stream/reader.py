"""`--progress rawjson` to steps and their outcomes. Pure: lines in, values out.

Each line is a SolveStatus: https://github.com/moby/buildkit/blob/v0.25.2/client/graph.go
Lines that are no JSON are mixed in: warnings, and for a failed build docker's own error.

Which outcome a step has is not written anywhere; it follows from the order of its messages:

- `cached` and started at the very time it completed: it was never needed, since something built
  from it was found. Reused.
- `cached` and completed: found in a cache and loaded. Reused.
- `cached` with an error: found, but it could not be loaded. Open; it is executed if it is needed.
- completed, not `cached`: executed, unless it was found before: then its layers were fetched.
- completed with an error that the build was canceled: it was stopped, which is no outcome. Of two
  equal steps, such as those of two platforms, BuildKit executes one and tells of both.
"""

from __future__ import annotations

import json
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from bxcache.buildx.stream.events import (
    Event,
    Outcome,
    RunStarted,
    Said,
    StepFinished,
    StepLogged,
    StepShown,
    StepStarted,
    StepStopped,
    Transferred,
    Warned,
)
from bxcache.buildx.stream.names import (
    Transfer,
    find_transfer,
    is_local,
    parse_step_name,
    parse_written_manifest,
)
from bxcache.buildx.stream.raw import decode_base64
from bxcache.buildx.stream.trace import Trace, list_sources, list_steps, list_transfers
from bxcache.buildx.stream.vertices import (
    Vertex,
    advance,
    find_beginning,
    measure_spans,
    read_count,
    read_text,
    read_warning,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

_DECODER = json.JSONDecoder()
# Exports in parallel collide on one blob and are tried again; the build succeeds.
_NOISE = ("ERROR: (*service).Write failed",)
# What the export of a cache prints before it tries again; why comes before.
_PAUSES = "retrying in "
_LONGEST_SAID, _MOST_SAID = 64_000, 1_000
"""How much is kept of what docker says outside of BuildKit's messages: of a line in characters, and
lines. It is a few lines as a rule, the first and the last of which are what counts."""


class TraceReader:
    """Reads a stream line by line.

    Attributes:
        vertices: what has been told of each vertex, by its digest.
    """

    def __init__(self) -> None:
        self.vertices: dict[str, Vertex] = {}
        self._has_begun = False
        self._said: list[str] = []
        self._warnings: dict[str, None] = {}
        self._moved: dict[Transfer, dict[str, int]] = defaultdict(dict)

    def feed(self, line: str) -> Iterator[Event]:
        """Take one line and tell what it means, if anything."""
        document = parse_status(line)
        return self.hear(line) if document is None else self.read(document)

    def read(self, document: dict[str, Any]) -> Iterator[Event]:
        """Take one message of BuildKit and tell what it means, if anything."""
        if not self._has_begun:
            self._has_begun = True
            yield RunStarted()
        for key, take in self._KINDS:
            if key in document:
                for message in read_items(document, key):
                    yield from take(self, message)

    def end(self) -> Iterator[Event]:
        """Tell the end of the steps that have none in the stream, which has ended."""
        for vertex in self.vertices.values():
            if vertex.started and vertex.outcome is None:
                vertex.started = False
                yield from _tell_change(vertex, None, started=True)

    def finish(
        self,
        own: Collection[str] = (),
        beside: Iterable[TraceReader] = (),
        guessed: Collection[str] = (),
    ) -> Trace:
        """What has been read, as a whole.

        What two builds of one engine have in common is done once. Both streams tell of the vertex
        of the build that was first, and the other's own may never be told to be done. That
        something was not needed is told to one of them only.

        Args:
            own: the vertices of a build that has come to its end; empty if they are not known.
            beside: what has been read of builds that ran at the same time.
            guessed: its vertices as far as they are known, where it has come to no end.
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
            moved={kind: sum(items.values()) for kind, items in self._moved.items()},
        )

    def hear(self, line: str) -> Iterator[Event]:
        """Take what docker says outside of BuildKit's messages."""
        text = line[:_LONGEST_SAID].rstrip()
        if not text.startswith(_NOISE) and (text or self._said):
            self._said.append(text)
            if len(self._said) > 2 * _MOST_SAID:
                del self._said[_MOST_SAID // 2 : -_MOST_SAID // 2]
            yield Said(text)

    def _vertex(self, message: dict[str, Any], key: str) -> Vertex | None:
        """The vertex of a message; None where that names none."""
        digest = read_text(message, key)
        if digest and digest not in self.vertices:
            self.vertices[digest] = Vertex(digest)
        return self.vertices.get(digest)

    def _read_vertex(self, message: dict[str, Any]) -> Iterator[Event]:
        vertex = self._vertex(message, "digest")
        if vertex is None:
            return
        if not vertex.name:
            vertex.name = read_text(message, "name")
            vertex.step = parse_step_name(vertex.name)
        inputs = message.get("inputs")
        if not vertex.inputs and isinstance(inputs, list):
            vertex.inputs = tuple(each for each in inputs if isinstance(each, str))
            vertex.told_as = self._find_told(vertex)
        outcome, started = vertex.outcome, vertex.started
        advance(vertex, message)
        if vertex.outcome is not outcome or vertex.started is not started:
            yield from _tell_change(vertex, outcome, started=started)

    def _find_told(self, vertex: Vertex) -> str:
        """What a step is told as: its own digest, or that of what it was fetched by."""
        inputs = (self.vertices[each] for each in vertex.inputs if each in self.vertices)
        return next((each.told_as for each in inputs if each.is_part_of(vertex)), vertex.digest)

    def _read_status(self, message: dict[str, Any]) -> Iterator[Event]:
        told = read_text(message, "id")
        written = parse_written_manifest(told)
        vertex = self._vertex(message, "vertex") if written is not None else None
        if vertex is not None:
            vertex.written = written
        moved = find_transfer(told)
        if moved is not None:
            kind, item = moved
            current, total = read_count(message, "current"), read_count(message, "total")
            # A layer is fetched once for all that need it; what is sent has one name everywhere.
            key = f"{read_text(message, 'vertex')} {item}" if kind is Transfer.SEND else item
            self._moved[kind][key] = max(current, self._moved[kind].get(key, 0))
            done = bool(read_text(message, "completed"))
            sender = self.vertices.get(read_text(message, "vertex"))
            is_context = kind is Transfer.SEND and sender is not None and is_local(sender.name)
            yield Transferred(kind, item, current, total, done, is_context)

    def _read_log(self, message: dict[str, Any]) -> Iterator[Event]:
        vertex = self._vertex(message, "vertex")
        if vertex is None:
            return
        step, stream = vertex.step, 2 if message.get("stream") == 2 else 1  # noqa: PLR2004  # stderr
        for data in decode_base64(message.get("data")):
            text, reader = vertex.print(data, stream)
            if step is not None:
                for line in reader.split(text):
                    yield StepLogged(step, line, vertex.told_as)
                if "\r" in text and (shown := reader.find_shown()):
                    yield StepShown(step, shown, vertex.told_as)
            else:
                told = [line for line in text.splitlines() if line and not line.startswith(_PAUSES)]
                vertex.log = (told or [vertex.log])[-1].removeprefix("error: ")

    def _read_warning(self, message: dict[str, Any]) -> Iterator[Event]:
        if text := read_warning(message):
            self._warnings[text] = None
            yield Warned(text)

    _KINDS = (
        ("vertexes", _read_vertex),
        ("statuses", _read_status),
        ("logs", _read_log),
        ("warnings", _read_warning),
    )


def _tell_change(vertex: Vertex, outcome: Outcome | None, *, started: bool) -> Iterator[Event]:
    step = vertex.step
    if step is None or step.is_base or step.is_link:
        return
    if vertex.started and not started and vertex.outcome is None:
        yield StepStarted(step, vertex.told_as)
    if vertex.outcome is not None and vertex.outcome is not outcome:
        for rest in vertex.end_lines():
            yield StepLogged(step, rest, vertex.told_as)
        seconds = measure_spans(vertex.spans)
        yield StepFinished(step, vertex.outcome, seconds, vertex.error, vertex.told_as)
    elif started and not vertex.started and vertex.outcome is None:
        yield StepStopped(step, measure_spans(vertex.spans), vertex.told_as)


def parse_status(line: str) -> dict[str, Any] | None:
    """A line as BuildKit's message, or None where it is none."""
    if not line.startswith("{"):
        return None
    try:
        # It begins with a brace, so it is a table or nothing.
        document, end = _DECODER.raw_decode(line)
    except (ValueError, RecursionError):
        return None
    return document if not line[end:].strip(" \t\r\n") else None


def read_items(document: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """The messages of one kind."""
    found = document.get(key)
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []
