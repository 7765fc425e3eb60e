"""The stages of a Dockerfile, which of them a build needs, and a copy with names for all.

BuildKit reports the line of each step, but not its stage, and nothing about stages that are not
built. This module parses only the heads of the stages.
https://docs.docker.com/reference/dockerfile/#format
"""

from __future__ import annotations

import re
import shutil
from functools import lru_cache
from itertools import takewhile
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct
from msgspec.structs import replace

from bxcache.config.paths import is_remote

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

_DIRECTIVE = re.compile(r"#\s*(?P<name>syntax|escape|check)\s*=\s*(?P<value>.+?)\s*", re.IGNORECASE)
SCRATCH = "scratch"
REMOTE_FILE = "remote file"
_DIGEST = "@sha256:"
_MOST_DIGITS = 9
_WORD = re.compile(r"""(?:<<\s*|\\.?|"(?:\\.|[^"\\])*"|'[^']*'|[^\s"'\\])+""")
_HEREDOC = re.compile(r"\d*<<(?P<dash>-?)\s*(?P<word>[^<]+)")
_QUOTED = re.compile(r"([\"'])(.*?)\1")
_WITH_HEREDOCS = ("RUN", "COPY", "ADD")
_STEPS = (*_WITH_HEREDOCS, "WORKDIR")
"""The instructions that make layers."""
_FROM = re.compile(r"FROM(?:\s+--\S+)*\s+(?P<base>\S+)(?:\s+AS\s+(?P<name>\S+))?\s*", re.IGNORECASE)
_USED = re.compile(r"(?:--from|[=,][\"']?from)=[\"']?(?P<name>[^\s,\"']+)", re.IGNORECASE)


class DockerfileStage(Struct, frozen=True):
    """A stage as written in its Dockerfile.

    Attributes:
        name: its name in lower case, as BuildKit shows it; `stage-N` if it has none.
        line, last_line: from its `FROM`, counted from 1, to the line before the next stage.
        base: the image or stage that `FROM` names.
        uses: possible stages that its instructions copy or mount from.
        head_line: the line where its `FROM` ends.
        steps: the first line and the verb of each instruction that makes a layer.
    """

    name: str
    line: int
    last_line: int
    base: str
    uses: tuple[str, ...] = ()
    is_named: bool = True
    head_line: int = 0
    steps: tuple[tuple[int, str], ...] = ()


class NamedStage(Protocol):
    """A stage that other stages can build on."""

    @property
    def name(self) -> str:
        """Its name in lower case."""

    @property
    def base(self) -> str:
        """The image or stage that its `FROM` names."""


@lru_cache(maxsize=4)
def list_stages(text: str) -> tuple[DockerfileStage, ...]:
    """List the stages of a Dockerfile in order.

    >>> [stage.name for stage in list_stages("FROM a AS Build\\nFROM build")]
    ['build', 'stage-1']
    """
    stages: list[DockerfileStage] = []
    count = len(_split_lines(text))
    for line, end, instruction in list_instructions(text):
        head = _FROM.fullmatch(instruction)
        if head is not None:
            name, named = (head["name"] or f"stage-{len(stages)}").lower(), bool(head["name"])
            stages.append(DockerfileStage(name, line, count, head["base"], (), named, end))
        elif stages:
            verb = instruction.split(maxsplit=1)[0].upper()
            stages[-1] = replace(
                stages[-1],
                uses=(*stages[-1].uses, *list_used(instruction)),
                steps=(*stages[-1].steps, *([(line, verb)] if verb in _STEPS else ())),
            )
    for at, following in enumerate(stages[1:]):
        stages[at] = replace(stages[at], last_line=following.line - 1)
    return tuple(stages)


def list_bases(stages: Iterable[NamedStage]) -> tuple[int | None, ...]:
    """Return for each stage the position of its base stage; None if the base is an image.

    If several stages have the base's name, the last one before the stage counts, as in BuildKit.
    """
    known: dict[str, int] = {}
    bases = []
    for position, stage in enumerate(stages):
        bases.append(known.get(stage.base.lower()))
        known[stage.name] = position
    return tuple(bases)


def list_needed(
    stages: Sequence[DockerfileStage], target: str | None
) -> frozenset[DockerfileStage]:
    """Return the stages that a target needs; BuildKit builds no others.

    Of several with one name, the last before the user counts; as the target, the last of all.
    """
    own = (at for at, each in enumerate(stages) if each.is_named)
    named = {stages[at].name: at for at in own}
    waiting = [named.get((target or "").lower(), len(stages) - 1)] if stages else []
    found: set[int] = set()
    while waiting:
        at = waiting.pop()
        if at in found:
            continue
        found.add(at)
        used = (find_stage(stages, each, at) for each in (stages[at].base, *stages[at].uses))
        waiting += [each for each in used if each is not None]
    return frozenset(stages[number] for number in found)


def find_stage(stages: Sequence[DockerfileStage], used: str, at: int) -> int | None:
    """Find the stage that a name or a number stands for in the stage at a position.

    A stage can use only earlier ones; of several with one name, the last counts.
    """
    if used.isdecimal() and len(used) <= _MOST_DIGITS:
        return int(used) if int(used) < at else None
    named = ((each, stages[each]) for each in reversed(range(at)))
    return next((n for n, each in named if each.is_named and each.name == used.lower()), None)


