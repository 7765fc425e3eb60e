"""The instructions of a Dockerfile as written, and what each sets for those after it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec import Struct, field

from bxcache.buildx.dockerfile import list_instructions, split_words

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_VARIABLE = re.compile(r"\$\{?([A-Za-z_][A-Za-z0-9_]*)")
ARG = "ARG"
_NAMED = ("ENV", ARG)
_SETTING = ("USER", "SHELL", "WORKDIR")
"""Instructions that set something for those after them, and are known by their verb."""


class Instruction(Struct, frozen=True):
    """An instruction as written.

    Attributes:
        line: its first line, from 1.
        verb: its name, such as `RUN`.
        text: all of it on one line.
        sets: what it sets for the instructions after it, by name: a variable, or its own verb.
            `ARG NAME` stands for the declaration of an argument.
    """

    line: int
    verb: str
    text: str
    sets: Mapping[str, str] = field(default_factory=dict)

    @property
    def variables(self) -> tuple[str, ...]:
        """The names of the variables in it.

        >>> Instruction(1, "RUN", "RUN echo $A ${B:-x} $A").variables
        ('A', 'B')
        """
        return tuple(dict.fromkeys(_VARIABLE.findall(self.text)))


def read_instructions(text: str) -> tuple[Instruction, ...]:
    """Read the instructions of a Dockerfile.

    >>> [each.sets for each in read_instructions("FROM a\\nENV A=1 B=2\\nUSER me\\nARG C")]
    [{}, {'A': '1', 'B': '2'}, {'USER': 'me'}, {'ARG C': ''}]
    """
    return tuple(_read(line, each) for line, _, each in list_instructions(text))


def _read(line: int, text: str) -> Instruction:
    verb = text.split(maxsplit=1)[0].upper()
    _, words = split_words(text)
    sets = dict(_list_pairs(verb, words)) if verb in _NAMED else {}
    if verb in _SETTING:
        sets = {verb: " ".join(words)}
    return Instruction(line, verb, text, sets)


def _list_pairs(verb: str, words: Sequence[str]) -> Iterator[tuple[str, str]]:
    if verb == "ENV" and words and "=" not in words[0]:
        yield words[0], " ".join(words[1:])
        return
    for word in words:
        name, equals, value = word.partition("=")
        if verb == ARG:
            # Without a default, that of an argument before the first stage counts.
            yield f"{ARG} {name}", ""
        if verb == "ENV" or equals:
            yield name, value
