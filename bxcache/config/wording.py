"""How a text names an option or a call: as flags in a shell, as parameters in Python.

A text is written once and takes these names from here, so that it fits the reader: the command line
says at its start that it speaks `SHELL`, and everything else is read by a Python program.
"""

from __future__ import annotations

import shlex
from contextlib import contextmanager
from enum import StrEnum
from pathlib import PurePath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Speech(StrEnum):
    """Whose words a text uses."""

    SHELL = "shell"
    PYTHON = "python"


_FLAGS = {"path": "PATH", "extra": "--", "config_file": "--config", "source": "--from"}
"""The parameters whose flag has another name."""
_FUNCTIONS = {"doctor": "diagnose"}
"""The commands whose function has another name."""
_speech = [Speech.PYTHON]


@contextmanager
def speaking(speech: Speech) -> Iterator[None]:
    """Choose the words of all texts that this process makes during the block, in all threads."""
    _speech.append(speech)
    try:
        yield
    finally:
        _speech.pop()


def choose_words(shell: str, python: str) -> str:
    """Choose between ways to do something that are not the same in a shell and in Python."""
    return python if _speech[-1] is Speech.PYTHON else shell


def name_option(name: str, value: object = None, *, item: str = "") -> str:
    """Name a parameter of the Python API and its value, or an item of it, as the reader writes it.

    >>> name_option("no_cache"), name_option("allow", "fs=/a b"), name_option("gate", item="first")
    ('no_cache=', 'allow="fs=/a b"', 'gate=')
    >>> with speaking(Speech.SHELL):
    ...     name_option("no_cache"), name_option("allow", "fs=/a b"), name_option("gate", item="a")
    ('--no-cache', "--allow 'fs=/a b'", '--gate a')
    """
    if _speech[-1] is Speech.PYTHON:
        return f"{name}={'' if value is None else _quote(value)}"
    # The parameter of a flag that can be given several times is a plural.
    flag = _FLAGS.get(name) or f"--{name.removesuffix('s').replace('_', '-')}"
    given = () if value is None or value is True else (shlex.quote(str(value)),)
    return " ".join((flag, *given, *((item,) if item else ())))


def name_call(command: str, *arguments: str, **options: object) -> str:
    """Name a call of bxcache that does something for the reader.

    >>> name_call("build", target="a b"), name_call("store adopt", "/c"), name_call("store repair")
    ('bxcache.build(target="a b")', 'Store("/c").adopt()', 'Store.repair()')
    >>> with speaking(Speech.SHELL):
    ...     name_call("build", target="a b"), name_call("store adopt", "/c")
    ("bxcache build --target 'a b'", 'bxcache store adopt /c')
    """
    words = [name_option(*each) for each in options.items()]
    if _speech[-1] is Speech.SHELL:
        return " ".join(("bxcache", command, *words, *map(shlex.quote, arguments)))
    quoted = [*map(_quote, arguments), *words]
    noun, _, verb = command.partition(" ")
    if verb:
        made = f"({', '.join(quoted)})" if quoted else ""
        return f"{noun.capitalize()}{made}.{verb}()"
    return f"bxcache.{_FUNCTIONS.get(noun, noun)}({', '.join(quoted)})"


def _quote(value: object) -> str:
    if not isinstance(value, str | PurePath):
        return repr(value)
    text = str(value)
    return repr(text) if not text.isprintable() or set('"\\') & set(text) else f'"{text}"'
