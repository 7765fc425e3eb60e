"""The stream of a bake of several targets, taken apart. Pure: lines in, values out.

buildx puts the target before the names of all vertices, and tells of a vertex that two targets have
once for each: https://github.com/docker/buildx/blob/v0.29.1/util/progress/multiwriter.go
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from bxcache.buildx.dockerfile import list_needed, list_stages
from bxcache.buildx.stream.events import Outcome
from bxcache.buildx.stream.raw import ERROR
from bxcache.buildx.stream.reader import TraceReader, parse_status, read_items
from bxcache.buildx.stream.vertices import read_place, read_text

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

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
        """Begin a stream.

        Args:
            targets: the targets of the bake; of one alone the names are as in a build.
            stages: the stage that each target builds, as far as it names one.
        """
        self._stages = stages or {}
        self._readers = {target: TraceReader() for target in targets}
        self._only = targets[0] if len(targets) == 1 else ""
        # For each vertex its targets, and whether they told of it before anything was done.
        self._owners: dict[str, dict[str, bool]] = {}

    def feed(self, line: str) -> Iterator[tuple[str, Event]]:
        """Take one line and tell what it means, each event with its target.

        What is not known to concern one target has an empty name.
        """
        document = parse_status(line)
        if document is None:
            yield from self._hear(line)
            return
        for target, part in self._split(document).items():
            for event in self._readers[target].read(part):
                yield target, event
        for message in read_items(document, "warnings") if not self._only else ():
            yield from self._warn(message)

    def end(self) -> Iterator[tuple[str, Event]]:
        """Tell the end of the steps that have none in the stream, which has ended."""
        for target, reader in self._readers.items():
            for event in reader.end():
                yield target, event

    def finish(self, target: str, own: Collection[str] = ()) -> Trace:
        """What has been read of a target, as a whole.

        Args:
            target: the target.
            own: the vertices that are its own; empty if that is not known.
        """
        others = (reader for name, reader in self._readers.items() if name != target)
        return self._readers[target].finish(own, others, self._guess_own(target))

    def find_end(self, target: str) -> bool | None:
        """Whether a target was built with all that it leaves; None where the stream does not tell.

        Once BuildKit has built a target and exported it, buildx since 0.14 resolves its provenance,
        and then pushes what a classic engine holds:
        https://github.com/docker/buildx/blob/v0.29.1/build/build.go

        Of several nodes of a builder each one tells its own part.
        """
        vertices = self._readers[target].vertices.values()
        resolved = [each.outcome for each in vertices if each.name == _RESOLVING]
        pushed = [each.outcome for each in vertices if _PUSHING.fullmatch(each.name)]
        if any(each is not Outcome.EXECUTED for each in pushed):
            return False
        return True if Outcome.EXECUTED in resolved else None

    def _guess_own(self, target: str) -> frozenset[str]:
        """Its own vertices, as far as the stream tells; empty if it is alone.

        A target begins with all that it has to do. What another target does in its place is told
        later, under the same name.
        """
        named = {
            digest: (step.platform, step.stage, step.text)
            for digest, vertex in self._readers[target].vertices.items()
            if (step := vertex.step) is not None and digest in self._owners
        }
        first = {digest for digest in named if self._owners[digest][target]}
        names = {named[digest] for digest in first}
        return frozenset(d for d in named if d in first or named[d] not in names)

    def _warn(self, message: dict[str, Any]) -> Iterator[tuple[str, Event]]:
        concerned = self._find_concerned(message)
        told = concerned[0] if len(concerned) == 1 else ""
        for number, target in enumerate(concerned):
            for event in self._readers[target].read({"warnings": [message]}):
                if not number:
                    yield told, event

    def _find_concerned(self, message: dict[str, Any]) -> list[str]:
        """The targets that a warning is about: those that need the stage that it names a line of.

        Targets with one Dockerfile have one vertex for it, and BuildKit tells the warnings of each
        target to all of them.
        """
        owners = [*self._owners.get(read_text(message, "vertex"), ())]
        if len(owners) == 1:
            return owners
        text, lines = read_place(message)
        stages = list_stages(text)
        needing = [
            target
            for target in owners
            for stage in list_needed(stages, self._stages.get(target))
            if any(stage.line <= line <= stage.last_line for line in lines)
        ]
        return [*dict.fromkeys(needing)] or owners

    def _hear(self, line: str) -> Iterator[tuple[str, Event]]:
        """What docker says is meant for all, unless it names one; it is told once.

        Which target a warning is about docker does not say.
        """
        named = _TARGET.fullmatch(line)
        meant = [*self._readers]
        if named is not None and named["name"] in self._readers:
            meant, line = [named["name"]], f"{ERROR}{named['rest']}"
        elif line.startswith(ERROR):
            # An old buildx names none: those are meant that have a step that failed.
            meant = [*filter(self._has_failed, meant)] or meant
        # An excerpt of a Dockerfile names none either: it is that of the only one that has failed.
        failed = [*filter(self._has_failed, meant)]
        told = next(iter(failed if len(failed) == 1 else meant if len(meant) == 1 else ()), "")
        for number, target in enumerate(meant):
            for event in self._readers[target].hear(line):
                if not number:
                    yield told, event

    def _has_failed(self, target: str) -> bool:
        vertices = self._readers[target].vertices.values()
        return any(each.step and each.outcome is Outcome.FAILED for each in vertices)

    def _split(self, document: dict[str, Any]) -> dict[str, dict[str, Any]]:
        if self._only:
            return {self._only: document}
        parts: dict[str, dict[str, list[Any]]] = {}

        def add(target: str, key: str, message: dict[str, Any]) -> None:
            parts.setdefault(target, {}).setdefault(key, []).append(message)

        for vertex in read_items(document, "vertexes"):
            target, name = self._find_target(read_text(vertex, "name"))
            if target:
                owners = self._owners.setdefault(read_text(vertex, "digest"), {})
                owners.setdefault(target, not read_text(vertex, "started"))
                add(target, "vertexes", {**vertex, "name": name})
        for key in ("statuses", "logs"):
            for message in read_items(document, key):
                told = [*self._owners.get(read_text(message, "vertex"), ())]
                # A status counts for all of them; what a person reads is told once.
                for target in told if key == "statuses" else told[:1]:
                    add(target, key, message)
        return parts

    def _find_target(self, name: str) -> tuple[str, str]:
        """The target of a vertex, or an empty string, and its name without that."""
        head, bracket, rest = name.partition("]")
        target, _, label = head.removeprefix("[").partition(" ")
        if not bracket or not name.startswith("[") or target not in self._readers:
            return "", name
        return target, f"[{label}]{rest}" if label else rest.removeprefix(" ")
