"""What a build would do, by its Dockerfile and its files, in the form of a record."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bxcache.buildx.dockerfile import (
    SCRATCH,
    find_stage,
    list_bases,
    list_needed,
    list_stages,
    list_used,
)
from bxcache.buildx.stream.events import Outcome
from bxcache.insight.record_parts import RecordedStage, RecordedStep

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bxcache.buildx.dockerfile import DockerfileStage
    from bxcache.insight.inputs import InputWriter
    from bxcache.insight.record import Record
    from bxcache.insight.record_inputs import RecordedInstruction
    from bxcache.insight.record_parts import RecordedArguments

_Place = tuple[int, tuple[str, ...]]
"""A stage's number, and the platforms of its steps."""


def expect_build(
    writer: InputWriter,
    arguments: RecordedArguments,
    target: str | None,
    before: Record,
    uncached: tuple[str, ...] = (),
) -> Record:
    """Write the record of a build that has not happened, all of whose steps would be executed.

    Args:
        writer: what the build can read; its key is that of the earlier record.
        arguments: the build arguments.
        target: the stage to build; None for the last one.
        before: an earlier build, which knows the platforms and what the base images were.
        uncached: the stages that would be built without a cache.
    """
    stages = list_stages(writer.dockerfile)
    needed = list_needed(stages, target)
    instructions = writer.write_instructions()
    expected = _Expected(writer, stages, instructions, before)
    for number, stage in enumerate(stages):
        if stage in needed:
            expected.add_stage(number)
    return before.model_copy(
        update={
            "exit_status": 0,
            "steps": tuple(expected.steps),
            "stages": tuple(
                RecordedStage(name=s.name, line=s.line, base=s.base, needed=s in needed)
                for s in stages
            ),
            "instructions": instructions,
            "arguments": arguments,
            "files": writer.write_files(),
            "frontend": None,
            "uncached": uncached,
            "caches": (),
            "misses": (),
        }
    )


class _Expected:
    """The steps of the build, in the order of the Dockerfile."""

    def __init__(
        self,
        writer: InputWriter,
        stages: Sequence[DockerfileStage],
        instructions: Sequence[RecordedInstruction],
        before: Record,
    ) -> None:
        self.steps: list[RecordedStep] = []
        self._writer, self._stages, self._before = writer, stages, before
        self._bases = list_bases(stages)
        self._hashes = {each.line: each.hash for each in instructions}
        self._texts = _list_texts(before)
        self._ends: dict[_Place, int | None] = {}

    def add_stage(self, number: int) -> None:
        """Add the steps of a stage, for each platform that an earlier build has them for."""
        stage = self._stages[number]
        # BuildKit names no stage if there is one alone.
        name = stage.name if len(self._stages) > 1 else self._name_only()
        known = (each.platforms for each in self._before.steps if each.stage == name)
        for platforms in dict.fromkeys(known) or [()]:
            parent = self._find_base(number, name, platforms)
            for line, _ in stage.steps:
                parent = self._add_step(number, name, line, platforms, parent)
            self._ends[number, platforms] = parent

    def _name_only(self) -> str:
        names = (each.stage for each in self._before.steps if each.kind == "instruction")
        return next(names, "")

    def _find_base(self, number: int, name: str, platforms: tuple[str, ...]) -> int | None:
        stage, below = self._stages[number], self._bases[number]
        if below is not None:
            return self._find_end(below, platforms)
        if stage.base.lower() == SCRATCH:
            return None
        text = self._texts.get(self._hashes.get(stage.line, ""), f"FROM {stage.base}")
        base = RecordedStep(
            kind="from", text=text, stage=name, lines=(stage.line,), platforms=platforms
        )
        self.steps.append(base)
        return len(self.steps) - 1

    def _find_end(self, number: int, platforms: tuple[str, ...]) -> int | None:
        # A stage for the builder's own platform has steps of no other one.
        places = ((number, each) for each in (platforms, ()))
        return next((self._ends[each] for each in places if each in self._ends), None)

    def _add_step(
        self, number: int, name: str, line: int, platforms: tuple[str, ...], parent: int | None
    ) -> int:
        written = self._writer.find_text(line)
        text = self._texts.get(self._hashes.get(line, ""), written)
        used = (find_stage(self._stages, each, number) for each in list_used(written))
        needs = (self._find_end(each, platforms) for each in used if each is not None)
        found = tuple(each for each in needs if each is not None and each != parent)
        self.steps.append(
            RecordedStep(
                text=text,
                stage=name,
                lines=(line,),
                platforms=platforms,
                parent=parent,
                outcome=Outcome.EXECUTED,
                inputs=self._writer.write_known((line,), found),
            )
        )
        return len(self.steps) - 1


def _list_texts(before: Record) -> Mapping[str, str]:
    """List how BuildKit has shown each instruction, by its hash."""
    hashes = {each.line: each.hash for each in before.instructions}
    return {
        hashes[line]: step.text for step in before.steps for line in step.lines if line in hashes
    }
