"""The stages of a Dockerfile, and which of them a build needs.

BuildKit tells the line of each step, not the stage that the line is in, and of a stage that is not
part of the build it tells nothing. So the heads of the stages are read here, and nothing else.
https://docs.docker.com/reference/dockerfile/#format
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_DIRECTIVE = re.compile(r"#\s*(?P<name>[A-Za-z]+)\s*=\s*(?P<value>.+?)\s*")
_HEREDOC = re.compile(r"(?<![<\w])\d*<<(?P<dash>-?)(?P<quote>[\"']?)(?P<word>\w+)(?P=quote)(?!\S)")
_WITH_HEREDOCS = ("RUN", "COPY", "ADD")
_FROM = re.compile(r"FROM(?:\s+--\S+)*\s+(?P<base>\S+)(?:\s+AS\s+(?P<name>\S+))?\s*", re.IGNORECASE)
_USED = re.compile(r"(?:\s--from=|[\s,]from=)[\"']?(?P<name>[^\s,\"']+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class DockerfileStage:
    """A stage as its Dockerfile has it.

    Attributes:
        name: its name in small letters, as BuildKit shows it; `stage-N` for an unnamed one.
        line: the line of its `FROM`, from 1.
        last_line: the last line before the next stage.
        base: what stands behind `FROM`: an image, or another stage.
        uses: what its instructions copy or mount from, as far as it can be a stage.
        is_named: it has a name of its own.
    """

    name: str
    line: int
    last_line: int
    base: str
    uses: tuple[str, ...] = ()
    is_named: bool = True


def list_stages(text: str) -> tuple[DockerfileStage, ...]:
    """The stages of a Dockerfile in their order; none where it has none.

    >>> [stage.name for stage in list_stages("FROM a AS Build\\nFROM build")]
    ['build', 'stage-1']
    """
    lines = text.splitlines()
    stages: list[DockerfileStage] = []
    for line, instruction in _list_instructions(lines):
        head = _FROM.fullmatch(instruction)
        if head is not None:
            name = (head["name"] or f"stage-{len(stages)}").lower()
            named = head["name"] is not None
            stages.append(DockerfileStage(name, line, len(lines), head["base"], is_named=named))
        elif stages:
            used = tuple(match["name"] for match in _USED.finditer(instruction))
            stages[-1] = replace(stages[-1], uses=(*stages[-1].uses, *used))
    for at, following in enumerate(stages[1:]):
        stages[at] = replace(stages[at], last_line=following.line - 1)
    return tuple(stages)


def find_base(stages: Sequence[DockerfileStage], position: int) -> DockerfileStage | None:
    """The stage that the one at a position builds on; None where that is an image."""
    base = stages[position].base.lower()
    return next((each for each in reversed(stages[:position]) if each.name == base), None)


def list_needed(stages: Sequence[DockerfileStage], target: str | None) -> frozenset[str]:
    """The names of the stages that feed a target: BuildKit builds no others."""
    names = {stage.name: number for number, stage in enumerate(stages)}
    last = len(stages) - 1
    waiting = [names.get(target.lower(), last) if target else last] if stages else []
    found: set[int] = set()
    while waiting:
        at = waiting.pop()
        if at in found:
            continue
        found.add(at)
        for used in (stages[at].base, *stages[at].uses):
            number = int(used) if used.isdecimal() else names.get(used.lower(), len(stages))
            # A stage can only use those before it.
            waiting += [number] if number < at else []
    return frozenset(stages[number].name for number in found)


def _list_instructions(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Each instruction with the line that it begins in; what a heredoc holds is left out."""
    numbered = enumerate(lines, 1)
    parts: list[str] = []
    escape, begun, heading = "\\", 0, True
    for number, line in numbered:
        text = line.strip()
        directive = _DIRECTIVE.fullmatch(text) if heading else None
        heading = directive is not None
        if directive is not None and directive["name"].lower() == "escape":
            escape = directive["value"]
        if text.startswith("#") or not text:
            continue
        begun = begun if parts else number
        if text.endswith(escape):
            parts.append(text.removesuffix(escape))
            continue
        instruction = " ".join((*parts, text))
        parts = []
        yield begun, instruction
        if instruction.upper().removeprefix("ONBUILD").split()[:1] in ([w] for w in _WITH_HEREDOCS):
            _skip_heredocs(instruction, numbered)
    if parts:
        yield begun, " ".join(parts)


def _skip_heredocs(instruction: str, numbered: Iterator[tuple[int, str]]) -> None:
    for heredoc in _HEREDOC.finditer(instruction):
        for _, line in numbered:
            if (line.lstrip("\t") if heredoc["dash"] else line) == heredoc["word"]:
                break
