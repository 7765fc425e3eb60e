"""What the Dockerfile of a build says of a step, and what it sets for it."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bxcache.insight.record import Record
    from bxcache.insight.record_inputs import RecordedInstruction
    from bxcache.insight.record_parts import RecordedStep

_FROM, _RUN, _WORKDIR = "FROM", "RUN", "WORKDIR"


class WrittenSteps:
    """The instructions of one build's Dockerfile."""

    def __init__(self, record: Record) -> None:
        self._instructions = record.instructions
        self._places = {each.line: at for at, each in enumerate(record.instructions)}
        self._stages = record.stages

    def find(self, step: RecordedStep) -> RecordedInstruction | None:
        """Find the instruction of a step; None if unknown."""
        places = (self._places[line] for line in step.lines if line in self._places)
        return next((self._instructions[at] for at in places), None)

    def list_hashes(self, stage: str) -> frozenset[str]:
        """List the hashes of a stage's instructions; of all where no stage has the name.

        BuildKit names no stage if there is one alone.
        """
        lines = (each.line for each in self._stages if each.name == stage)
        start = next((self._places[line] for line in lines if line in self._places), None)
        own = slice(start, None if start is None else self._find_end(start))
        return frozenset(each.hash for each in self._instructions[own])

    def list_settings(self, step: RecordedStep) -> dict[str, str] | None:
        """List the hashes of what is set for a step, by name; None if unknown.

        A command has all of it, and other instructions the variables in them.
        """
        own = self.find(step)
        if own is None:
            return None
        found: dict[str, str] = {}
        within: dict[str, tuple[str, ...]] = {}
        for each in self._list_before(own):
            found |= each.sets
            within |= dict.fromkeys(each.sets, each.variables)
        if own.verb == _RUN:
            return found
        mentioned = {_WORKDIR, *own.variables}
        waiting = list(own.variables)
        while waiting:
            # The value of a variable may contain others.
            more = [name for name in within.get(waiting.pop(), ()) if name not in mentioned]
            mentioned.update(more)
            waiting += more
        return {name: value for name, value in found.items() if name in mentioned}

    def _list_before(self, own: RecordedInstruction) -> Iterator[RecordedInstruction]:
        """List what comes before an instruction, from the bottom: the base stages first."""
        at = self._places[own.line]
        spans, passed = [], set[int]()
        while True:
            start = self._find_start(at)
            spans.append(self._instructions[start:at])
            base = self._find_base(self._instructions[start].line)
            if base is None or base in passed:
                break
            passed.add(base)
            at = self._find_end(base)
        # Arguments before the first stage are the defaults of those in stages.
        first = next((n for n, each in enumerate(self._instructions) if each.verb == _FROM), 0)
        yield from self._instructions[:first]
        for span in reversed(spans):
            yield from span

    def _find_start(self, at: int) -> int:
        while at > 0 and self._instructions[at].verb != _FROM:
            at -= 1
        return at

    def _find_end(self, start: int) -> int:
        at = start + 1
        while at < len(self._instructions) and self._instructions[at].verb != _FROM:
            at += 1
        return at

    def _find_base(self, line: int) -> int | None:
        """Find the position of the stage that a stage builds on; None if that is an image."""
        lines = [each.line for each in self._stages]
        number = bisect_right(lines, line) - 1
        if number < 0:
            return None
        name = self._stages[number].base.lower()
        below = [each for each in self._stages[:number] if each.name == name]
        return self._places.get(below[-1].line) if below else None
