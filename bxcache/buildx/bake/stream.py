"""The stream of a bake of several targets, split by target. Pure: lines in, values out.

buildx puts the target in front of each vertex's name, and reports a vertex of two targets once for
each: https://github.com/docker/buildx/blob/v0.29.1/util/progress/multiwriter.go
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from bxcache.buildx.dockerfile import list_needed, list_stages
from bxcache.buildx.stream.events import Outcome
from bxcache.buildx.stream.raw import ERROR
from bxcache.buildx.stream.reader import TraceReader, parse_status
from bxcache.buildx.stream.vertices import read_excerpt
from bxcache.buildx.values import read_items, read_text

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Container, Iterator, Mapping, Sequence

    from bxcache.buildx.stream.events import Event
    from bxcache.buildx.stream.trace import Trace

_RESOLVING = "resolving provenance for metadata file"
_PUSHING = re.compile(r"pushing .* with docker", re.DOTALL)
_TARGET = re.compile(rf"{ERROR}target (?P<name>[\w-]+): (?P<rest>.*)", re.DOTALL)


class BakeReader:
    """Reads a stream line by line."""

    def __init__(
        self, targets: Sequence[str], stages: Mapping[str, str | None] | None = None
    ) -> None:
        """Begin a stream of targets, each with the stage that it builds, if it names one.

        A single target has names as in a build.
        """
        self._stages = stages or {}
        self._readers = {target: TraceReader() for target in targets}
        self._only = targets[0] if len(targets) == 1 else None
        # Each vertex's targets, and whether they reported it before its work began.
        self._owners: dict[str, dict[str, bool]] = {}

    def feed(self, line: str) -> Iterator[tuple[str, Event]]:
        """Read one line and yield its events, each with its target; empty if not a single one."""
        document = parse_status(line)
        if document is None:
            yield from self._read_output(line)
            return
        for target, part in self._split(document).items():
            for event in self._readers[target].read(part):
                yield target, event
        for message in read_items(document, "warnings") if self._only is None else ():
            yield from self._warn(message)

    def end(self) -> Iterator[tuple[str, Event]]:
        """Yield the end of steps that have none in the stream, once the stream has ended."""
        for target, reader in self._readers.items():
            for event in reader.end():
                yield target, event

    def finish(self, target: str, own: Collection[str] = ()) -> Trace:
        """Return the trace of a target, from its own vertices as far as known."""
        others = (reader for name, reader in self._readers.items() if name != target)
        return self._readers[target].finish(own, others, self._guess_own(target))

    def find_shared(self, target: str, own: Container[str]) -> dict[str, str]:
        """Find the own vertices of a target whose work is that of another target's vertex.

        BuildKit merges equal steps of concurrent builds into the vertex of one build, and reports
        that also to the others, by its name. Of several vertices of one name, none is meant.
        """
        mine, others = defaultdict[str, list[str]](list), defaultdict[str, list[str]](list)
        for digest, vertex in self._readers[target].vertices.items():
            if vertex.step is not None:
                (mine if digest in own else others)[vertex.name].append(digest)
        return {
            mine[name][0]: found[0]
            for name, found in others.items()
            if len(found) == len(mine[name]) == 1
        }

    def find_end(self, target: str) -> bool | None:
        """Whether a target was built and exported; None if the stream does not show that.

        After BuildKit built and exported a target, buildx since 0.14 resolves its provenance, and
        then pushes images from a classic engine:
        https://github.com/docker/buildx/blob/v0.29.1/build/build.go

        Each of a builder's nodes reports its own part.
        """
        vertices = self._readers[target].vertices.values()
        resolved = [each.outcome for each in vertices if each.name == _RESOLVING]
        pushed = [each.outcome for each in vertices if _PUSHING.fullmatch(each.name)]
        if any(each is not Outcome.EXECUTED for each in pushed):
            return False
        return True if Outcome.EXECUTED in resolved else None

    def _guess_own(self, target: str) -> frozenset[str]:
        """Guess a target's own vertices from the stream; empty if it is the only target."""
        named = {
            digest: (step.platform, step.stage, step.text)
            for digest, vertex in self._readers[target].vertices.items()
            if (step := vertex.step) is not None and digest in self._owners
        }
        # A target first reports all its vertices. One that another target executes instead is
        # reported later, under the same name.
        first = {digest for digest in named if self._owners[digest][target]}
        names = {named[digest] for digest in first}
        return frozenset(d for d in named if d in first or named[d] not in names)

    def _warn(self, message: dict[str, Any]) -> Iterator[tuple[str, Event]]:
        concerned = self._find_concerned(message)
        only = concerned[0] if len(concerned) == 1 else ""
        return self._read_once(concerned, only, lambda each: each.read({"warnings": [message]}))

    def _find_concerned(self, message: dict[str, Any]) -> list[str]:
        """Return the targets that need the stage of a warning: BuildKit reports it to all."""
        owners = [*self._owners.get(read_text(message, "vertex"), ())]
        if len(owners) == 1:
            return owners
        text, lines = read_excerpt(message)
        stages = list_stages(text)
        needing = [
            target
            for target in owners
            for stage in list_needed(stages, self._stages.get(target))
            if any(stage.line <= line <= stage.last_line for line in lines)
        ]
        return [*dict.fromkeys(needing)] or owners

    def _read_output(self, line: str) -> Iterator[tuple[str, Event]]:
        """Read docker's own output, of all targets unless it names one; report it once."""
        named = _TARGET.fullmatch(line)
        meant = [*self._readers]
        if named is not None and named["name"] in self._readers:
            meant, line = [named["name"]], f"{ERROR}{named['rest']}"
        elif line.startswith(ERROR):
            # An old buildx names none, so the targets with a failed step are meant.
            meant = [*filter(self._has_failed, meant)] or meant
        # An excerpt of a Dockerfile names none either; it is from the only target that failed.
        failed = [*filter(self._has_failed, meant)]
        only = next(iter(failed if len(failed) == 1 else meant if len(meant) == 1 else ()), "")
        return self._read_once(meant, only, lambda each: each.read_output(line))

    def _read_once(
        self, targets: Sequence[str], only: str, read: Callable[[TraceReader], Iterator[Event]]
    ) -> Iterator[tuple[str, Event]]:
        """Let the readers of some targets read the same, and yield the events of one of them."""
        events = [[*read(self._readers[target])] for target in targets]
        return ((only, event) for event in (events[0] if events else ()))

    def _has_failed(self, target: str) -> bool:
        vertices = self._readers[target].vertices.values()
        return any(each.step and each.outcome is Outcome.FAILED for each in vertices)

    def _split(self, document: dict[str, Any]) -> dict[str, dict[str, Any]]:
        if self._only is not None:
            return {self._only: document}
        parts: dict[str, dict[str, list[Any]]] = defaultdict(lambda: defaultdict(list))
        for vertex in read_items(document, "vertexes"):
            target, name = self._find_target(read_text(vertex, "name"))
            if target is not None:
                begun = self._owners.setdefault(read_text(vertex, "digest"), {})
                begun.setdefault(target, not read_text(vertex, "started"))
                parts[target]["vertexes"].append({**vertex, "name": name})
        for key in ("statuses", "logs"):
            for message in read_items(document, key):
                owners = [*self._owners.get(read_text(message, "vertex"), ())]
                # A status counts for all of them; a log line is reported once.
                for target in owners if key == "statuses" else owners[:1]:
                    parts[target][key].append(message)
        return parts

    def _find_target(self, name: str) -> tuple[str | None, str]:
        """Return a vertex's target, if known, and its name without the target."""
        head, bracket, rest = name.partition("]")
        target, _, label = head.removeprefix("[").partition(" ")
        if not bracket or not name.startswith("[") or target not in self._readers:
            return None, name
        return target, f"[{label}]{rest}" if label else rest.removeprefix(" ")