def list_instructions(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield each instruction with its first and last line; skip the content of heredocs."""
    lines = _split_lines(text)
    escape = re.escape(_find_directive(lines, "escape") or "\\")
    continued = re.compile(rf"(?<!{escape}){escape}[ \t]*$")
    numbered = enumerate(lines, 1)
    for number, line in numbered:
        if _is_blank(line):
            continue
        end, instruction = _join_lines((number, line), numbered, continued)
        if instruction:
            yield number, end, instruction
            _skip_heredocs(instruction, numbered)


def list_unpinned(
    text: str, target: str | None, contexts: Iterable[str] = ()
) -> Iterator[tuple[str, str]]:
    """List what a build gets from the network that another build can get otherwise.

    Each has its kind in words and its name. What a Dockerfile names with its digest is not listed,
    nor what the base images add by `ONBUILD`. `contexts` are names of local folders.

    >>> [*list_unpinned("# syntax=docker/dockerfile:1\\nFROM a@sha256:0\\nCOPY --from=b x y", None)]
    [('frontend', 'docker/dockerfile:1'), ('image', 'b')]
    """
    frontend = _find_directive(_split_lines(text), "syntax")
    if frontend and _DIGEST not in frontend:
        yield "frontend", frontend
    stages = list_stages(text)
    own = {SCRATCH, *contexts, *(each.name for each in stages)}
    needed = [each for each in stages if each in list_needed(stages, target)]
    named = (("base image", each.base) for each in needed)
    used = (("image", name) for each in needed for name in each.uses if not name.isdecimal())
    for kind, name in dict.fromkeys((*named, *used)):
        if name.lower() not in own and _DIGEST not in name:
            yield kind, name
    for line, _, instruction in list_instructions(text):
        verb, words = split_words(instruction)
        if verb == "ADD" and any(each.line <= line <= each.last_line for each in needed):
            pinned = any(each.startswith("--checksum=") for each in words)
            yield from ((REMOTE_FILE, each) for each in words if is_remote(each) and not pinned)


def _split_lines(text: str) -> list[str]:
    # Unlike Python, BuildKit ends a line only at a line feed.
    lines = text.removeprefix("\ufeff").removesuffix("\n").split("\n")
    return [line.rstrip("\r") for line in lines]


def _find_directive(lines: Iterable[str], name: str) -> str:
    for line in lines:
        directive = _DIRECTIVE.fullmatch(line.strip())
        if directive is None:
            break
        if directive["name"].lower() == name:
            return directive["value"]
    return ""


def _is_blank(line: str) -> bool:
    """Whether a line is empty or a comment; such lines do not end an instruction."""
    return line.strip()[:1] in ("", "#")


def _join_lines(
    first: tuple[int, str], following: Iterator[tuple[int, str]], continued: re.Pattern[str]
) -> tuple[int, str]:
    """Join an instruction's lines; return the number of the last one and the text."""
    number, line = first
    whole = ""
    while continued.search(line):
        whole += continued.sub("", line)
        ended = (number + 1, "")
        number, line = next((each for each in following if not _is_blank(each[1])), ended)
    return number, (whole + line).strip()


def split_words(instruction: str) -> tuple[str, list[str]]:
    """Split an instruction into its verb and its words with their quotes."""
    words = _WORD.findall(instruction)
    if words and words[0].upper() == "ONBUILD":
        words = words[1:]
    return (words[0].upper(), words[1:]) if words else ("", [])


def list_used(instruction: str) -> Iterator[str]:
    """List the stages, images and contexts that an instruction copies or mounts from."""
    _, words = split_words(instruction)
    for flag in takewhile(lambda word: word.startswith("--"), words):
        yield from (match["name"] for match in _USED.finditer(flag))


def _skip_heredocs(instruction: str, numbered: Iterator[tuple[int, str]]) -> None:
    verb, words = split_words(instruction)
    # The rest is an unterminated quote; BuildKit then sees no words at all.
    if verb not in _WITH_HEREDOCS or _WORD.sub("", instruction).strip():
        return
    for heredoc in filter(None, map(_HEREDOC.fullmatch, words)):
        end = _QUOTED.sub(r"\2", heredoc["word"])
        for _, line in numbered:
            if (line.lstrip("\t") if heredoc["dash"] else line) == end:
                break


def read_dockerfile(path: Path) -> str:
    """Read a Dockerfile's text, whatever bytes it contains."""
    # Like docker, end lines only at a line feed.
    return path.read_bytes().decode(errors="surrogateescape")


def copy_dockerfile(
    dockerfile: Path, text: str, names: Mapping[DockerfileStage, str], folder: Path
) -> Path:
    """Write a copy of a Dockerfile with names for unnamed stages, so that docker can build them."""
    return write_dockerfile(name_stages(text, names), folder, dockerfile)


def write_dockerfile(text: str, folder: Path, original: Path | None) -> Path:
    """Write another version of a Dockerfile, with the ignore file of the original one."""
    copy = folder / "Dockerfile"
    copy.write_bytes(text.encode(errors="surrogateescape"))
    if original is not None:
        ignored = original.with_name(f"{original.name}.dockerignore")
        if ignored.is_file():
            shutil.copyfile(ignored, folder / "Dockerfile.dockerignore")
    return copy


def name_stages(text: str, names: Mapping[DockerfileStage, str]) -> str:
    """Add a name to the `FROM` of each stage; no line moves."""
    lines = text.split("\n")
    for stage, name in names.items():
        at = stage.head_line - 1
        # A `FROM` continued past the last line ends there.
        lines += [""] * (at + 1 - len(lines))
        kept = lines[at].rstrip("\r")
        lines[at] = f"{kept} AS {name}{lines[at][len(kept) :]}"
    return "\n".join(lines)
